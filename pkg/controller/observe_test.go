package controller

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubefake "k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/tools/events"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/registry"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Policy Delete promises that nothing stays. What lost its labels, no informer shows.
func TestADeletionLooksForWhatLostItsLabels(t *testing.T) {
	claims := []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}}
	for _, name := range []string{"data-db-0", "data-db-1", "data-db-2", "data-other-0"} {
		claims = append(claims, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}})
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var secrets []runtime.Object
	for _, name := range []string{"db-accounts", "db-credentials", "other-accounts"} {
		secrets = append(secrets, &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"},
		})
	}
	clients := Clients{Kube: kubefake.NewClientset(claims...), Databases: fake.NewSimpleClientset(), Metadata: metadatafake.NewSimpleMetadataClient(scheme, secrets...)}
	for policy, want := range map[dbv1.DeletionPolicy]string{
		dbv1.DeletionDelete: "data-db-0 data-db-1 db-accounts db-credentials",
		dbv1.DeletionRetain: "",
	} {
		controller, err := New(t.Context(), clients, events.NewFakeRecorder(1), Options{Engines: registry.Engines()})
		if err != nil {
			t.Fatal(err)
		}
		// One more than the spec has is not gone yet.
		left := &dbv1.DatabaseInstance{ObjectMeta: metav1.ObjectMeta{Name: "db-1", Namespace: "ns", Labels: naming.SelectorLabels("db")}}
		if err := controller.kinds["DatabaseInstance"].informer.GetStore().Add(left); err != nil {
			t.Fatal(err)
		}
		db := &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns", DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}}}
		db.Spec.Engine, db.Spec.Lifecycle.DeletionPolicy = dbv1.PostgreSQL, policy
		o, err := controller.observe(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(slices.Concat(slices.Sorted(maps.Keys(o.Claims)), slices.Sorted(maps.Keys(o.Secrets))), " ")
		if got != want {
			t.Errorf("%s: finds %q, want %q", policy, got, want)
		}
	}
}
