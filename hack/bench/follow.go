package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	dbinformers "github.com/platform-io/database-operator/pkg/generated/informers/externalversions"
)

// follower sees when each Database came and became Ready, and when its StatefulSet, which is
// applied last, came.
type follower struct {
	mu                 sync.Mutex
	came, ready        map[string]time.Time
	sets               map[string]bool
	lastSet, lastReady time.Time
}

func followDatabases(ctx context.Context, kube kubernetes.Interface, db versioned.Interface) (*follower, error) {
	f := &follower{came: map[string]time.Time{}, ready: map[string]time.Time{}, sets: map[string]bool{}}
	databases := dbinformers.NewSharedInformerFactoryWithOptions(db, 0, dbinformers.WithNamespace(namespace))
	core := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace))
	informer, sets := databases.Database().V1().Databases().Informer(), core.Apps().V1().StatefulSets().Informer()
	_, errDatabases := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: f.seeDatabase, UpdateFunc: func(_, object any) { f.seeDatabase(object) },
	})
	_, errSets := sets.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: f.seeSet})
	if err := errors.Join(errDatabases, errSets); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	databases.Start(ctx.Done())
	core.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced, sets.HasSynced) {
		return nil, fmt.Errorf("watch: %w", context.Cause(ctx))
	}
	return f, nil
}

func (f *follower) seeDatabase(object any) {
	db, ok := object.(*dbv1.Database)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if _, seen := f.came[db.Name]; !seen {
		f.came[db.Name] = now
	}
	if _, seen := f.ready[db.Name]; !seen && db.Status.Phase == dbv1.PhaseReady && db.Status.ObservedGeneration == db.Generation {
		f.ready[db.Name], f.lastReady = now, now
	}
}

func (f *follower) seeSet(object any) {
	set, ok := object.(*appsv1.StatefulSet)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets[set.Name], f.lastSet = true, time.Now()
}

// await waits until so many Databases are Ready.
func (f *follower) await(ctx context.Context, want int) error {
	for {
		f.mu.Lock()
		sets, ready := len(f.sets), len(f.ready)
		f.mu.Unlock()
		if ready >= want && sets >= want {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d Databases have their StatefulSet and %d are Ready: %w", sets, want, ready, err)
		}
	}
}

// spread is how long Databases took from being created to being Ready.
func (f *follower) spread() quantiles {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []float64
	for name, ready := range f.ready {
		all = append(all, ready.Sub(f.came[name]).Seconds())
	}
	slices.Sort(all)
	if len(all) == 0 {
		return quantiles{}
	}
	at := func(q float64) float64 { return all[min(len(all)-1, int(q*float64(len(all))))] }
	return quantiles{Count: float64(len(all)), P50: at(.5), P99: at(.99), Max: all[len(all)-1]}
}
