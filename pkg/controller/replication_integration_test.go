//go:build integration

package controller_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// replicated asks for a primary and its replicas.
func replicated(instances int32) func(*dbv1.Database) {
	return func(db *dbv1.Database) {
		db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: instances}
	}
}

// waitHealthy waits until all instances are there and replicate.
func (w *world) waitHealthy(name string, instances int32) *dbv1.Database {
	w.Helper()
	var db *dbv1.Database
	w.eventually(name+" is Ready and replicates", func() (bool, string) {
		db = w.get(name)
		return db.Status.Phase == dbv1.PhaseReady && db.Status.ObservedGeneration == db.Generation && db.Status.ReadyReplicas == instances &&
			isUpToDate(db) && (instances == 1 || meta.IsStatusConditionTrue(db.Status.Conditions, dbv1.ConditionReplicationHealthy)), describe(db)
	})
	return db
}

func (w *world) role(pod string) string {
	w.Helper()
	p, err := w.kube.CoreV1().Pods(w.namespace).Get(w.Context(), pod, metav1.GetOptions{})
	if err != nil {
		return errorText(err)
	}
	return p.Labels[naming.LabelRole]
}

func TestAReplicatedDatabaseBecomesReadyAndFailsOver(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db", replicated(3)))
	db := w.waitHealthy("db", 3)
	if db.Status.Primary.Name != "db-0" || db.Status.Primary.Epoch != 1 || db.Status.Ready != "3/3" {
		t.Errorf("status %+v, primary %+v", db.Status, db.Status.Primary)
	}
	made := 0
	for n := range 3 {
		made += w.sim.Bootstraps(w.namespace, naming.Claim(fmt.Sprintf("db-%d", n)))
	}
	if made != 1 {
		t.Errorf("%d databases were made, want 1", made)
	}
	for name, available := range map[string]int{"db-primary": 1, "db-replica": 1} {
		budget, err := w.kube.PolicyV1().PodDisruptionBudgets(w.namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || budget.Spec.MinAvailable.IntValue() != available {
			t.Errorf("budget %s: %+v, %v", name, budget, err)
		}
	}
	readOnly, err := w.kube.CoreV1().Services(w.namespace).Get(t.Context(), "db-ro", metav1.GetOptions{})
	if err != nil || readOnly.Spec.Selector[naming.LabelRole] != "replica" {
		t.Errorf("the read-only Service selects %v, %v", readOnly.Spec.Selector, err)
	}

	if err := w.kube.CoreV1().Pods(w.namespace).Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("another is the primary", func() (bool, string) {
		db = w.get("db")
		return db.Status.Primary.Name != "db-0", describe(db)
	})
	db = w.waitHealthy("db", 3)
	if db.Status.Primary.Epoch != 2 || w.role("db-0") != "replica" || w.role(db.Status.Primary.Name) != "primary" {
		t.Errorf("primary %+v, labels %s and %s", db.Status.Primary, w.role("db-0"), w.role(db.Status.Primary.Name))
	}
}

// Several instances cause as few writes as one: none, when they are settled.
func TestAStandaloneDatabaseBecomesReplicated(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	before, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.update("db", replicated(2))
	w.waitHealthy("db", 2)
	after, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Errorf("the primary's pod was replaced: %v", err)
	}
	var claim *corev1.PersistentVolumeClaim
	if claim, err = w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data-db-1", metav1.GetOptions{}); err != nil || claim.Annotations[naming.AnnotationSystemID] == "" {
		t.Errorf("the new volume has no facts: %v", err)
	}
	if _, err := w.kube.PolicyV1().PodDisruptionBudgets(w.namespace).Get(t.Context(), "db-replica", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("two instances have a budget for replicas: %v", err)
	}
}

