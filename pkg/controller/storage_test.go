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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
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

func (refusing) get(_ context.Context, name string) (metav1.Object, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
}

func (r refusing) patch(_ context.Context, name string, _ types.PatchType, _ []byte, _ metav1.PatchOptions) (metav1.Object, error) {
	return &metav1.ObjectMeta{Name: name}, r[name]
}

func (r refusing) delete(_ context.Context, name string, _ metav1.DeleteOptions) error {
	return r[name]
}

// noting keeps the names of what was to be written.
type noting struct {
	refusing
	names *[]string
}

func (n noting) patch(ctx context.Context, name string, how types.PatchType, data []byte, options metav1.PatchOptions) (metav1.Object, error) {
	*n.names = append(*n.names, name)
	return n.refusing.patch(ctx, name, how, data, options)
}

func (n noting) delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	*n.names = append(*n.names, name)
	return n.refusing.delete(ctx, name, options)
}

func forbidden(resource, name, why string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, name, errors.New(why))
}

// carried is a plan that is carried out, where the API server refuses some objects.
type carried struct {
	database *dbv1.Database
	claims   map[string]*corev1.PersistentVolumeClaim
	services []*corev1.Service
	kube     kubernetes.Interface
	refuses  refusing
	// tried are the names of what was to be written.
	tried *[]string
	// objects come before the growth of volumes, and actions after it.
	objects []runtime.ApplyConfiguration
	actions []engine.Action
	requeue time.Duration
}

// out is the status that is written, when it is looked at again, and what fails.
func (c carried) out(t *testing.T) (status dbv1.DatabaseStatus, after time.Duration, failure error) {
	t.Helper()
	clients := Clients{Databases: fake.NewSimpleClientset(c.database), Kube: c.kube}
	controller := &Controller{
		clients: clients, recorder: events.NewFakeRecorder(10), clock: clocktesting.NewFakeClock(time.Unix(0, 0)),
		consistency: consistency.NewStore(map[schema.GroupResource]consistency.Cache{}), kinds: map[string]*kind{},
	}
	for _, name := range []string{"Database", "PersistentVolumeClaim", "Pod", "Secret", "Service", "StatefulSet"} {
		controller.kinds[name] = &kind{
			resource: schema.GroupResource{Resource: strings.ToLower(name) + "s"},
			client:   func(string) resourceClient { return noting{c.refuses, c.tried} }, informer: cache.NewSharedIndexInformer(nil, &corev1.Service{}, 0, nil),
		}
	}
	for _, service := range c.services {
		if err := controller.kinds["Service"].informer.GetStore().Add(service); err != nil {
			t.Fatal(err)
		}
	}
	plan := &engine.Plan{Status: *c.database.Status.DeepCopy(), RequeueAfter: c.requeue, Objects: c.objects, Actions: append([]engine.Action{
		engine.GrowClaim{Name: "data-db-0", Size: resource.MustParse("20Gi")},
		engine.GrowClaim{Name: "data-db-1", Size: resource.MustParse("20Gi")},
	}, c.actions...)}
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
	c := carried{database: db, claims: map[string]*corev1.PersistentVolumeClaim{}, refuses: refuses, tried: &[]string{}}
	for _, name := range []string{"data-db-0", "data-db-1"} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{naming.AnnotationDatabaseUID: "db-uid"}}}
		claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
		c.claims[name] = claim
	}
	return c
}

const noPermission = `User "operator" cannot patch resource "persistentvolumeclaims" in API group "" in the namespace "ns"`

const noExpansion = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"

