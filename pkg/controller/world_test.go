//go:build integration

package controller_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/controller"
	"github.com/platform-io/database-operator/pkg/engine/registry"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
	"github.com/platform-io/database-operator/pkg/testing/simulation"
)

// world is a namespace on a real API server, with simulated nodes and agents in it.
type world struct {
	*testing.T
	// lastLands says how operators with a limit die: see budget.
	lastLands bool
	config    *rest.Config
	kube      kubernetes.Interface
	databases versioned.Interface
	namespace string
	sim       *simulation.Simulation
}

// newWorld makes a world without an operator in it.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, simulation.Options{})
}

// newWorldWith makes a world of another pace, on an API server that was started with flags.
func newWorldWith(t *testing.T, pace simulation.Options, flags ...string) *world {
	t.Helper()
	config := rest.CopyConfig(apiserver.Start(t, flags...))
	config.QPS, config.Burst = 500, 1000
	w := &world{
		T: t, config: config, namespace: apiserver.Namespace(t, config),
		kube: kubernetes.NewForConfigOrDie(config), databases: versioned.NewForConfigOrDie(config),
	}
	ctx, cancel := context.WithCancel(context.Background())
	pace.Namespace, pace.ReportInterval, pace.LeaseDuration = w.namespace, 20*time.Millisecond, 500*time.Millisecond
	pace.Nodes = []string{w.namespace + "-a", w.namespace + "-b", w.namespace + "-c"}
	sim, err := simulation.Start(ctx, w.kube, w.databases, pace)
	if err != nil {
		t.Fatal(err)
	}
	w.sim = sim
	t.Cleanup(func() { cancel(); sim.Wait() })
	return w
}

// unlimited is the budget of an operator that lives.
const unlimited = -1

// operator is a controller in this process.
type operator struct {
	stop func()
	// writes counts the requests that are not reads.
	writes *atomic.Int64
}

// budget lets requests through until a number of writes is used up; then every request fails, as
// if the process had been killed at that moment. With lastLands the write that is one too many is
// still carried out, and only its answer is lost.
type budget struct {
	next      http.RoundTripper
	writes    *atomic.Int64
	limit     int64
	lastLands bool
	out       func()
}

var errKilled = errors.New("the operator was stopped here")

func (b *budget) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		if n := b.writes.Add(1); b.limit >= 0 && n > b.limit {
			if b.lastLands && n == b.limit+1 {
				if answer, err := b.next.RoundTrip(r); err == nil {
					_ = answer.Body.Close()
				}
			}
			b.out()
			return nil, errKilled
		}
	} else if b.limit >= 0 && b.writes.Load() > b.limit {
		return nil, errKilled
	}
	return b.next.RoundTrip(r)
}

// start runs an operator until the test ends or stop is called. With a limit, it is stopped for
// good after that many writes; killed is closed then.
func (w *world) start(limit int64, change ...func(*rest.Config)) (op *operator, killed <-chan struct{}) {
	w.Helper()
	return w.run("agent:test", limit, change...)
}

// startRelease runs an operator of another release.
func (w *world) startRelease(agentImage string) {
	w.Helper()
	w.run(agentImage, unlimited)
}

func (w *world) run(agentImage string, limit int64, change ...func(*rest.Config)) (op *operator, killed <-chan struct{}) {
	w.Helper()
	config := rest.CopyConfig(w.config)
	for _, c := range change {
		c(config)
	}
	writes, dead := &atomic.Int64{}, make(chan struct{})
	var once sync.Once
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &budget{next: next, writes: writes, limit: limit, lastLands: w.lastLands, out: func() { once.Do(func() { close(dead) }) }}
	})
	ctx, cancel := context.WithCancel(context.Background())
	clients := controller.Clients{
		Kube: kubernetes.NewForConfigOrDie(config), Databases: versioned.NewForConfigOrDie(config), Metadata: metadata.NewForConfigOrDie(config),
	}
	c, err := controller.New(ctx, clients, events.NewFakeRecorder(1000), controller.Options{
		Engines: registry.Engines(), AgentImage: agentImage, Workers: 2, Namespace: w.namespace,
	})
	if err != nil {
		w.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Start(ctx); err == nil {
			c.Run(ctx, context.WithoutCancel(ctx))
		}
	})
	op = &operator{writes: writes, stop: sync.OnceFunc(func() { cancel(); running.Wait(); c.Shutdown() })}
	w.Cleanup(op.stop)
	return op, dead
}

// basic is the smallest Database.
func (w *world) basic(name string, change ...func(*dbv1.Database)) *dbv1.Database {
	db := &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.PostgreSQL, Version: "15.0",
			Topology: dbv1.TopologySpec{Mode: dbv1.Standalone, Replicas: 1},
			Storage:  &dbv1.StorageSpec{Size: new(resource.MustParse("1Gi"))},
		},
	}
	for _, c := range change {
		c(db)
	}
	return db
}

