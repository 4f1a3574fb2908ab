package elector

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

func TestFirstClaimMakesCandidatesOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		r := w.api.record(t)
		if r.Holder != "orders-0/1" || r.Epoch != 1 || r.Name != "orders-0-data-0" || r.Durations != testDurations {
			t.Errorf("the Lease says %+v", r)
		}
		if w.api.lease.Labels["a"] != "b" {
			t.Errorf("the Lease lost its labels: %v", w.api.lease.Labels)
		}
		n := w.nodes["orders-0"]
		if n.guard() == (Deadline{}) {
			t.Error("the watchdog knows no deadline")
		}
		if got := testutil.ToFloat64(n.elector.Metrics.holder); got != 1 {
			t.Errorf("the metric of the holder is %v", got)
		}
		renewed := r.Stamp
		w.run(testDurations.RenewPeriod+time.Second, nil)
		if r := w.api.record(t); r.Stamp <= renewed || r.Epoch != 1 {
			t.Errorf("it was not renewed: %+v", r)
		}
	})
}

func TestFailoverAfterSilence(t *testing.T) {
	for name, dumb := range map[string]bool{"with a watch": false, "with a watch that never delivers": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				w.api.dumb = dumb
				w.settle()
				w.api.cutOff("orders-0")
				w.network.cutOff("orders-0")
				took := w.run(time.Minute, w.primaryIs("orders-1", "orders-2"))
				limit := testDurations.Lease + 3*time.Second
				if dumb {
					// Silence begins with the first read.
					limit += testDurations.RenewPeriod
				}
				if took < testDurations.Lease-testDurations.RenewPeriod || took > limit {
					t.Errorf("it took %s", took)
				}
				if r := w.api.record(t); r.Epoch != 2 || len(r.Chain) != 2 {
					t.Errorf("the Lease says %+v", r)
				}
				// The old one comes back, and follows.
				w.api.cutOff()
				w.network.cutOff()
				w.run(time.Minute, func() bool {
					n := w.nodes["orders-0"]
					n.mu.Lock()
					defer n.mu.Unlock()
					return n.mode == election.ModeReplica && n.source != ""
				})
			})
		})
	}
}

func TestWithoutTheAPIPromisesKeepThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		n := w.nodes["orders-0"]
		before := len(n.wants)
		w.api.cutOff("orders-0", "orders-1", "orders-2")
		w.run(3*time.Minute, func() bool { return !n.primary() || time.Since(w.begin) > 3*time.Minute })
		if !n.primary() || len(n.wants) != before {
			t.Errorf("the primary was disturbed: %+v", n.wants[before:])
		}
		if got := testutil.ToFloat64(n.elector.Metrics.failsafe); got < 100 {
			t.Errorf("there were %v rounds", got)
		}
		if got := testutil.ToFloat64(w.nodes["orders-1"].elector.Metrics.promises); got < 100 {
			t.Errorf("there were %v promises", got)
		}
		// One that does not answer is one too many.
		w.network.cutOff("orders-2")
		took := w.run(time.Minute, func() bool { return !n.primary() })
		if took > (testDurations.RenewDeadline+testDurations.Lease)/2+time.Second {
			t.Errorf("it stopped only after %s", took)
		}
	})
}

func TestStopHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		w.nodes["orders-0"].tell(func(s *election.Spec) { s.Stop = true })
		if took := w.run(time.Minute, w.primaryIs("orders-1", "orders-2")); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		if got := testutil.ToFloat64(w.nodes["orders-0"].elector.Metrics.writes.WithLabelValues(writeRelease, "Committed")); got != 1 {
			t.Errorf("there were %v releases", got)
		}
	})
}

func TestADeletedLeaseIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		w.api.remove()
		w.run(time.Second, func() bool {
			w.api.mu.Lock()
			defer w.api.mu.Unlock()
			return w.api.lease != nil
		})
		w.run(3*time.Second, nil)
		r := w.api.record(t)
		if !w.primaryIs("orders-0")() || r.Epoch != 2 || len(r.Candidates) != 3 || w.api.lease.Labels["a"] != "b" {
			t.Errorf("primaries %v; the Lease %v says %+v", w.primaries(), w.api.lease.Labels, r)
		}
	})
}

func TestARecordThatCannotBeReadIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		w.api.mu.Lock()
		broken := w.api.lease.DeepCopy()
		broken.Annotations = map[string]string{"db.platform.io/record": "{"}
		broken.Spec.HolderIdentity = nil
		w.api.put(broken)
		w.api.mu.Unlock()
		w.run(10*time.Second, func() bool {
			w.api.mu.Lock()
			defer w.api.mu.Unlock()
			r, err := recordOf(w.api.lease)
			return err == nil && r.Epoch == 2 && len(r.Candidates) == 3
		})
		w.run(20*time.Second, nil)
		if !w.primaryIs("orders-0")() {
			t.Errorf("primaries: %v", w.primaries())
		}
	})
}

// A hung volume must not keep a primary alive: here it is superseded while it cannot write down
// what it learns.
func TestAVolumeThatHangsDoesNotDelayTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		n := w.nodes["orders-0"]
		release := n.memory.hang(nil)
		defer release()
		w.api.mu.Lock()
		other := w.api.lease.DeepCopy()
		holder, epoch := "orders-1/1", int32(2)
		other.Spec.HolderIdentity, other.Spec.LeaseTransitions = &holder, &epoch
		w.api.put(other)
		w.api.mu.Unlock()
		if took := w.run(10*time.Second, func() bool { return !n.primary() }); took > 500*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		last := n.wants[len(n.wants)-1]
		if !last.Kill || last.Mode != election.ModeDown {
			t.Errorf("it was told %+v", last)
		}
		if disk, err := loadDisk(n.memory); err != nil || disk.HighestEpoch != 1 || n.elector.Status().Disk.HighestEpoch != 2 {
			t.Errorf("the volume did not hang: it has epoch %d, %v", disk.HighestEpoch, err)
		}
	})
}

// What depends on the memory waits for it.
func TestAVolumeThatHangsOrFailsDelaysTheClaim(t *testing.T) {
	for _, failing := range []string{"hangs", "fails"} {
		t.Run(failing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				n := w.nodes["orders-0"]
				repair := n.memory.hang(nil)
				if failing == "fails" {
					repair()
					n.memory.fail = errors.New("no space left on device")
					repair = func() {
						n.memory.mu.Lock()
						defer n.memory.mu.Unlock()
						n.memory.fail = nil
					}
				}
				w.start()
				w.run(30*time.Second, nil)
				if r := w.api.record(t); r.Epoch != 0 || len(w.primaries()) > 0 {
					t.Errorf("it claimed: %+v", r)
				}
				repair()
				w.run(10*time.Second, w.primaryIs("orders-0"))
			})
		})
	}
}

// The agent hangs: it neither acts nor is there anyone to renew. The watchdog ends its engine in time.
func TestTheDeadlineOfTheWatchdogComesBeforeTheNextPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		n := w.nodes["orders-0"]
		n.mu.Lock()
		n.stuck = true
		n.mu.Unlock()
		// The loop stands still, too.
		blocked := make(chan struct{})
		defer close(blocked)
		go n.elector.post(blocking(blocked))
		w.run(time.Minute, w.primaryIs("orders-1", "orders-2"))
	})
}

func TestAnotherProcessGoesOnWithWhatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		n := w.nodes["orders-0"]
		n.end()
		n.group.Wait()
		synctest.Wait()
		again := &node{w: w, instance: n.instance, memory: n.memory, mode: election.ModeDown, spec: n.spec, position: n.position}
		w.nodes["orders-0"] = again
		w.boot(again)
		if disk := again.elector.Status().Disk; disk.Name != "orders-0-data-0" || disk.OwnEpoch != 1 || len(disk.Record.Candidates) != 3 {
			t.Errorf("it kept %+v", disk)
		}
		again.run()
		w.run(3*time.Second, w.primaryIs("orders-0"))
		if r := w.api.record(t); r.Epoch != 1 || len(r.Candidates) != 3 {
			t.Errorf("the Lease says %+v", r)
		}
	})
}

func blocking(until <-chan struct{}) input {
	return func(context.Context) { <-until }
}
