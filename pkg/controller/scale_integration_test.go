//go:build integration

package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// waitGone waits until nothing but perhaps the volume is left of instances.
func (w *world) waitGone(volumes bool, names ...string) {
	w.Helper()
	for _, name := range names {
		w.eventually("nothing is left of "+name, func() (bool, string) {
			_, pod := w.kube.CoreV1().Pods(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
			_, dbi := w.databases.DatabaseV1().DatabaseInstances(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
			_, claim := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.Context(), naming.Claim(name), metav1.GetOptions{})
			gone := apierrors.IsNotFound(pod) && apierrors.IsNotFound(dbi) && apierrors.IsNotFound(claim) != volumes
			return gone, fmt.Sprintf("pod: %v; instance: %v; claim: %v\n%s", pod, dbi, claim, describe(w.get("db")))
		})
	}
}

func (w *world) scale(instances int32) {
	w.Helper()
	w.update("db", func(db *dbv1.Database) { db.Spec.Topology.Replicas = instances })
}

// In and out again, with the primary on the instance that goes.
func TestScaling(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited, w.as(operatorRules(t)))
	w.create(w.basic("db", replicated(3)))
	w.waitHealthy("db", 3)
	w.update("db", func(db *dbv1.Database) {
		db.Annotations = map[string]string{naming.AnnotationRequest: `{"id":"1","kind":"Switchover","to":"db-2"}`}
	})
	w.eventually("db-2 is the primary", func() (bool, string) {
		db := w.get("db")
		return db.Status.Primary.Name == "db-2", describe(db)
	})
	w.waitHealthy("db", 3)
	w.scale(1)
	w.waitGone(true, "db-1", "db-2")
	if db := w.waitHealthy("db", 1); db.Status.Primary.Name != "db-0" || db.Status.Ready != "1/1" {
		t.Errorf("primary %+v, ready %s", db.Status.Primary, db.Status.Ready)
	}
	readOnly, err := w.kube.CoreV1().Services(w.namespace).Get(t.Context(), "db-ro", metav1.GetOptions{})
	if err != nil || readOnly.Spec.Selector[naming.LabelRole] != "" {
		t.Errorf("nobody serves the read-only Service: %v, %v", readOnly.Spec.Selector, err)
	}
	if _, err := w.kube.PolicyV1().PodDisruptionBudgets(w.namespace).Get(t.Context(), "db-primary", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("one instance has a budget: %v", err)
	}
	before, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data-db-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.scale(2)
	w.waitHealthy("db", 2)
	after, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data-db-1", metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Errorf("the volume that stayed was not taken again: %v", err)
	}
}

func TestDeletionPolicyDeleteTakesTheVolumesOfRemovedInstances(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db", replicated(3), func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionDelete }))
	w.waitHealthy("db", 3)
	w.scale(2)
	w.waitGone(false, "db-2")
	w.waitHealthy("db", 2)
	claims, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(claims.Items) != 2 {
		t.Errorf("%d volumes, %v", len(claims.Items), err)
	}
	for _, claim := range claims.Items {
		if claim.Status.Phase != corev1.ClaimBound {
			t.Errorf("%s is %s", claim.Name, claim.Status.Phase)
		}
	}
}