func (w *world) create(db *dbv1.Database) *dbv1.Database {
	w.Helper()
	created, err := w.databases.DatabaseV1().Databases(w.namespace).Create(w.Context(), db, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return created
}

func (w *world) get(name string) *dbv1.Database {
	w.Helper()
	db, err := w.databases.DatabaseV1().Databases(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return db
}

// update changes a Database, as often as somebody else was faster.
func (w *world) update(name string, change func(*dbv1.Database)) {
	w.Helper()
	w.eventually("update "+name, func() (bool, string) {
		db := w.get(name)
		change(db)
		_, err := w.databases.DatabaseV1().Databases(w.namespace).Update(w.Context(), db, metav1.UpdateOptions{})
		return err == nil, "refused: " + errorText(err)
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// patience is for a machine that does other things too; nothing waits for it when all is well.
const patience = time.Minute

// eventually waits until a condition holds; done says what is missing.
func (w *world) eventually(what string, done func() (bool, string)) {
	w.Helper()
	last := ""
	err := wait.PollUntilContextTimeout(w.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		var ok bool
		ok, last = done()
		return ok, nil
	})
	if err != nil {
		w.Fatalf("%s: %s", what, last)
	}
}

// waitFor waits until a condition of a Database has a status, and a reason if one is given.
func (w *world) waitFor(name, kind string, status metav1.ConditionStatus, reason ...string) *dbv1.Database {
	w.Helper()
	var db *dbv1.Database
	w.eventually(name+" "+kind+"="+string(status), func() (bool, string) {
		db = w.get(name)
		c := meta.FindStatusCondition(db.Status.Conditions, kind)
		ok := c != nil && c.Status == status && (len(reason) == 0 || c.Reason == reason[0]) && c.ObservedGeneration == db.Generation
		return ok, describe(db)
	})
	return db
}

func (w *world) waitReady(name string) *dbv1.Database {
	w.Helper()
	var db *dbv1.Database
	w.eventually(name+" is Ready", func() (bool, string) {
		db = w.get(name)
		return db.Status.Phase == dbv1.PhaseReady && db.Status.ObservedGeneration == db.Generation &&
			meta.IsStatusConditionTrue(db.Status.Conditions, dbv1.ConditionUpToDate), describe(db)
	})
	return db
}

func describe(db *dbv1.Database) string {
	text := "phase " + string(db.Status.Phase)
	for _, c := range db.Status.Conditions {
		if c.Status != metav1.ConditionTrue {
			text += "\n  " + c.Type + "=" + string(c.Status) + " " + c.Reason + ": " + c.Message
		}
	}
	return text
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret, err := w.kube.CoreV1().Secrets(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return secret
}

func isUpToDate(db *dbv1.Database) bool {
	return meta.IsStatusConditionTrue(db.Status.Conditions, dbv1.ConditionUpToDate)
}

func (w *world) delete(name string) {
	w.Helper()
	if err := w.databases.DatabaseV1().Databases(w.namespace).Delete(w.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// gone waits until a Database and its pods are gone, and checks what is left of its data.
func (w *world) gone(name string, kept bool) {
	w.Helper()
	w.eventually(name+" is gone", func() (bool, string) {
		db, err := w.databases.DatabaseV1().Databases(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
		if err == nil {
			return false, describe(db)
		}
		return apierrors.IsNotFound(err), err.Error()
	})
	_, claim := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.Context(), naming.Claim(name+"-0"), metav1.GetOptions{})
	_, accounts := w.kube.CoreV1().Secrets(w.namespace).Get(w.Context(), naming.Accounts(name), metav1.GetOptions{})
	_, credentials := w.kube.CoreV1().Secrets(w.namespace).Get(w.Context(), naming.Credentials(name), metav1.GetOptions{})
	for what, err := range map[string]error{"claim": claim, "accounts": accounts, "credentials": credentials} {
		if kept && err != nil || !kept && !apierrors.IsNotFound(err) {
			w.Errorf("%s: %v; kept should be %v", what, err, kept)
		}
	}
}

// versions are the resourceVersions of every object in the namespace that the operator or an
// agent writes.
func (w *world) versions() map[string]string {
	w.Helper()
	out := map[string]string{}
	for _, gvr := range []schema.GroupVersionResource{
		dbv1.SchemeGroupVersion.WithResource("databases"), dbv1.SchemeGroupVersion.WithResource("databaseinstances"),
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Version: "v1", Resource: "pods"},
		{Version: "v1", Resource: "services"},
		{Version: "v1", Resource: "configmaps"},
		{Version: "v1", Resource: "secrets"},
		{Version: "v1", Resource: "serviceaccounts"},
		{Version: "v1", Resource: "persistentvolumeclaims"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
		{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	} {
		list, err := metadata.NewForConfigOrDie(w.config).Resource(gvr).Namespace(w.namespace).List(w.Context(), metav1.ListOptions{})
		if err != nil {
			w.Fatal(err)
		}
		for _, item := range list.Items {
			out[gvr.Resource+"/"+item.Name] = item.ResourceVersion
		}
	}
	return out
}
