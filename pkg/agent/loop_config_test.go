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
	if !status.Ready || status.AppliedConfigHash != applied || status.RefusedConfigHash == "" || status.RefusedConfigHash == applied || c == nil || c.Reason != dbv1.ReasonConfigRefused || !strings.Contains(c.Message, "no such library") {
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
		content   string
		late      int
		unchecked error
		refused   bool
	}{
		"always":                    {deaf, 0, nil, true},
		"once":                      {"a = 2\n", 1, nil, false},
		"once after another error":  {"a = 2\n", 1, errors.New("no memory"), false},
		"and so was the one before": {"a = 2\n", 3, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, driver := t.TempDir(), ready()
				good := mountConfig(t, dir, goodConfig)
				s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: good})
				defer s.stop()
				time.Sleep(2 * time.Second)
				hash := mountConfig(t, dir, test.content)
				driver.set(func() { driver.late, driver.unchecked = test.late, test.unchecked })
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

// What was late once, and then another configuration, is not late twice.
func TestLatenessIsCountedForEachConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)})
		defer s.stop()
		time.Sleep(2 * time.Second)
		for _, content := range []string{"a = 2\n", "a = 3\n", "a = 2\n", goodConfig, "a = 2\n"} {
			driver.set(func() { driver.late = 1 })
			hash := mountConfig(t, dir, content)
			s.agent.post(t.Context(), func(m *memory) {
				next := m.instance.DeepCopy()
				next.Spec.ConfigHash = hash
				s.agent.take(m, next)
				if content == "a = 3\n" {
					// The reload of the one before may end only then.
					m.config.late = "another"
				}
			})
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if got := s.memory.config; got.late != hash && content != goodConfig || got.refused != "" {
				t.Errorf("after %q was late: %+v", content, got)
			}
		}
	})
}

// That is what the refusal tells a person to do.
func TestARefusedConfigurationThatIsTakenBackAndMadeAgainIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, driver := t.TempDir(), ready()
		good := mountConfig(t, dir, goodConfig)
		s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: good})
		defer s.stop()
		time.Sleep(2 * time.Second)
		tries := func() (n int) {
			for _, content := range driver.loads {
				if content == deaf {
					n++
				}
			}
			return n
		}
		for want := range 2 {
			hash := mountConfig(t, dir, deaf)
			s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
			time.Sleep(5 * time.Second)
			status := s.status()
			c := meta.FindStatusCondition(status.Conditions, dbv1.ConditionConfigApplied)
			if n := tries(); n != 2*(want+1) || c.Reason != dbv1.ReasonConfigRefused || !strings.Contains(c.Message, askAgain) {
				t.Errorf("it was tried %d times: %+v", n, c)
			}
			mountConfig(t, dir, goodConfig)
			s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = good })
			time.Sleep(2 * time.Second)
		}
		if status := s.status(); !status.Ready || status.EngineStarts != 1 {
			t.Errorf("unexpected status %+v", status)
		}
	})
}

func TestWhatAPersonAsksForDoesNotWaitForAConfiguration(t *testing.T) {
	for name, test := range map[string]struct {
		edit   func(*dbv1.DatabaseInstanceSpec)
		starts int
	}{
		"fence": {func(to *dbv1.DatabaseInstanceSpec) { to.Fenced = true }, 1},
		"restart": {func(to *dbv1.DatabaseInstanceSpec) {
			to.Operation = &dbv1.InstanceOperation{ID: "x", Kind: dbv1.OperationRestart}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, driver := t.TempDir(), ready()
				s := simulateIn(t, dir, "pod-uid", driver, dbv1.DatabaseInstanceSpec{SystemID: "7", ConfigHash: mountConfig(t, dir, goodConfig)})
				defer s.stop()
				time.Sleep(2 * time.Second)
				driver.set(func() { driver.checks = true })
				hash := mountConfig(t, dir, "a = 2\n")
				s.change(func(to *dbv1.DatabaseInstanceSpec) { to.ConfigHash = hash })
				time.Sleep(5 * time.Second)
				driver.set(func() { driver.checks = false })
				s.change(test.edit)
				time.Sleep(time.Second)
				if modes := driver.engines[0].modes; !slices.Equal(modes, []StopMode{StopFast}) || len(driver.starts) != test.starts {
					t.Errorf("a second later it was told to stop %v, and there were %d starts", modes, len(driver.starts))
				}
			})
		})
	}
}
