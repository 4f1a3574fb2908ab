//go:build integration

package controller_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// A StatefulSet lets a pod go that lost its labels, and cannot make another of its name.
func TestAPodThatLostItsLabelsIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	before := w.pod("db-0")
	strip := []byte(`{"metadata":{"labels":null,"annotations":null,"ownerReferences":null}}`)
	if _, err := w.kube.CoreV1().Pods(w.namespace).Patch(t.Context(), "db-0", types.MergePatchType, strip, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the StatefulSet has its pod again", func() (bool, string) {
		pod := w.pod("db-0")
		owner := metav1.GetControllerOf(pod)
		return pod.UID == before.UID && pod.Labels[naming.LabelGroup] == "db" && owner != nil && owner.Kind == "StatefulSet", "it has not"
	})
}

// What lost its owner would outlive the Database, and was made for it all the same.
func TestWhatLostItsOwnerIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	db := w.create(w.basic("db"))
	w.waitReady("db")
	client := metadata.NewForConfigOrDie(w.config)
	for resource, name := range map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "services"}:                                         "db",
		{Version: "v1", Resource: "configmaps"}:                                       "db-config",
		{Version: "v1", Resource: "serviceaccounts"}:                                  "db-agent",
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}:        "db-agent",
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}: "db-agent",
		{Group: "apps", Version: "v1", Resource: "statefulsets"}:                      "db",
		dbv1.SchemeGroupVersion.WithResource("databaseinstances"):                     "db-0",
	} {
		objects := client.Resource(resource).Namespace(w.namespace)
		// With its labels it also leaves what the operator watches.
		strip := []byte(`{"metadata":{"labels":null,"ownerReferences":null}}`)
		before, err := objects.Patch(t.Context(), name, types.MergePatchType, strip, metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w.eventually(resource.Resource+" have their owner again", func() (bool, string) {
			after, err := objects.Get(t.Context(), name, metav1.GetOptions{})
			return err == nil && after.UID == before.UID && metav1.IsControlledBy(after, db) && after.Labels[naming.LabelDatabase] == "db", errorText(err)
		})
	}
	w.waitReady("db")
}

// A mark alone proves nothing: somebody else may have copied it.
func TestAnObjectThatOnlyLooksLikeOursIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	db := w.create(w.basic("db"))
	services := w.kube.CoreV1().Services(w.namespace)
	before, err := services.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Labels: naming.SelectorLabels("db"), Annotations: map[string]string{naming.AnnotationDatabaseUID: string(db.UID)}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{FieldManager: "a-person"})
	if err != nil {
		t.Fatal(err)
	}
	w.start(unlimited)
	db = w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonResourceConflict)
	if text := describe(db); !strings.Contains(text, "services db") {
		t.Errorf("the condition does not name it: %s", text)
	}
	if after, err := services.Get(t.Context(), "db", metav1.GetOptions{}); err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("it was touched: %v", err)
	}
}

// What somebody adds to what the operator tells an agent is taken back, though the operator never wrote it.
func TestOnlyTheOperatorTellsAnAgentWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	instances := w.databases.DatabaseV1().DatabaseInstances(w.namespace)
	before, err := instances.Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(how types.PatchType, patch string, force *bool) {
		t.Helper()
		if _, err := instances.Patch(t.Context(), "db-0", how, []byte(patch), metav1.PatchOptions{FieldManager: "a-person", Force: force}); err != nil {
			t.Fatal(err)
		}
		w.eventually("the spec is what it was", func() (bool, string) {
			after, err := instances.Get(t.Context(), "db-0", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			diff := cmp.Diff(before.Spec, after.Spec)
			return diff == "", diff
		})
	}
	write(types.JSONPatchType, `[{"op": "add", "path": "/spec/accounts/-", "value": {"username": "intruder", "state": "Present"}}]`, nil)
	write(types.MergePatchType, `{"spec":{"fenced":true}}`, nil)
	write(types.ApplyPatchType, `{"apiVersion":"db.platform.io/v1","kind":"DatabaseInstance","spec":{"databaseName":"db","engine":"PostgreSQL","accounts":[{"username":"intruder","state":"Present"}]}}`, new(true))
	w.waitReady("db")
}

// Policy Delete promises that nothing stays.
func TestADeletionTakesWhatLostItsLabels(t *testing.T) {
	w := newWorld(t)
	permissions := w.as(operatorRules(t))
	op, _ := w.start(unlimited, permissions)
	w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionDelete }))
	w.waitReady("db")
	op.stop()
	strip := []byte(`{"metadata":{"labels":null}}`)
	client := metadata.NewForConfigOrDie(w.config)
	for name, resource := range map[string]string{"data-db-0": "persistentvolumeclaims", "db-accounts": "secrets", "db-credentials": "secrets"} {
		gvr := schema.GroupVersionResource{Version: "v1", Resource: resource}
		if _, err := client.Resource(gvr).Namespace(w.namespace).Patch(t.Context(), name, types.MergePatchType, strip, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.delete("db")
	w.start(unlimited, permissions)
	w.gone("db", false)
}
