// Package controller is the operator's loop on client-go: informers feed a rate-limited queue of
// Database names; a sync observes, plans, applies and reports.
//
//  1. observe gathers an immutable engine.Observation from the caches,
//  2. engine.New makes a Plan of it, without side effects,
//  3. apply and execute carry it out, writing only what differs, and
//  4. report writes the status once, if it changed.
//
// A sync of a settled Database makes no request. A key is not synced while a cache is behind the
// key's own last write. Errors are retried for ever, with back-off; what a user must mend is a
// condition and no error.
package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/consistency"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
)

// Clients are the clients that the controller writes and watches with.
type Clients struct {
	Kube      kubernetes.Interface
	Databases versioned.Interface
	Metadata  metadata.Interface
}

// Options say how the controller works.
type Options struct {
	// Engines are the engines that this release runs.
	Engines map[dbv1.Engine]engine.Engine
	// AgentImage is the image that the agent is copied from.
	AgentImage string
	// Workers is the number of Databases that are synced at a time.
	Workers int
	// Namespace limits the controller to one namespace; empty means all.
	Namespace string
	// Clock is the real one but in tests.
	Clock clock.WithTicker
}

// Controller keeps Databases as their specs say.
type Controller struct {
	clients     Clients
	options     Options
	clock       clock.WithTicker
	kinds       map[string]*kind
	nodes       cache.SharedIndexInformer
	factories   factories
	synced      []cache.DoneChecker
	queue       workqueue.TypedRateLimitingInterface[cache.ObjectName]
	consistency *consistency.Store
	leases      leaseClock
	recorder    events.EventRecorder
	metrics     *controllerMetrics
}

// How soon a sync is tried again when nothing will wake it: after a cache lagged behind a write,
// and after what somebody else must mend, of which no informer may tell.
const (
	staleRetry    = time.Second
	conflictRetry = time.Minute
)

// New wires a controller; Start and Run make it work.
func New(ctx context.Context, clients Clients, recorder events.EventRecorder, options Options) (*Controller, error) {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	c := &Controller{clients: clients, options: options, clock: options.Clock, recorder: recorder}
	c.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](50*time.Millisecond, time.Minute),
		workqueue.TypedRateLimitingQueueConfig[cache.ObjectName]{Name: "databases", Clock: options.Clock})
	if err := c.newInformers(ctx); err != nil {
		return nil, err
	}
	c.consistency = consistency.NewStore(storesOf(c.kinds))
	c.metrics = newMetrics(c.kinds["Database"])
	return c, nil
}

// Start starts the informers and waits until their caches are filled. A standby does this too, so
// that it can take over at once.
func (c *Controller) Start(ctx context.Context) error {
	c.factories.start(ctx)
	// It names every informer that it waits for, which only a person who looks for a laggard reads.
	quiet := klog.NewContext(ctx, klog.FromContext(ctx).V(2))
	if !cache.WaitFor(quiet, "informer caches", c.synced...) {
		return fmt.Errorf("wait for the informer caches: %w", context.Cause(ctx))
	}
	return nil
}

// HasSynced is true once the caches are filled.
func (c *Controller) HasSynced() bool { return len(c.Unfilled()) == 0 }

// Unfilled are the resources whose caches are not filled yet. One that stays is mostly one that the operator may not
// list and watch.
func (c *Controller) Unfilled() []string {
	var resources []string
	for _, k := range c.kinds {
		if !cache.IsDone(k.synced) {
			resources = append(resources, k.resource.String())
		}
	}
	slices.Sort(resources)
	return resources
}

// Run begins syncs until ctx ends, and returns when none is under way any more: whoever waits for it may then let go
// of the leader's lease. A sync that has begun may end, unless the context of the syncs ends before: it then makes no
// request any more.
func (c *Controller) Run(ctx, syncs context.Context) {
	logger := klog.FromContext(ctx).WithName("database")
	ctx, syncs = klog.NewContext(ctx, logger), klog.NewContext(syncs, logger)
	logger.Info("Starting workers", "workers", c.options.Workers)
	var workers sync.WaitGroup
	for range c.options.Workers {
		workers.Go(func() { wait.UntilWithContext(ctx, func(context.Context) { c.work(syncs) }, time.Second) })
	}
	<-ctx.Done()
	c.queue.ShutDown()
	workers.Wait()
	logger.Info("All workers have stopped")
}

// Shutdown waits for the informers to end after their context has.
func (c *Controller) Shutdown() { c.factories.shutdown() }

func (c *Controller) work(ctx context.Context) {
	for c.processNextWorkItem(ctx) {
	}
}

// syncLimit bounds one sync: every request in it has this long at most.
const syncLimit = time.Minute

func (c *Controller) processNextWorkItem(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	ctx, cancel := context.WithTimeout(klog.NewContext(ctx, klog.FromContext(ctx).WithValues("database", key)), syncLimit)
	defer cancel()
	started := c.clock.Now()
	after, err := c.sync(ctx, key)
	c.metrics.observe(c.clock.Since(started), err)
	if err != nil {
		if apierrors.IsConflict(err) {
			klog.FromContext(ctx).V(2).Info("Somebody else wrote first, trying again", "err", err)
		} else {
			utilruntime.HandleErrorWithContext(ctx, err, "Sync failed, will be tried again")
		}
		c.queue.AddRateLimited(key)
		return true
	}
	c.queue.Forget(key)
	if after > 0 {
		c.queue.AddAfter(key, after)
	}
	return true
}

// sync brings one Database closer to its spec.
func (c *Controller) sync(ctx context.Context, key cache.ObjectName) (time.Duration, error) {
	if err := c.consistency.EnsureReady(key); err != nil {
		// The watch event that the cache is waiting for wakes us; the delay is for the case that
		// the object left the informer's selection and there will be none.
		c.metrics.stale(err)
		return staleRetry, nil
	}
	shared, ok := c.kinds["Database"].cached(key.Namespace, key.Name).(*dbv1.Database)
	if !ok {
		c.consistency.Forget(key)
		return 0, nil
	}
	observation, err := c.observe(ctx, shared)
	if err != nil {
		return 0, errors.Join(err, c.report(ctx, shared, shared.Status.DeepCopy(), err))
	}
	plan := engine.New(observation, c.options.Engines[shared.Spec.Engine])
	c.metrics.refused(plan.Status.Plan)
	return c.carryOut(ctx, observation, plan)
}

// carryOut does what was planned, reports what came of it, and says when to look again.
func (c *Controller) carryOut(ctx context.Context, o *engine.Observation, plan *engine.Plan) (time.Duration, error) {
	db, grown, failure := c.execute(ctx, o.Database, plan.Actions, c.applyAll(ctx, o.Database, plan.Objects))
	c.reportGrowth(o, &plan.Status, grown)
	switch err := c.report(ctx, db, &plan.Status, failure); {
	case apierrors.IsConflict(err):
		// What was planned is out of date, and with it what failed.
		return 0, err
	case err != nil:
		return 0, errors.Join(failure, err)
	case failure != nil && !isSettled(failure):
		return 0, failure
	case failure == nil && grown.refused == nil:
		return plan.RequeueAfter, nil
	case plan.RequeueAfter > 0:
		return min(plan.RequeueAfter, conflictRetry), nil
	}
	return conflictRetry, nil
}
