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

// It may serve clients: only a person ends them.
func TestAnEngineThatHasAnsweredIsNotStoppedForItsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s, dir := deafened(t, driver, deafStart)
		defer s.stop()
		hash := mountConfig(t, dir, "a = 2\n")
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
		time.Sleep(10 * silentStop)
		if n, tries := len(driver.starts), len(driver.loads)/2; n != 1 || tries < 5 || tries > 20 {
			t.Errorf("%d starts, and the new configuration was read %d times in ten minutes", n, tries)
		}
		s.change(func(to *dbv1.DatabaseInstanceSpec) {
			to.Operation = &dbv1.InstanceOperation{ID: "x", Kind: dbv1.OperationRestart}
		})
		time.Sleep(5 * time.Second)
		if status := s.status(); !status.Ready || status.AppliedConfigHash != hash || len(driver.starts) != 2 {
			t.Errorf("after the restart: %d starts, %+v", len(driver.starts), status)
		}
	})
}

func TestAnEngineWithSettingsThatWaitForARestartIsNotStoppedForItsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		driver.pending = []string{"a"}
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)})
		defer s.stop()
		time.Sleep(2 * time.Second)
		s.correct(dir, "a = 2\n", 3*time.Second)
		driver.set(func() { driver.silent = true })
		time.Sleep(10 * silentStop)
		if n := len(driver.starts); n != 1 || s.memory.config.current == s.memory.config.good {
			t.Errorf("%d starts, with %+v", n, s.memory.config)
		}
	})
}

// One that is full, or slow, or recovers, says so.
func TestAnEngineThatIsAliveIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)})
		defer s.stop()
		time.Sleep(2 * time.Second)
		driver.set(func() { driver.alive = true })
		time.Sleep(5 * time.Second)
		hash := mountConfig(t, dir, "a = 2\n")
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
		time.Sleep(10 * silentStop)
		if !slices.Equal(driver.loads, []string{goodConfig}) {
			t.Errorf("the engine read %q", driver.loads)
		}
		driver.set(func() { driver.alive = false })
		time.Sleep(3 * time.Second)
		if status := s.status(); !status.Ready || status.AppliedConfigHash != hash || status.EngineStarts != 1 {
			t.Errorf("it answers again: %+v", status)
		}
	})
}

// restarted is an instance that had a good configuration, and is started with another one by a new pod.
// With the same one it is silent then.
func restarted(t *testing.T, driver *fakeDriver, content string) (s *simulation, dir, good string) {
	t.Helper()
	dir = t.TempDir()
	good = mountConfig(t, dir, goodConfig)
	s = simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: good})
	time.Sleep(2 * time.Second)
	s.stop()
	driver.loads, driver.silent = nil, content == goodConfig
	s = simulateIn(t, dir, "other-pod", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, content)})
	time.Sleep(500 * time.Millisecond)
	return s, dir, good
}

// Its first answer would be taken for a word about the files that it was started with.
func TestAnEngineThatNeverAnsweredReadsNoOtherFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s, dir, _ := restarted(t, driver, deafStart)
		defer s.stop()
		hash := mountConfig(t, dir, "a = 3\n")
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
		time.Sleep(silentStop / 2)
		if !slices.Equal(driver.loads, []string{deafStart}) {
			t.Errorf("the engine read %q", driver.loads)
		}
		driver.set(func() { driver.started = "" })
		time.Sleep(3 * time.Second)
		if status := s.status(); !status.Ready || status.AppliedConfigHash != hash || status.EngineStarts != 1 || s.agent.configs.Good() != hash {
			t.Errorf("it answers, and read %q: %+v", driver.loads, status)
		}
	})
}

// The time in which the agent could not ask, because it was frozen with the engine, is no silence.
func TestAnEngineThatWasFrozenIsNotStopped(t *testing.T) {
	for name, before := range map[string]time.Duration{"at once": 0, "later": silentStop / 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver := ready()
				s, _, _ := restarted(t, driver, deafStart)
				defer s.stop()
				time.Sleep(before)
				driver.set(func() { driver.frozen, driver.started = 2*silentStop, "" })
				time.Sleep(pollRunning + time.Millisecond)
				s.agent.post(t.Context(), func(*memory) { time.Sleep(2 * silentStop) })
				time.Sleep(3 * silentStop)
				if status := s.status(); !status.Ready || status.EngineStarts != 1 || status.AppliedConfigHash != s.memory.spec.ConfigHash {
					t.Errorf("after the thaw: %+v", status)
				}
			})
		})
	}
}

// With the good configuration there is nothing better to start it with.
func TestAnEngineWithTheGoodConfigurationIsNotStoppedForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s, dir, _ := restarted(t, driver, goodConfig)
		defer s.stop()
		hash := mountConfig(t, dir, "a = 2\n")
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
		time.Sleep(10 * silentStop)
		if n := len(driver.starts); n != 2 {
			t.Errorf("%d starts, want one in each pod", n)
		}
	})
}

func TestAStartThatNeverAnswersGoesBackToTheGoodConfiguration(t *testing.T) {
	for name, recovers := range map[string]bool{"silent": false, "recovering": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver := ready()
				s, dir, good := restarted(t, driver, deafStart)
				defer s.stop()
				driver.set(func() { driver.alive = recovers })
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
				if refusal := s.memory.config.refusal; !strings.Contains(refusal, "did not answer for 1m") || !strings.Contains(refusal, askAgain) {
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
