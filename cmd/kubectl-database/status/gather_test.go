package status

import (
	"errors"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbfake "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// labelled gives an object the labels of a Database's own.
func labelled[T metav1.Object](object T, database string) T {
	object.SetNamespace("shop")
	object.SetLabels(naming.SelectorLabels(database))
	return object
}

func warning(name, kind, about string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Type: corev1.EventTypeWarning, Reason: name,
		Regarding: corev1.ObjectReference{Kind: kind, Name: about, Namespace: "shop"},
		EventTime: metav1.NewMicroTime(now.Add(-time.Hour)),
	}
}

// cluster has the Database orders with two instances, and a neighbour of each kind.
func cluster() (Reader, *fake.Clientset) {
	first, second := instance("orders-0", 0, dbv1.RolePrimary), instance("orders-1", 1, dbv1.RoleReplica)
	other := instance("payments-0", 0, dbv1.RolePrimary)
	podOurs, podOther := pod("orders-0", "node-a"), pod("payments-0", "node-a")
	claimOurs, claimOther := claim("data-orders-0", "10Gi"), claim("data-payments-0", "10Gi")
	backup := func(name, of string) *dbv1.DatabaseBackup {
		return &dbv1.DatabaseBackup{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: dbv1.DatabaseBackupSpec{DatabaseName: of}}
	}
	db := database()
	db.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "someone"}}
	late := warning("Late", "Pod", "orders-1")
	late.EventTime = metav1.NewMicroTime(now)
	ours, former, older := warning("Early", "Database", "orders"), warning("Former", "Database", "orders"), warning("Older", "Pod", "orders-0")
	ours.Regarding.UID, former.Regarding.UID = db.UID, "of a Database that was deleted"
	older.EventTime = metav1.NewMicroTime(db.CreationTimestamp.Add(-time.Minute))
	kube := fake.NewClientset(
		labelled(&podOurs, "orders"), labelled(&podOther, "payments"), labelled(&claimOurs, "orders"), labelled(&claimOther, "payments"),
		labelled(lease("", record.Record{}), "orders"), labelled(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "payments-primary"}}, "payments"),
		late, ours, former, older, warning("Elsewhere", "Pod", "payments-0"),
	)
	databases := dbfake.NewClientset(db, labelled(&second, "orders"), labelled(&first, "orders"), labelled(&other, "payments"),
		backup("mine", "orders"), backup("other", "payments"))
	return Reader{Kube: kube, Databases: databases}, kube
}

func TestGatherReadsWhatBelongsToTheDatabase(t *testing.T) {
	reader, _ := cluster()
	report, err := reader.Gather(t.Context(), "shop", "orders")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range report.Instances {
		names = append(names, report.Instances[i].Name)
	}
	for i := range report.Pods {
		names = append(names, report.Pods[i].Name)
	}
	for i := range report.Claims {
		names = append(names, report.Claims[i].Name)
	}
	for i := range report.Backups {
		names = append(names, report.Backups[i].Name)
	}
	for i := range report.Warnings {
		names = append(names, report.Warnings[i].Name)
	}
	names = append(names, report.Lease.Name)
	want := []string{"orders-0", "orders-1", "orders-0", "data-orders-0", "mine", "Early", "Late", "orders-primary"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if report.Database.Kind != "Database" || report.Database.ManagedFields != nil || report.Instances[0].Kind != "DatabaseInstance" {
		t.Errorf("the objects do not say what they are: %+v", report.Database.TypeMeta)
	}
}

func TestGatherReadsNoSecret(t *testing.T) {
	reader, kube := cluster()
	if _, err := reader.Gather(t.Context(), "shop", "orders"); err != nil {
		t.Fatal(err)
	}
	for _, action := range kube.Actions() {
		if action.GetResource().Resource == "secrets" || action.GetVerb() != "list" {
			t.Errorf("it did %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

func TestGatherGoesOnWithoutWhatIsForbidden(t *testing.T) {
	reader, kube := cluster()
	kube.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	})
	report, err := reader.Gather(t.Context(), "shop", "orders")
	if err != nil {
		t.Fatal(err)
	}
	if !report.unread(partPods) || len(report.Unread) != 1 || len(report.Claims) != 1 {
		t.Errorf("unread %v, %d claims", report.Unread, len(report.Claims))
	}
}

func TestGatherFailsWhenAPartCannotBeReadForAnotherReason(t *testing.T) {
	reader, kube := cluster()
	kube.PrependReactor("list", "persistentvolumeclaims", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(errors.New("no"))
	})
	if _, err := reader.Gather(t.Context(), "shop", "orders"); !apierrors.IsInternalError(err) {
		t.Errorf("got %v", err)
	}
}

func TestListIsSortedByNamespaceAndName(t *testing.T) {
	in := func(namespace, name string) *dbv1.Database {
		return &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	reader := Reader{Databases: dbfake.NewClientset(in("b", "a"), in("a", "z"), in("a", "b"))}
	list, err := reader.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range list {
		names = append(names, list[i].Namespace+"/"+list[i].Name)
	}
	if want := []string{"a/b", "a/z", "b/a"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
