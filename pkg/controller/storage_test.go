package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/consistency"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
	"github.com/platform-io/database-operator/pkg/naming"
)

// refusing answers writes to objects with errors, by name.
type refusing map[string]error

func (refusing) get(context.Context, string) (metav1.Object, error) {
	return nil, errors.New("nothing is to be read")
}

func (r refusing) patch(_ context.Context, name string, _ types.PatchType, _ []byte, _ metav1.PatchOptions) (metav1.Object, error) {
	return &metav1.ObjectMeta{Name: name}, r[name]
}

func (r refusing) delete(_ context.Context, name string, _ metav1.DeleteOptions) error {
	return r[name]
}

func forbidden(resource, name, why string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, name, errors.New(why))
}

// carried is a plan that is carried out, where the API server refuses some objects.
type carried struct {
	database *dbv1.Database
	claims   map[string]*corev1.PersistentVolumeClaim
	refuses  refusing
	// annotates is true for a plan with an action beside the growth of volumes.
	annotates bool
	requeue   time.Duration
}

// out is the status that is written, when it is looked at again, and what fails.
func (c carried) out(t *testing.T) (status dbv1.DatabaseStatus, after time.Duration, failure error) {
	t.Helper()
	clients := Clients{Databases: fake.NewSimpleClientset(c.database)}
	controller := &Controller{
		clients: clients, recorder: events.NewFakeRecorder(10), clock: clocktesting.NewFakeClock(time.Unix(0, 0)),
		consistency: consistency.NewStore(map[schema.GroupResource]consistency.Cache{}), kinds: map[string]*kind{},
	}
	for _, name := range []string{"Database", "PersistentVolumeClaim", "Pod"} {
		controller.kinds[name] = &kind{client: func(string) resourceClient { return c.refuses }}
	}
	plan := &engine.Plan{Status: *c.database.Status.DeepCopy(), RequeueAfter: c.requeue, Actions: []engine.Action{
		engine.GrowClaim{Name: "data-db-0", Size: resource.MustParse("20Gi")},
		engine.GrowClaim{Name: "data-db-1", Size: resource.MustParse("20Gi")},
	}}
	if c.annotates {
		plan.Actions = append(plan.Actions, engine.Annotate{Resource: engine.Pods, Name: "db-0"})
	}
	after, failure = controller.carryOut(t.Context(), &engine.Observation{Database: c.database, Claims: c.claims}, plan)
	written, err := clients.Databases.DatabaseV1().Databases("ns").Get(t.Context(), "db", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return written.Status, after, failure
}

func grows(refuses refusing) carried {
	db := &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns", UID: "db-uid"}}
	db.Spec.Storage = &dbv1.StorageSpec{Size: new(resource.MustParse("20Gi"))}
	c := carried{database: db, claims: map[string]*corev1.PersistentVolumeClaim{}, refuses: refuses}
	for _, name := range []string{"data-db-0", "data-db-1"} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{naming.AnnotationDatabaseUID: "db-uid"}}}
		claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
		c.claims[name] = claim
	}
	return c
}

const noExpansion = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"

// A volume that cannot grow is said, and changes nothing of what else is due or fails.
func TestAVolumeThatCannotGrowHoldsNothingElseUp(t *testing.T) {
	stuck := forbidden("persistentvolumeclaims", "data-db-0", noExpansion)
	passing, lacking := errors.New("connection refused"), forbidden("pods", "db-0", "no such rule")
	for name, c := range map[string]struct {
		pod     error
		requeue time.Duration
		after   time.Duration
		failure error
		says    string
	}{
		"nothing else is due":      {nil, 0, time.Minute, nil, ""},
		"a deadline comes before":  {nil, 3 * time.Second, 3 * time.Second, nil, ""},
		"a window opens later":     {nil, time.Hour, time.Minute, nil, ""},
		"something else fails":     {passing, time.Hour, 0, passing, ""},
		"something else is denied": {lacking, time.Hour, 0, lacking, dbv1.ReasonForbidden},
		"something is not ours":    {&conflictError{"pods", "db-0", "another"}, 3 * time.Second, 3 * time.Second, nil, dbv1.ReasonResourceConflict},
	} {
		plan := grows(refusing{"data-db-0": stuck, "data-db-1": stuck, "db-0": c.pod})
		plan.annotates, plan.requeue = true, c.requeue
		status, after, failure := plan.out(t)
		if after != c.after || !errors.Is(failure, c.failure) || errors.Is(failure, stuck) {
			t.Errorf("%s: again after %s, want %s; failure %v, want %v", name, after, c.after, failure, c.failure)
		}
		if got := meta.FindStatusCondition(status.Conditions, dbv1.ConditionStorageReady); got == nil || got.Reason != dbv1.ReasonResizeFailed {
			t.Errorf("%s: StorageReady is %+v", name, got)
		}
		says := ""
		if got := meta.FindStatusCondition(status.Conditions, dbv1.ConditionProvisioned); got != nil {
			says = got.Reason
		}
		if says != c.says {
			t.Errorf("%s: Provisioned says %q, want %q", name, says, c.says)
		}
	}
}

func TestWhatToDoAboutAVolumeThatCannotGrow(t *testing.T) {
	const back, class = "or set spec.storage.size back", "Set allowVolumeExpansion of its StorageClass to true"
	quota := forbidden("persistentvolumeclaims", "data-db-1", "exceeded quota: storage, requested: requests.storage=10Gi, used: requests.storage=30Gi, limited: requests.storage=30Gi")
	stuck := forbidden("persistentvolumeclaims", "data-db-1", noExpansion)
	told := func(size string, names ...string) func(carried) {
		return func(c carried) {
			for _, name := range names {
				c.claims[name].Annotations[naming.AnnotationSize] = size
			}
		}
	}
	for name, c := range map[string]struct {
		refuses refusing
		disturb func(carried)
		says    string
	}{
		"the class does not allow it":              {refusing{"data-db-0": stuck, "data-db-1": stuck}, func(carried) {}, class + ", " + back},
		"all were told a size before":              {refusing{"data-db-0": stuck, "data-db-1": stuck}, told("10Gi", "data-db-0", "data-db-1"), class + ", " + back},
		"one was told this size":                   {refusing{"data-db-0": stuck, "data-db-1": stuck}, told("20Gi", "data-db-0"), class},
		"one grows now, and a quota holds another": {refusing{"data-db-1": quota}, func(carried) {}, "Raise the quota"},
		"a quota holds one, and another grows now": {refusing{"data-db-0": quota}, func(carried) {}, "Raise the quota"},
		"a quota holds all":                        {refusing{"data-db-0": quota, "data-db-1": quota}, func(carried) {}, "Raise the quota, " + back},
		"a quota, and one has grown":               {refusing{"data-db-0": quota, "data-db-1": quota}, told("20Gi", "data-db-0"), "Raise the quota"},
		"they were to grow by themselves": {refusing{"data-db-0": stuck, "data-db-1": stuck}, func(c carried) {
			c.database.Spec.Storage.Size = new(resource.MustParse("15Gi"))
		}, class},
	} {
		plan := grows(c.refuses)
		c.disturb(plan)
		status, _, _ := plan.out(t)
		if got := meta.FindStatusCondition(status.Conditions, dbv1.ConditionStorageReady); got == nil || !strings.HasSuffix(got.Message, ". "+c.says) {
			t.Errorf("%s: StorageReady is %+v, want %q", name, got, c.says)
		}
	}
}