// A volume that cannot grow is said, and changes nothing of what else is due or fails.
func TestAVolumeThatCannotGrowHoldsNothingElseUp(t *testing.T) {
	stuck := forbidden("persistentvolumeclaims", "data-db-0", noExpansion)
	passing, lacking := errors.New("connection refused"), forbidden("pods", "db-0", noPermission)
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
		"something is not ours":    {&conflictError{resource: "pods", name: "db-0", owner: "another"}, 3 * time.Second, 3 * time.Second, nil, dbv1.ReasonResourceConflict},
	} {
		plan := grows(refusing{"data-db-0": stuck, "data-db-1": stuck, "db-0": c.pod})
		plan.actions, plan.requeue = []engine.Action{engine.Annotate{Resource: engine.Pods, Name: "db-0"}}, c.requeue
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

// Volumes grow, and Secrets are made, whatever else fails; what may need the objects waits for them.
func TestNothingHoldsUpGrowthAndSecrets(t *testing.T) {
	passing, denied := errors.New("connection refused"), forbidden("services", "db", "exceeded quota: services")
	somebodys := []*corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns"}}}
	for name, c := range map[string]struct {
		refuses  refusing
		services []*corev1.Service
		tried    string
		after    time.Duration
		failure  error
		says     string
	}{
		"an object is refused":                  {refusing{"db": denied}, nil, "db data-db-0 data-db-1", 0, denied, dbv1.ReasonApplyFailed},
		"an object is somebody's":               {refusing{}, somebodys, "data-db-0 data-db-1", time.Minute, nil, dbv1.ReasonResourceConflict},
		"an object is, and a write fails, once": {refusing{"data-db-0": passing}, somebodys, "data-db-0 data-db-1", 0, passing, dbv1.ReasonResourceConflict},
	} {
		plan := grows(c.refuses)
		plan.kube, plan.services = kubefake.NewClientset(), c.services
		plan.objects = []runtime.ApplyConfiguration{corev1ac.Service("db", "ns")}
		plan.actions = []engine.Action{engine.CreateAuthority{}, engine.CreateAccounts{Username: "app"}, engine.Delete{Resource: engine.Pods, Name: "db-0"}}
		status, after, failure := plan.out(t)
		if after != c.after || !errors.Is(failure, c.failure) {
			t.Errorf("%s: again after %s, want %s; failure %v, want %v", name, after, c.after, failure, c.failure)
		}
		if got := meta.FindStatusCondition(status.Conditions, dbv1.ConditionProvisioned); got == nil || got.Reason != c.says {
			t.Errorf("%s: Provisioned is %+v", name, got)
		}
		for _, secret := range []string{"db-accounts", "db-ca"} {
			if _, err := plan.kube.CoreV1().Secrets("ns").Get(t.Context(), secret, metav1.GetOptions{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := strings.Join(*plan.tried, " "); got != c.tried {
			t.Errorf("%s: writes to %s, want to %s", name, got, c.tried)
		}
	}
}

// All objects that are not ours are named at once, the others are made, and no pod starts before they are all there.
func TestStatefulSetsWaitForEveryObject(t *testing.T) {
	plan := grows(refusing{})
	for _, name := range []string{"db", "db-ro"} {
		plan.services = append(plan.services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}})
	}
	plan.objects = []runtime.ApplyConfiguration{
		corev1ac.Service("db", "ns"), corev1ac.Service("db-headless", "ns"), corev1ac.Service("db-ro", "ns"),
		appsv1ac.StatefulSet("db-0", "ns"), appsv1ac.StatefulSet("db-1", "ns"),
	}
	status, _, _ := plan.out(t)
	if got := strings.Join(*plan.tried, " "); got != "db-headless data-db-0 data-db-1" {
		t.Errorf("writes to %s", got)
	}
	got := meta.FindStatusCondition(status.Conditions, dbv1.ConditionProvisioned)
	if got == nil || !strings.Contains(got.Message, "services db belongs") || !strings.Contains(got.Message, "services db-ro belongs") {
		t.Errorf("Provisioned is %+v", got)
	}
}

// An authority that is somebody's is said, and holds nothing up.
func TestCertificatesHoldNothingUp(t *testing.T) {
	plan := grows(refusing{})
	plan.kube = kubefake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db-ca", Namespace: "ns"}})
	plan.actions = []engine.Action{engine.CreateAuthority{}, engine.Delete{Resource: engine.Pods, Name: "db-0"}}
	status, after, _ := plan.out(t)
	if got := strings.Join(*plan.tried, " "); got != "data-db-0 data-db-1 db-0" || after != time.Minute {
		t.Errorf("writes to %s, and looks again after %s", got, after)
	}
	if got := meta.FindStatusCondition(status.Conditions, dbv1.ConditionProvisioned); got == nil || got.Reason != dbv1.ReasonResourceConflict {
		t.Errorf("Provisioned is %+v", got)
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
		"the operator may not":                     {refusing{"data-db-0": forbidden("persistentvolumeclaims", "data-db-0", noPermission)}, func(carried) {}, applyRole},
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
