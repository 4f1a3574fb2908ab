// Package simulation plays what an API server without nodes lacks, so that the operator can be
// tested and measured on it: the StatefulSet controller, volumes, the kubelet, the garbage
// collector, and the agent in every pod.
//
//  1. For each StatefulSet of ours a claim and a pod is made per ordinal, from its templates. A pod
//     that is deleted is stopped, and made again from the template of that moment (OnDelete).
//  2. A claim is bound, and grows when it is asked to. What is on it outlives pods and Databases.
//  3. A pod runs after a while. Its agent then does what the DatabaseInstance says and reports.
//  4. A pod is ready when its agent says so.
//  5. Agents elect a primary through the Lease, and others clone it and follow.
//  6. What an object owned is deleted after it.
//
// What is on a volume is known to the Simulation alone: which system identifier, how often a new
// database was made on it, and with which passwords one can log in.
package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	dbinformers "github.com/platform-io/database-operator/pkg/generated/informers/externalversions"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Options say how long things take, and what goes wrong. The zero value is a fast, healthy world.
type Options struct {
	// Namespace limits the simulation; all namespaces when empty.
	Namespace string
	// Workers is how many things happen at once. Default: 4.
	Workers int
	// Nodes are the nodes that pods are put on, by their ordinals. Default: NodeName alone.
	Nodes []string
	// PodStart is how long a new pod takes until its agent runs, PodStop how long a deleted one stays.
	PodStart, PodStop time.Duration
	// Bootstrap is how long a new database takes to make.
	Bootstrap time.Duration
	// EngineStart is how long the engine takes to start.
	EngineStart time.Duration
	// ConfigDelay is how long an agent takes to apply another configuration.
	ConfigDelay time.Duration
	// LeaseDuration is how long a Lease is held by a pod that is gone.
	LeaseDuration time.Duration
	// ReportInterval is the least time between two reports of an agent. Real ones take a second.
	ReportInterval time.Duration
	// KeepGarbage leaves deletion of dependents to a real garbage collector.
	KeepGarbage bool
	// Report, when set, may change what an agent is about to report: to play a broken one. It must
	// not keep what it is given, and gives the same answer to the same question. Call Poke when its
	// answer changes.
	Report func(instance *dbv1.DatabaseInstance, status *dbv1.DatabaseInstanceStatus)
}

// Simulation is a running simulation.
type Simulation struct {
	options Options
	kube    kubernetes.Interface
	db      versioned.Interface

	queue   workqueue.TypedRateLimitingInterface[key]
	sets    cache.SharedIndexInformer
	users   cache.SharedIndexInformer
	pods    cache.SharedIndexInformer
	claims  cache.SharedIndexInformer
	objects cache.SharedIndexInformer
	leases  cache.SharedIndexInformer
	garbage *collector

	work sync.WaitGroup

	mu      sync.Mutex
	volumes map[types.UID]*volume
	agents  map[types.UID]*agent
}

// key names one thing to look at.
type key struct {
	kind kind
	cache.ObjectName
}

type kind string

const (
	kindSet      kind = "StatefulSet"
	kindClaim    kind = "PersistentVolumeClaim"
	kindPod      kind = "Pod"
	kindInstance kind = "DatabaseInstance"
)

// Start begins a simulation that ends with the context, and returns when it has seen what is there.
// Objects of ours are those labelled app.kubernetes.io/managed-by=database-operator.
func Start(ctx context.Context, kube kubernetes.Interface, db versioned.Interface, options Options) (*Simulation, error) {
	if options.Workers == 0 {
		options.Workers = 4
	}
	if len(options.Nodes) == 0 {
		options.Nodes = []string{NodeName}
	}
	s := &Simulation{
		options: options, kube: kube, db: db,
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[key](10*time.Millisecond, 5*time.Second)),
		volumes: map[types.UID]*volume{}, agents: map[types.UID]*agent{},
	}
	ours := func(o *metav1.ListOptions) {
		o.LabelSelector = labels.Set{naming.LabelManagedBy: naming.ManagedBy}.String()
	}
	core := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(options.Namespace), informers.WithTweakListOptions(ours))
	// Claims are all watched: one that a test made by hand has no label.
	storage := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(options.Namespace))
	databases := dbinformers.NewSharedInformerFactoryWithOptions(db, 0, dbinformers.WithNamespace(options.Namespace))
	s.sets = core.Apps().V1().StatefulSets().Informer()
	s.pods = core.Core().V1().Pods().Informer()
	s.users = core.Core().V1().ServiceAccounts().Informer()
	s.claims = storage.Core().V1().PersistentVolumeClaims().Informer()
	s.leases = core.Coordination().V1().Leases().Informer()
	s.objects = databases.Database().V1().DatabaseInstances().Informer()
	s.garbage = newCollector(s, core, databases)
	if err := errors.Join(s.pods.AddIndexers(podIndexers), s.watch()); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	core.Start(ctx.Done())
	storage.Start(ctx.Done())
	databases.Start(ctx.Done())
	s.run(ctx, core.Shutdown, storage.Shutdown, databases.Shutdown)
	synced := []cache.InformerSynced{s.sets.HasSynced, s.users.HasSynced, s.pods.HasSynced, s.claims.HasSynced, s.objects.HasSynced, s.leases.HasSynced}
	if !cache.WaitForCacheSync(ctx.Done(), append(synced, s.garbage.hasSynced)...) {
		return nil, fmt.Errorf("wait for the simulation's caches: %w", context.Cause(ctx))
	}
	return s, nil
}

// Wait returns when everything has ended, after the context has.
func (s *Simulation) Wait() { s.work.Wait() }

