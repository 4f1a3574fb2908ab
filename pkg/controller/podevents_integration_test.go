//go:build integration

package controller_test

import (
	"strings"
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// A pod that is refused has no status to read: only events of its StatefulSet say why. The operator
// may read them with the permissions of its manifest.
func TestAPodThatCannotBeMadeIsExplained(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited, w.as(operatorRules(t)))
	class := "class-" + w.namespace
	w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Scheduling = &dbv1.SchedulingSpec{PriorityClassName: class} }))
	w.eventually("the condition has the API server's words", func() (bool, string) {
		db := w.get("db")
		c := meta.FindStatusCondition(db.Status.Conditions, dbv1.ConditionReady)
		return c != nil && c.Status == metav1.ConditionFalse && strings.Contains(c.Message, "no PriorityClass with name "+class), describe(db)
	})
	if _, err := w.kube.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Value: 1}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	db := w.waitReady("db")
	if text := describe(db); strings.Contains(text, "PriorityClass") {
		t.Errorf("an old failure is still told: %s", text)
	}
}
