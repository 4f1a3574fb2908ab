package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// database reads the Database orders.
func (s *shell) database() *dbv1.Database {
	s.Helper()
	db, err := s.databases.DatabaseV1().Databases("shop").Get(s.Context(), "orders", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return db
}

// instance adds an instance of a Database.
func (s *shell) instance(name, database string) {
	s.Helper()
	dbi := &dbv1.DatabaseInstance{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: dbv1.DatabaseInstanceSpec{DatabaseName: database}}
	if _, err := s.databases.DatabaseV1().DatabaseInstances("shop").Create(s.Context(), dbi, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// operator ends every request that is asked for, in one way.
func (s *shell) operator(phase, message string) *dbv1.OperationRequest {
	asked := &dbv1.OperationRequest{}
	s.databases.PrependReactor("patch", "databases", func(action k8stesting.Action) (bool, runtime.Object, error) {
		patch, ok := action.(k8stesting.PatchAction)
		if !ok {
			return false, nil, nil
		}
		var metadata struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(patch.GetPatch(), &metadata); err != nil {
			return true, nil, err
		}
		r, err := dbv1.ParseRequest(metadata.Metadata.Annotations[naming.AnnotationRequest])
		if err != nil {
			return true, nil, err
		}
		*asked = *r
		// The client is locked in here.
		object, err := s.databases.Tracker().Get(action.GetResource(), "shop", "orders")
		if err != nil {
			return true, nil, err
		}
		db, ok := object.(*dbv1.Database)
		if !ok {
			return false, nil, nil
		}
		db.Status.Operation = &dbv1.OperationStatus{ID: r.ID, Kind: r.Kind, Phase: phase, Message: message}
		if s.writesWait {
			db.Status.Conditions = []metav1.Condition{{Type: dbv1.ConditionPrimaryAvailable, Status: metav1.ConditionFalse, Reason: dbv1.ReasonWritesWait}}
		}
		if phase != dbv1.OperationRunning {
			db.Status.Operation.FinishedAt = new(metav1.Now())
		}
		return true, db, s.databases.Tracker().Update(action.GetResource(), db, "shop")
	})
	return asked
}

func TestASwitchoverIsFollowedToItsEnd(t *testing.T) {
	s := newShell(t, "shop/orders")
	asked := s.operator(dbv1.OperationSucceeded, "instance orders-1 is the primary")
	s.expect(exitOK, "databases.db.platform.io/orders: instance orders-1 is the primary\n", "", "switchover", "orders", "--to", "orders-1")
	if asked.Kind != dbv1.OperationSwitchover || asked.To != "orders-1" || asked.AcceptDataLoss {
		t.Errorf("asked for %+v", asked)
	}
	first := asked.ID
	s.expect(exitOK, "is the primary", "", "switchover", "orders")
	if asked.To != "" || asked.ID == first {
		t.Errorf("asked for %+v", asked)
	}
	s.expect(exitOK, "Switchover asked for, request ", "", "switchover", "orders", "--wait", "0")
}

func TestWhatARequestComesTo(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.operator(dbv1.OperationAborted, "replica orders-1 does not stream")
	s.expect(exitFailed, "", "Switchover Aborted: replica orders-1 does not stream", "switchover", "orders")

	s = newShell(t, "shop/orders")
	s.operator(dbv1.OperationRunning, "to orders-1")
	s.expect(exitFailed, "", "has not ended within 1ms (to orders-1)", "switchover", "orders", "--wait", "1ms")
	s.expect(exitFailed, "", "is under way (to orders-1)", "switchover", "orders")

	s = newShell(t, "shop/orders")
	s.expect(exitFailed, "", "is it running?", "switchover", "orders", "--wait", "1ms")
	s.expect(exitFailed, "", `no Database "gone"`, "switchover", "gone")
	s.expect(exitOK, "paused", "", "pause", "orders")
	s.expect(exitFailed, "", "resume it first", "switchover", "orders")
}

func TestAFailoverNeedsItsFlags(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.expect(exitUsage, "", "--to is missing", "failover", "orders", "--accept-data-loss")
	s.expect(exitUsage, "", "--accept-data-loss is missing", "failover", "orders", "--to", "orders-1")
	if got := s.database().Annotations; len(got) != 0 {
		t.Errorf("annotations %v", got)
	}
	asked := s.operator(dbv1.OperationSucceeded, "instance orders-1 is the primary")
	s.expect(exitOK, "is the primary", "", "failover", "orders", "--to", "orders-1", "--accept-data-loss")
	if asked.Kind != dbv1.OperationFailover || asked.To != "orders-1" || !asked.AcceptDataLoss {
		t.Errorf("asked for %+v", asked)
	}
}

// A failover can leave a primary that waits for replicas: whoever scripts it must not go on to write.
func TestAFailoverAfterWhichNobodyCanWriteFails(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.writesWait = true
	s.operator(dbv1.OperationSucceeded, "instance orders-1 has the Lease and lets no clients in")
	s.expect(exitFailed, "", "Failover Succeeded, and nothing can be written yet: instance orders-1 has the Lease",
		"failover", "orders", "--to", "orders-1", "--accept-data-loss")
}

// agents stop the engines of the instances that are fenced.
func (s *shell) agents() {
	s.databases.PrependReactor("get", "databaseinstances", func(action k8stesting.Action) (bool, runtime.Object, error) {
		get, ok := action.(k8stesting.GetAction)
		if !ok {
			return false, nil, nil
		}
		// The client is locked in here.
		object, err := s.databases.Tracker().Get(action.GetResource(), "shop", get.GetName())
		if err != nil {
			return true, nil, err
		}
		dbi, ok := object.(*dbv1.DatabaseInstance)
		if !ok {
			return false, nil, nil
		}
		owner, err := s.databases.Tracker().Get(dbv1.SchemeGroupVersion.WithResource("databases"), "shop", dbi.Spec.DatabaseName)
		if err != nil {
			return true, nil, err
		}
		if db, ok := owner.(*dbv1.Database); ok && slices.Contains(engine.FencedInstances(db), dbi.Name) {
			dbi.Spec.Fenced, dbi.Status.Phase = true, dbv1.InstanceStopped
		}
		return true, dbi, nil
	})
}

func TestAFenceIsWaitedFor(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.instance("orders-0", "orders")
	s.instance("orders-1", "orders")
	out, errOut, code := s.run("fence", "orders-0", "--wait", "1ms")
	if code != exitFailed || !strings.Contains(out, "is being fenced") || strings.Contains(out, "is fenced") ||
		!strings.Contains(errOut, "the engine of instance orders-0 is not known to be down (it has not reported yet)") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
	s.expect(exitOK, "is being fenced", "", "fence", "orders-1", "--wait", "0")
	s.expect(exitOK, "unfenced", "", "unfence", "orders-0", "orders-1")
	s.agents()
	s.expect(exitOK, "orders-0 is fenced: its engine is down\ndatabaseinstances.db.platform.io/orders-1 is fenced: its engine is down\n", "", "fence", "orders-0", "orders-1")
}

// The operator passes a fence on, and does nothing for a Database that is paused.
func TestAFenceOfAPausedDatabaseIsNotWaitedFor(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.instance("orders-0", "orders")
	s.expect(exitOK, "paused", "", "pause", "orders")
	s.expect(exitOK, "orders-0 will be fenced when Database orders is resumed, until", "", "fence", "orders-0")
	s.expect(exitOK, "orders-0 unfenced: its engine starts again when Database orders is resumed", "", "unfence", "orders-0")
}

func TestFencesAreSetAndLifted(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.instance("orders-0", "orders")
	s.instance("orders-1", "orders")
	s.agents()
	fenced := func() string { return s.database().Annotations[naming.AnnotationFenced] }
	s.expect(exitOK, "databaseinstances.db.platform.io/orders-1 is being fenced: its engine stops, and stays down until", "", "fence", "orders-1")
	s.expect(exitOK, "orders-1 is fenced already", "", "fence", "orders-1", "orders-0")
	if got := fenced(); got != "orders-0,orders-1" {
		t.Errorf("fenced is %q", got)
	}
	s.expect(exitOK, "orders-1 unfenced", "", "unfence", "orders-1")
	s.expect(exitOK, "orders-1 is not fenced\n", "", "unfence", "orders-1")
	if got := fenced(); got != "orders-0" {
		t.Errorf("fenced is %q", got)
	}
	s.expect(exitOK, "orders-0 unfenced", "", "unfence", "orders-0")
	if _, there := s.database().Annotations[naming.AnnotationFenced]; there {
		t.Error("the annotation is left behind")
	}
	s.expect(exitFailed, "", `there is no instance "orders-7"`, "fence", "orders-7")
	s.expect(exitUsage, "", "the name of an instance is missing", "fence")
}

// Who fences so many instances that writes stop learns it at once.
func TestAFenceThatStopsWritesSaysSo(t *testing.T) {
	s := newShell(t, "shop/orders")
	for _, name := range []string{"orders-0", "orders-1", "orders-2", "orders-3"} {
		s.instance(name, "orders")
		s.serves(name, name != "orders-3")
	}
	s.instance("other-0", "other")
	s.serves("other-0", true)
	s.agents()
	db := s.database()
	db.Spec.HighAvailability = &dbv1.HighAvailabilitySpec{SynchronousReplicas: 1}
	if _, err := s.databases.DatabaseV1().Databases("shop").Update(s.Context(), db, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.expect(exitOK, "`kubectl database unfence orders-0 -n shop`\n", "", "fence", "orders-0")
	s.expect(exitOK, "-n shop`; 1 instance left, and each write must reach the primary and 1 replica, so writes wait until then\n", "", "fence", "orders-1")
	s.expect(exitOK, "-n shop`; no other instance serves, so nothing takes writes until then\n", "", "fence", "orders-2")
}

func TestAFenceOfAPrimarySaysWhatClientsLose(t *testing.T) {
	s := newShell(t, "shop/orders")
	for _, name := range []string{"orders-0", "orders-1"} {
		s.instance(name, "orders")
		s.serves(name, true)
	}
	s.agents()
	instances := s.databases.DatabaseV1().DatabaseInstances("shop")
	primary, err := instances.Get(s.Context(), "orders-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	primary.Status.Role = dbv1.RolePrimary
	if _, err := instances.Update(s.Context(), primary, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.expect(exitOK, "-n shop`; it is the primary: another instance takes over", "", "fence", "orders-1")
}

// serves sets what an instance says of itself.
func (s *shell) serves(name string, ready bool) {
	s.Helper()
	instances := s.databases.DatabaseV1().DatabaseInstances("shop")
	dbi, err := instances.Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	dbi.Status.Ready = ready
	if _, err := instances.Update(s.Context(), dbi, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// Two people who fence at once must not lose one of the fences.
func TestAFenceIsWrittenAgainWhenSomebodyWasFaster(t *testing.T) {
	s := newShell(t, "shop/orders")
	s.instance("orders-0", "orders")
	s.agents()
	tries := 0
	s.databases.PrependReactor("patch", "databases", func(action k8stesting.Action) (bool, runtime.Object, error) {
		patch, ok := action.(k8stesting.PatchAction)
		if tries++; ok && tries == 1 {
			if !strings.Contains(string(patch.GetPatch()), "resourceVersion") {
				t.Errorf("the patch does not say what it is for: %s", patch.GetPatch())
			}
			return true, nil, apierrors.NewConflict(dbv1.Resource("databases"), "orders", nil)
		}
		return false, nil, nil
	})
	s.expect(exitOK, "orders-0 is being fenced", "", "fence", "orders-0")
}

func TestInstancesAreCompleted(t *testing.T) {
	s := newShell(t, "shop/orders", "shop/payments")
	s.instance("orders-0", "orders")
	s.instance("payments-0", "payments")
	s.expect(exitOK, "orders-0\npayments-0\n:4\n", "", "__complete", "fence", "")
	s.expect(exitOK, "payments-0\n:4\n", "", "__complete", "fence", "orders-0", "")
	s.expect(exitOK, "orders-0\n:4\n", "", "__complete", "switchover", "orders", "--to", "")
}
