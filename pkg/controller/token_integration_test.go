//go:build integration

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// A ServiceAccount that was deleted is put back, with another UID: no agent's token is worth
// anything until the kubelet renews it.
func TestAnAgentWithADeadTokenIsNotBelievedAndNotRestarted(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	pod := w.pod("db-0")
	if err := w.kube.CoreV1().ServiceAccounts(w.namespace).Delete(t.Context(), "db-agent", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the restart waits for the kubelet", func() (bool, string) {
		db := w.get("db")
		return len(db.Status.Plan) == 1 && db.Status.Plan[0].HeldBy == engine.GuardTokenRenewal && db.Status.Plan[0].NotBefore != nil, describe(db)
	})
	w.waitFor("db", dbv1.ConditionReady, metav1.ConditionUnknown, dbv1.ReasonAgentUnauthorized)
	if _, err := w.kube.CoreV1().ServiceAccounts(w.namespace).Get(t.Context(), "db-agent", metav1.GetOptions{}); err != nil {
		t.Errorf("the ServiceAccount is not put back: %v", err)
	}
	w.sim.RenewTokens()
	db := w.waitReady("db")
	if len(db.Status.Plan) != 0 || w.pod("db-0").UID != pod.UID {
		t.Errorf("the pod is another one, or is to be: plan %+v", db.Status.Plan)
	}
}

func (w *world) pod(name string) *corev1.Pod {
	w.Helper()
	pod, err := w.kube.CoreV1().Pods(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return pod
}