// RenewTokens does what kubelets do within the hour: every agent gets a token of the ServiceAccount
// that there now is.
func (s *Simulation) RenewTokens() {
	s.mu.Lock()
	for _, a := range s.agents {
		a.setUser("")
	}
	s.mu.Unlock()
	s.Poke()
}

// Poke makes all agents report again: after the answers of Options.Report have changed.
func (s *Simulation) Poke() {
	for _, object := range s.objects.GetStore().List() {
		s.enqueue(kindInstance, object)
	}
}

// watch turns events into keys. A pod's event also concerns its StatefulSet, its instance and its
// claims, and so do theirs.
func (s *Simulation) watch() error {
	return errors.Join(
		s.on(s.sets, func(object any) { s.enqueue(kindSet, object) }),
		s.on(s.claims, func(object any) {
			s.enqueue(kindClaim, object)
			s.enqueueOfClaim(object)
		}),
		s.on(s.objects, func(object any) {
			s.enqueue(kindInstance, object)
			s.enqueuePrimary(object)
		}),
		s.on(s.leases, s.enqueueOfLease),
		s.on(s.pods, func(object any) {
			s.enqueue(kindPod, object)
			s.enqueue(kindInstance, object)
			s.enqueueOfPod(object)
		}),
	)
}

func (s *Simulation) on(informer cache.SharedIndexInformer, changed func(object any)) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, object any) { changed(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			changed(object)
		},
	})
	return err
}

func (s *Simulation) enqueue(k kind, object any) {
	if o, ok := object.(metav1.Object); ok {
		s.queue.Add(key{k, cache.MetaObjectToName(o)})
	}
}

func (s *Simulation) enqueueOfPod(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		s.queue.Add(key{kindSet, cache.NewObjectName(pod.Namespace, owner.Name)})
	} else if group := pod.Labels[naming.LabelGroup]; group != "" {
		s.queue.Add(key{kindSet, cache.NewObjectName(pod.Namespace, group)})
	}
	s.queue.Add(key{kindClaim, cache.NewObjectName(pod.Namespace, naming.Claim(pod.Name))})
}

// enqueueOfClaim wakes the agent that waits for its volume.
func (s *Simulation) enqueueOfClaim(object any) {
	claim, ok := object.(*corev1.PersistentVolumeClaim)
	if !ok {
		return
	}
	if instance, ok := strings.CutPrefix(claim.Name, naming.Claim("")); ok {
		s.queue.Add(key{kindInstance, cache.NewObjectName(claim.Namespace, instance)})
	}
}

// run starts the workers, and ends them in order: what adds work goes last.
func (s *Simulation) run(ctx context.Context, shutdowns ...func()) {
	s.work.Go(func() {
		<-ctx.Done()
		s.queue.ShutDown()
		for _, shutdown := range shutdowns {
			shutdown()
		}
	})
	for range s.options.Workers {
		s.work.Go(func() {
			for s.next(ctx) {
			}
		})
	}
	if !s.options.KeepGarbage {
		s.work.Go(func() { s.garbage.run(ctx) })
	}
}

// next looks at one thing. Whatever fails is tried again: somebody else may have been faster.
func (s *Simulation) next(ctx context.Context) bool {
	k, quit := s.queue.Get()
	if quit {
		return false
	}
	defer s.queue.Done(k)
	again, err := s.sync(ctx, k)
	switch {
	case err != nil && ctx.Err() == nil:
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			klog.FromContext(ctx).V(1).Info("Simulation tries again", "kind", k.kind, "object", k.ObjectName, "err", err)
		}
		s.queue.AddRateLimited(k)
	default:
		s.queue.Forget(k)
		if again > 0 {
			s.queue.AddAfter(k, again)
		}
	}
	return true
}

// sync looks at one thing, and says when to look again; 0 is when it changes.
func (s *Simulation) sync(ctx context.Context, k key) (time.Duration, error) {
	switch k.kind {
	case kindSet:
		return 0, s.syncSet(ctx, k.ObjectName)
	case kindClaim:
		return 0, s.syncClaim(ctx, k.ObjectName)
	case kindPod:
		return s.syncPod(ctx, k.ObjectName)
	case kindInstance:
		return s.syncInstance(ctx, k.ObjectName)
	default:
		return 0, fmt.Errorf("no such kind: %s", k.kind)
	}
}

// find is the object of a name in an informer's store, nil when there is none.
func find[T any](informer cache.SharedIndexInformer, name cache.ObjectName) *T {
	object, ok, err := informer.GetStore().GetByKey(name.String())
	if err != nil || !ok {
		return nil
	}
	found, ok := object.(*T)
	if !ok {
		return nil
	}
	return found
}

// The indices of informers.
const (
	indexOwner = "owner" // the UID of the controller
	indexClaim = "claim" // the namespace and name of a claim that a pod uses
)

var podIndexers = cache.Indexers{
	indexOwner: func(object any) ([]string, error) {
		if owner := metav1.GetControllerOf(object.(metav1.Object)); owner != nil {
			return []string{string(owner.UID)}, nil
		}
		return nil, nil
	},
	indexClaim: func(object any) ([]string, error) {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil, nil
		}
		var claims []string
		for i := range pod.Spec.Volumes {
			if source := pod.Spec.Volumes[i].PersistentVolumeClaim; source != nil {
				claims = append(claims, pod.Namespace+"/"+source.ClaimName)
			}
		}
		return claims, nil
	},
}

func indexed(informer cache.SharedIndexInformer, index, value string) []any {
	objects, err := informer.GetIndexer().ByIndex(index, value)
	if err != nil {
		return nil // there is no such index; tests would see it
	}
	return objects
}
