package elector

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// executing runs an executor with a memory; what it does is noted.
type executing struct {
	*executor
	memory *fakeMemory
	end    context.CancelFunc

	mu   sync.Mutex
	done []string
}

func newExecuting(t *testing.T) *executing {
	t.Helper()
	e := &executing{memory: &fakeMemory{}}
	w := newWants(func(want election.Want) { e.note("want " + string(want.Mode)) })
	e.executor = newExecutor(e.memory, NewMetrics(prometheus.NewRegistry()), w)
	ctx, end := context.WithCancel(t.Context())
	e.end = end
	go e.run(ctx)
	go w.run(ctx)
	return e
}

func (e *executing) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = append(e.done, what)
}

func (e *executing) action(what string) func() { return func() { e.note(what) } }

func (e *executing) expect(t *testing.T, what ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.done, what) {
		t.Errorf("done is %q, not %q", e.done, what)
	}
}

func want(seq uint64, mode election.Mode) *election.Want { return &election.Want{Seq: seq, Mode: mode} }

func TestWhatIsBehindTheMemoryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExecuting(t)
		release := e.memory.hang(nil)
		e.add(batch{actions: []func(){e.action("a")}})
		e.add(batch{disk: &election.Disk{Name: "d"}, want: want(2, election.ModePrimary), actions: []func(){e.action("b"), e.action("c")}})
		e.add(batch{actions: []func(){e.action("d")}})
		e.expect(t, "a")
		time.Sleep(time.Hour)
		e.expect(t, "a")
		release()
		synctest.Wait()
		// The agent is told by a goroutine of its own.
		slices.SortStableFunc(e.done, func(a, b string) int { return len(b) - len(a) })
		e.expect(t, "want Primary", "a", "b", "c", "d")
		e.end()
		synctest.Wait()
	})
}

func TestAMemoryThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExecuting(t)
		e.memory.fail = errors.New("no space left on device")
		e.add(batch{disk: &election.Disk{Name: "d"}, actions: []func(){e.action("a")}})
		time.Sleep(10500 * time.Millisecond)
		e.expect(t)
		if e.memory.saves != 11 {
			t.Errorf("it was tried %d times", e.memory.saves)
		}
		e.memory.mu.Lock()
		e.memory.fail = nil
		e.memory.mu.Unlock()
		time.Sleep(time.Second)
		e.expect(t, "a")
		e.end()
		synctest.Wait()
	})
}

// An engine that must end is told at once, and is not started again by what was wanted before.
func TestAnOlderWantDoesNotComeAfterANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExecuting(t)
		release := e.memory.hang(nil)
		e.add(batch{disk: &election.Disk{Name: "d"}, want: want(2, election.ModePrimary)})
		e.wants.put(*want(3, election.ModeDown))
		e.expect(t, "want Down")
		release()
		e.expect(t, "want Down")
		e.add(batch{want: want(4, election.ModeReplica)})
		e.expect(t, "want Down", "want Replica")
		e.end()
		synctest.Wait()
	})
}

// A promotion, as everything that is not an end, waits for the memory of its step.
func TestAPromotionWaitsForTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle()
		var repairs []func()
		for _, instance := range []string{"orders-1", "orders-2"} {
			repairs = append(repairs, w.nodes[instance].memory.hang(func(disk *election.Disk) bool { return disk.OwnEpoch == 2 }))
		}
		w.api.cutOff("orders-0")
		w.network.cutOff("orders-0")
		w.run(30*time.Second, func() bool { return w.api.record(t).Epoch == 2 })
		w.run(testDurations.RenewDeadline-time.Second, nil)
		if p := w.primaries(); len(p) > 0 {
			t.Errorf("%v became primary while its volume hung", p)
		}
		for _, repair := range repairs {
			repair()
		}
		w.run(time.Second, w.primaryIs("orders-1", "orders-2"))
	})
}

func TestANewLeaseCarriesWhatTheLastOneDid(t *testing.T) {
	e := &Elector{Options: Options{Namespace: testNamespace, LeaseName: testLease}}
	e.like = metav1.ObjectMeta{Name: "orders-0", UID: "u0", Labels: map[string]string{"from": "instance"}, OwnerReferences: []metav1.OwnerReference{{Name: "orders"}}}
	base := e.base("")
	if base.Name != testLease || base.Namespace != testNamespace || base.UID != "" || base.Labels["from"] != "instance" || len(base.OwnerReferences) != 1 {
		t.Errorf("the first is %+v", base.ObjectMeta)
	}
	holder := "orders-1/u"
	last := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: testLease, Namespace: testNamespace, ResourceVersion: "9", UID: "u1", Generation: 3,
			Labels: map[string]string{"from": "lease"}, Annotations: map[string]string{"other": "kept"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
	e.versions.read(last, 0, 1)
	if got := e.base("9"); got != last {
		t.Errorf("an update begins with %+v", got)
	}
	if got := e.base("8"); got != nil {
		t.Errorf("one of a version that nobody knows begins with %+v", got)
	}
	base = e.base("")
	if base.ResourceVersion != "" || base.UID != "" || base.Labels["from"] != "lease" || base.Annotations["other"] != "kept" || len(base.OwnerReferences) != 0 {
		t.Errorf("the next is %+v", base.ObjectMeta)
	}
}