// podUIDs are those of all instances.
func (w *world) podUIDs(name string, instances int) map[string]types.UID {
	w.Helper()
	uids := map[string]types.UID{}
	for n := range instances {
		pod, err := w.kube.CoreV1().Pods(w.namespace).Get(w.Context(), fmt.Sprintf("%s-%d", name, n), metav1.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		uids[pod.Name] = pod.UID
	}
	return uids
}

func TestAResourcesChangeRollsReplicasFirstThenHandsOver(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db", replicated(3)))
	w.waitHealthy("db", 3)
	before := w.podUIDs("db", 3)
	w.update("db", func(db *dbv1.Database) {
		db.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	})
	w.eventually("every pod is a new one", func() (bool, string) {
		for n := range 3 {
			pod, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), fmt.Sprintf("db-%d", n), metav1.GetOptions{})
			if err == nil && pod.DeletionTimestamp == nil && w.role(pod.Name) == "primary" && pod.Name == "db-0" && pod.UID != before["db-0"] {
				t.Error("the primary's pod was replaced while it was the primary")
			}
			if err != nil || pod.UID == before[pod.Name] {
				return false, describe(w.get("db"))
			}
		}
		return true, ""
	})
	db := w.waitHealthy("db", 3)
	if db.Status.Primary.Name == "db-0" || db.Status.Primary.Epoch != 2 {
		t.Errorf("primary %+v", db.Status.Primary)
	}
	if op := db.Status.Operation; op == nil || op.Kind != dbv1.OperationSwitchover || op.Phase != dbv1.OperationSucceeded {
		t.Errorf("operation %+v", op)
	}
	dbi, err := w.databases.DatabaseV1().DatabaseInstances(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil || dbi.Spec.Operation != nil {
		t.Errorf("the old primary is still asked for %+v, %v", dbi.Spec.Operation, err)
	}
}

func TestAPersonSwitchesOver(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db", replicated(3)))
	w.waitHealthy("db", 3)
	before := w.podUIDs("db", 3)
	ask := func(request string) {
		w.update("db", func(db *dbv1.Database) { db.Annotations = map[string]string{naming.AnnotationRequest: request} })
	}
	ask(`{"id":"first","kind":"Switchover","to":"db-2"}`)
	w.eventually("db-2 is the primary", func() (bool, string) {
		db := w.get("db")
		return db.Status.Primary.Name == "db-2" && db.Status.Operation.ID == "first" && db.Status.Operation.Phase == dbv1.OperationSucceeded, describe(db)
	})
	ask(`{"id":"second","kind":"Switchover","to":"db-2"}`)
	w.eventually("it is refused", func() (bool, string) {
		op := w.get("db").Status.Operation
		return op.ID == "second" && op.Phase == dbv1.OperationAborted, op.Message
	})
	db := w.waitHealthy("db", 3)
	if db.Status.Primary.Name != "db-2" || db.Status.Primary.Epoch != 2 || w.role("db-2") != "primary" {
		t.Errorf("primary %+v", db.Status.Primary)
	}
	if diff := cmp.Diff(before, w.podUIDs("db", 3)); diff != "" {
		t.Errorf("pods were replaced: %s", diff)
	}
}

func TestAPrimaryLeavesACordonedNode(t *testing.T) {
	w := newWorld(t)
	nodes := w.kube.CoreV1().Nodes()
	for _, name := range []string{"-a", "-b", "-c"} {
		if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nodes.Delete(context.Background(), w.namespace+name, metav1.DeleteOptions{}) })
	}
	w.start(unlimited, w.as(operatorRules(t)))
	w.create(w.basic("db", replicated(3)))
	w.waitHealthy("db", 3)
	for _, name := range []string{"-a", "-b"} {
		cordon := []byte(`{"spec":{"unschedulable":true}}`)
		if _, err := nodes.Patch(t.Context(), w.namespace+name, types.MergePatchType, cordon, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the primary is on the last node", func() (bool, string) {
		db := w.get("db")
		return db.Status.Primary.Name == "db-2", describe(db)
	})
}

func TestAFencedInstanceIsStoppedAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db", replicated(2)))
	w.waitHealthy("db", 2)
	w.update("db", func(db *dbv1.Database) { db.Annotations = map[string]string{naming.AnnotationFenced: "db-0"} })
	w.eventually("the other one is the primary, and the fenced one is down", func() (bool, string) {
		db := w.get("db")
		dbi, err := w.databases.DatabaseV1().DatabaseInstances(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
		return err == nil && db.Status.Primary.Name == "db-1" && dbi.Status.Phase == dbv1.InstanceStopped && db.Status.Phase == dbv1.PhaseDegraded, describe(db)
	})
	w.update("db", func(db *dbv1.Database) { db.Annotations = nil })
	w.waitHealthy("db", 2)
}
