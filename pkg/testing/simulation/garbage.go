package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	dbinformers "github.com/platform-io/database-operator/pkg/generated/informers/externalversions"
)

// The garbage collector, for the kinds that the operator makes.
//
// Whenever something of ours came or went, all objects with a controller are looked at. One whose
// controller is gone is deleted, by UID. Informers may lag, so the controller's absence is
// asked of the API server first. A StatefulSet that is deleted with its pods orphaned is let go
// when they are.

// collector deletes what an object owned, after it.
type collector struct {
	sim       *Simulation
	resources []resource
	databases cache.SharedIndexInformer
	changed   chan struct{}
}

// resource is one kind of object that may be owned.
type resource struct {
	name     string
	informer cache.SharedIndexInformer
	remove   func(ctx context.Context, namespace, name string, options metav1.DeleteOptions) error
}

func newCollector(s *Simulation, core informers.SharedInformerFactory, databases dbinformers.SharedInformerFactory) *collector {
	kube, db := s.kube, s.db
	c := &collector{sim: s, databases: databases.Database().V1().Databases().Informer(), changed: make(chan struct{}, 1)}
	add := func(name string, informer cache.SharedIndexInformer, remove func(context.Context, string, string, metav1.DeleteOptions) error) {
		c.resources = append(c.resources, resource{name, informer, remove})
	}
	add("pods", s.pods, func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.CoreV1().Pods(ns).Delete(ctx, n, o)
	})
	add("statefulsets", s.sets, func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.AppsV1().StatefulSets(ns).Delete(ctx, n, o)
	})
	add("databaseinstances", s.objects, func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return db.DatabaseV1().DatabaseInstances(ns).Delete(ctx, n, o)
	})
	add("services", core.Core().V1().Services().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.CoreV1().Services(ns).Delete(ctx, n, o)
	})
	add("configmaps", core.Core().V1().ConfigMaps().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.CoreV1().ConfigMaps(ns).Delete(ctx, n, o)
	})
	add("secrets", core.Core().V1().Secrets().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.CoreV1().Secrets(ns).Delete(ctx, n, o)
	})
	add("serviceaccounts", core.Core().V1().ServiceAccounts().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.CoreV1().ServiceAccounts(ns).Delete(ctx, n, o)
	})
	add("roles", core.Rbac().V1().Roles().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.RbacV1().Roles(ns).Delete(ctx, n, o)
	})
	add("rolebindings", core.Rbac().V1().RoleBindings().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.RbacV1().RoleBindings(ns).Delete(ctx, n, o)
	})
	add("leases", core.Coordination().V1().Leases().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.CoordinationV1().Leases(ns).Delete(ctx, n, o)
	})
	add("poddisruptionbudgets", core.Policy().V1().PodDisruptionBudgets().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.PolicyV1().PodDisruptionBudgets(ns).Delete(ctx, n, o)
	})
	add("cronjobs", core.Batch().V1().CronJobs().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.BatchV1().CronJobs(ns).Delete(ctx, n, o)
	})
	add("jobs", core.Batch().V1().Jobs().Informer(), func(ctx context.Context, ns, n string, o metav1.DeleteOptions) error {
		return kube.BatchV1().Jobs(ns).Delete(ctx, n, o)
	})
	return c
}

func (c *collector) hasSynced() bool {
	for _, r := range c.resources {
		if !r.informer.HasSynced() {
			return false
		}
	}
	return c.databases.HasSynced()
}

