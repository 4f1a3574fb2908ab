//go:build integration

package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
