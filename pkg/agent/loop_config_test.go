package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

const goodConfig = "a = 1\n"

// expectRefusal fails unless the instance serves with one configuration and says why not with another.
func expectRefusal(t *testing.T, status *dbv1.DatabaseInstanceStatus, applied string) {
	t.Helper()
	c := meta.FindStatusCondition(status.Conditions, dbv1.ConditionConfigApplied)
	if !status.Ready || status.AppliedConfigHash != applied || c == nil || c.Reason != dbv1.ReasonConfigRefused || !strings.Contains(c.Message, "no such library") {
		t.Errorf("want the configuration %s, and the engine's words about the other one: %+v", applied, status)
	}
}

func TestARefusedConfigurationIsNotTriedByTheNextContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		spec := dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)}
		good := spec.ConfigHash
		s := simulateIn(t, dir, "pod-uid", driver, spec)
		time.Sleep(2 * time.Second)
		spec.ConfigHash = mountConfig(t, dir, lockedOut)
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = spec.ConfigHash })
		time.Sleep(2 * time.Second)
		status := s.status()
		expectRefusal(t, &status, good)
		s.stop()

		driver.loads = nil
		s = simulateIn(t, dir, "pod-uid", driver, spec)
		defer s.stop()
		time.Sleep(2 * time.Second)
		status = s.status()
		expectRefusal(t, &status, good)
		if !slices.Equal(driver.loads, []string{goodConfig}) {
			t.Errorf("the new container's engine read %q", driver.loads)
		}

		other := mountConfig(t, dir, "a = 2\n")
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = other })
		time.Sleep(2 * time.Second)
		if status := s.status(); status.AppliedConfigHash != other {
			t.Errorf("another configuration is not applied: %+v", status)
		}
	})
}

// Another pod may have another image, which accepts what was refused. It finds out at its start.
func TestAConfigurationThatLetsNobodyInDoesNotSurviveAStartWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		good := mountConfig(t, dir, goodConfig)
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: good})
		time.Sleep(2 * time.Second)
		s.stop()

		driver.loads = nil
		s = simulateIn(t, dir, "other-pod", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, lockedOut)})
		defer s.stop()
		time.Sleep(3 * time.Second)
		status := s.status()
		expectRefusal(t, &status, good)
		if !slices.Equal(driver.loads, []string{lockedOut, goodConfig}) {
			t.Errorf("the engine read %q", driver.loads)
		}
	})
}

// With nothing to go back to, the engine runs on: its accounts say what is wrong.
func TestAFirstConfigurationThatLetsNobodyInIsNotCalledGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, lockedOut)})
		defer s.stop()
		time.Sleep(2 * time.Second)
		if status := s.status(); status.Phase != dbv1.InstanceRunning || len(driver.starts) != 1 || s.agent.configs.Good() != "" {
			t.Errorf("%d starts, good configuration %q: %+v", len(driver.starts), s.agent.configs.Good(), status)
		}
	})
}

// What was refused may have been right when not even the good configuration starts any more.
func TestARefusedConfigurationIsTriedWhenTheGoodOneDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		spec := dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)}
		s := simulateIn(t, dir, "pod-uid", driver, spec)
		time.Sleep(2 * time.Second)
		spec.ConfigHash = mountConfig(t, dir, lockedOut)
		s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = spec.ConfigHash })
		time.Sleep(2 * time.Second)
		s.stop()

		driver.loads, driver.endsWith = nil, errors.New("cannot map memory")
		s = simulateIn(t, dir, "pod-uid", driver, spec)
		time.Sleep(time.Minute)
		s.stop()
		if n := len(driver.loads); n < 4 || n > 12 || driver.loads[0] != goodConfig || driver.loads[1] != lockedOut {
			t.Errorf("the engine read %d configurations in a minute, first %q", n, driver.loads[:min(n, 4)])
		}

		driver.loads, driver.endsWith = nil, nil
		s = simulateIn(t, dir, "pod-uid", driver, spec)
		defer s.stop()
		time.Sleep(3 * time.Second)
		if !slices.Contains(driver.loads, lockedOut) {
			t.Errorf("the engine read %q, never what was refused", driver.loads)
		}
	})
}

// A new instance has nothing to keep.
func TestWhatIsKeptWhenAConfigurationIsRefused(t *testing.T) {
	for current, want := range map[string]string{
		"":       "The engine has no configuration to start with, until spec.engineConfig is corrected: no such library",
		"before": "The engine keeps its previous configuration: no such library",
	} {
		m := &memory{}
		m.spec = &dbv1.DatabaseInstanceSpec{ConfigHash: "wanted"}
		m.config = configFacts{mounted: "wanted", refused: "wanted", refusal: "no such library", current: current, good: current}
		if c := configCondition(m, step{}); c.Reason != dbv1.ReasonConfigRefused || c.Message != want {
			t.Errorf("after %q: %s: %s", current, c.Reason, c.Message)
		}
	}
}

func TestAConfigurationThatIsNotReadInTimeIsTakenBack(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		late    int
		refused bool
	}{"always": {deaf, 0, true}, "once": {"a = 2\n", 1, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, driver := t.TempDir(), ready()
				good := mountConfig(t, dir, goodConfig)
				s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: good})
				defer s.stop()
				time.Sleep(2 * time.Second)
				hash := mountConfig(t, dir, test.content)
				driver.set(func() { driver.late = test.late })
				s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
				time.Sleep(5 * time.Second)
				status, want := s.status(), hash
				if test.refused {
					want = good
				}
				c := meta.FindStatusCondition(status.Conditions, dbv1.ConditionConfigApplied)
				if !status.Ready || status.AppliedConfigHash != want || (c.Reason == dbv1.ReasonConfigRefused) != test.refused || status.EngineStarts != 1 {
					t.Errorf("the engine read %q: %+v", driver.loads, status)
				}
				s.correct(dir, "a = 3\n", 3*time.Second)
			})
		})
	}
}