// run sweeps after changes, and not too often.
func (c *collector) run(ctx context.Context) {
	poke := func(any) {
		select {
		case c.changed <- struct{}{}:
		default: // it is going to be looked at anyway
		}
	}
	for _, informer := range append(c.informers(), c.databases) {
		if err := c.sim.on(informer, poke); err != nil {
			klog.FromContext(ctx).Error(err, "Simulation collects no garbage")
			return
		}
	}
	const pause = 200 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		}
		if err := c.sweep(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).V(1).Info("Simulation tries again to collect garbage", "err", err)
			poke(nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (c *collector) informers() []cache.SharedIndexInformer {
	var all []cache.SharedIndexInformer
	for _, r := range c.resources {
		all = append(all, r.informer)
	}
	return all
}

// sweep looks at every object once.
func (c *collector) sweep(ctx context.Context) error {
	gone := map[string]bool{} // what the API server said, for this sweep
	for _, r := range c.resources {
		for _, item := range r.informer.GetStore().List() {
			object, ok := item.(metav1.Object)
			if !ok {
				continue
			}
			if err := c.finish(ctx, object); err != nil {
				return err
			}
			owner := metav1.GetControllerOf(object)
			if owner == nil || object.GetDeletionTimestamp() != nil || c.known(owner, object.GetNamespace()) {
				continue
			}
			if err := c.collect(ctx, r, object, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

// known is true when an informer has the owner; then it is certainly no orphan yet.
func (c *collector) known(owner *metav1.OwnerReference, namespace string) bool {
	informer := c.databases
	switch owner.Kind {
	case "Database":
	case "StatefulSet":
		informer = c.sim.sets
	default:
		return true // not of our making
	}
	item, ok, err := informer.GetStore().GetByKey(namespace + "/" + owner.Name)
	if err != nil || !ok {
		return false
	}
	object, ok := item.(metav1.Object)
	return ok && object.GetUID() == owner.UID
}

func (c *collector) collect(ctx context.Context, r resource, object metav1.Object, gone map[string]bool) error {
	owner := metav1.GetControllerOf(object)
	key := owner.Kind + "/" + object.GetNamespace() + "/" + owner.Name + "/" + string(owner.UID)
	if _, asked := gone[key]; !asked {
		is, err := c.isGone(ctx, owner, object.GetNamespace())
		if err != nil {
			return err
		}
		gone[key] = is
	}
	if !gone[key] {
		return nil
	}
	background := metav1.DeletePropagationBackground
	err := r.remove(ctx, object.GetNamespace(), object.GetName(), metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(object.GetUID())), PropagationPolicy: &background,
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("collect %s %s: %w", r.name, object.GetName(), err)
	}
	return nil
}

// isGone asks the API server whether the owner, by its UID, is no more.
func (c *collector) isGone(ctx context.Context, owner *metav1.OwnerReference, namespace string) (bool, error) {
	var object metav1.Object
	var err error
	if owner.Kind == "Database" {
		object, err = c.sim.db.DatabaseV1().Databases(namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	} else {
		object, err = c.sim.kube.AppsV1().StatefulSets(namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("ask for %s %s: %w", owner.Kind, owner.Name, err)
	default:
		return object.GetUID() != owner.UID, nil
	}
}

// finish does what the API server asks of a garbage collector before a StatefulSet may go: to orphan
// its pods, or to delete them first.
func (c *collector) finish(ctx context.Context, object metav1.Object) error {
	set, ok := object.(*appsv1.StatefulSet)
	if !ok || set.DeletionTimestamp == nil {
		return nil
	}
	orphan := slices.Contains(set.Finalizers, metav1.FinalizerOrphanDependents)
	if !orphan && !slices.Contains(set.Finalizers, metav1.FinalizerDeleteDependents) {
		return nil
	}
	pods := c.sim.podsOf(set)
	for _, pod := range pods {
		if err := c.leave(ctx, pod, orphan); err != nil {
			return err
		}
	}
	if len(pods) > 0 && !orphan {
		return nil // their end wakes us
	}
	fresh := set.DeepCopy()
	fresh.Finalizers = slices.DeleteFunc(fresh.Finalizers, func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	_, err := c.sim.kube.AppsV1().StatefulSets(set.Namespace).Update(ctx, fresh, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let StatefulSet %s go: %w", set.Name, err)
	}
	return nil
}

// leave takes the owner from a pod, or else deletes it.
func (c *collector) leave(ctx context.Context, pod *corev1.Pod, orphan bool) error {
	switch {
	case orphan:
		return c.sim.patchPod(ctx, pod, map[string]any{"metadata": map[string]any{"uid": pod.UID, "ownerReferences": nil}})
	case pod.DeletionTimestamp == nil:
		return c.sim.deletePod(ctx, pod)
	default:
		return nil
	}
}
