package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// deafened is an instance that runs with a good configuration, and was then made to read another one that
// keeps the agent out.
func deafened(t *testing.T, driver *fakeDriver, content string) (s *simulation, dir string) {
	t.Helper()
	dir = t.TempDir()
	s = simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)})
	time.Sleep(2 * time.Second)
	driver.set(func() { driver.loads, driver.started = append(driver.loads, content), content })
	time.Sleep(20 * time.Second)
	if status := s.status(); status.Ready || status.EngineStarts != 1 {
		t.Fatalf("it answers, or was started again without a reason: %+v", status)
	}
	return s, dir
}

// correct asks for another configuration, and fails unless it is in force in time.
func (s *simulation) correct(dir, content string, limit time.Duration) {
	s.t.Helper()
	hash := mountConfig(s.t, dir, content)
	s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
	time.Sleep(limit)
	if status := s.status(); !status.Ready || status.AppliedConfigHash != hash {
		s.t.Errorf("the corrected configuration is not in force: %+v", status)
	}
}

func TestASilentEngineReadsACorrectedConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s, dir := deafened(t, driver, deaf)
		defer s.stop()
		s.correct(dir, "a = 2\n", 3*time.Second)
		if n := len(driver.starts); n != 1 {
			t.Errorf("%d starts for a setting that a reload changes", n)
		}
	})
}

func TestASilentEngineThatAReloadDoesNotMendIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s, dir := deafened(t, driver, deafStart)
		defer s.stop()
		s.correct(dir, "a = 2\n", silentStop)
		if n := len(driver.starts); n != 2 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestAStartThatNeverAnswersGoesBackToTheGoodConfiguration(t *testing.T) {
	for name, recovers := range map[string]bool{"silent": false, "recovering": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, driver := t.TempDir(), ready()
				good := mountConfig(t, dir, goodConfig)
				s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: good})
				time.Sleep(2 * time.Second)
				s.stop()

				driver.loads, driver.recovers = nil, recovers
				s = simulateIn(t, dir, "other-pod", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, deafStart)})
				defer s.stop()
				time.Sleep(2 * silentStop)
				status := s.status()
				if recovers {
					if !slices.Equal(driver.loads, []string{deafStart}) {
						t.Errorf("a recovery was cut short: the engine read %q", driver.loads)
					}
					return
				}
				if !status.Ready || status.AppliedConfigHash != good || !slices.Equal(driver.loads, []string{deafStart, goodConfig}) {
					t.Errorf("the engine read %q: %+v", driver.loads, status)
				}
				if !strings.Contains(s.memory.config.refusal, "did not answer for 1m") {
					t.Errorf("the reason is %q", s.memory.config.refusal)
				}
				s.correct(dir, "a = 2\n", 3*time.Second)
			})
		})
	}
}

// With nothing to go back to, a correction is what helps.
func TestAFirstConfigurationThatKeepsTheAgentOutCanBeCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, deafStart)})
		defer s.stop()
		time.Sleep(silentStop / 2)
		s.correct(dir, "a = 2\n", silentStop)
		if n := len(driver.starts); n != 2 {
			t.Errorf("%d starts", n)
		}
	})
}
