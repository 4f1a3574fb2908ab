package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	policyv1client "k8s.io/client-go/kubernetes/typed/policy/v1"
	rbacv1client "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/consistency"
	databasev1client "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/typed/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/informers/externalversions"
	"github.com/platform-io/database-operator/pkg/naming"
)

// factories are the informer factories: one for Databases, which users label as they like, the
// others for what the operator made, which its label selects. Secrets are watched without content.
type factories struct {
	databases externalversions.SharedInformerFactory
	instances externalversions.SharedInformerFactory
	kube      informers.SharedInformerFactory
	secrets   metadatainformer.SharedInformerFactory
	nodes     informers.SharedInformerFactory
}

func (f *factories) start(ctx context.Context) {
	f.databases.Start(ctx.Done())
	f.instances.Start(ctx.Done())
	f.kube.Start(ctx.Done())
	f.secrets.Start(ctx.Done())
	f.nodes.Start(ctx.Done())
}

func (f *factories) shutdown() {
	f.databases.Shutdown()
	f.instances.Shutdown()
	f.kube.Shutdown()
	f.secrets.Shutdown()
	f.nodes.Shutdown()
}

// newInformers makes the informers of every kind, with handlers that enqueue the Database that an
// object belongs to.
func (c *Controller) newInformers(ctx context.Context) error {
	ours := func(o *metav1.ListOptions) {
		o.LabelSelector = labels.Set{naming.LabelManagedBy: naming.ManagedBy}.String()
	}
	ns := c.options.Namespace
	c.factories = factories{
		databases: externalversions.NewSharedInformerFactoryWithOptions(c.clients.Databases, 0,
			externalversions.WithNamespace(ns), externalversions.WithTransform(trim)),
		instances: externalversions.NewSharedInformerFactoryWithOptions(c.clients.Databases, 0,
			externalversions.WithNamespace(ns), externalversions.WithTweakListOptions(ours), externalversions.WithTransform(trim)),
		kube: informers.NewSharedInformerFactoryWithOptions(c.clients.Kube, 0,
			informers.WithNamespace(ns), informers.WithTweakListOptions(ours), informers.WithTransform(trim)),
		secrets: metadatainformer.NewFilteredSharedInformerFactory(c.clients.Metadata, 0, ns, ours),
	}
	c.kinds = c.newKinds()
	if err := c.newNodes(); err != nil {
		return err
	}
	if err := c.kinds["Secret"].informer.SetTransform(trim); err != nil {
		return fmt.Errorf("transform of Secrets: %w", err)
	}
	logger := klog.FromContext(ctx)
	for name, k := range c.kinds {
		if err := k.informer.AddIndexers(cache.Indexers{byDatabase: databaseOf}); err != nil {
			return fmt.Errorf("index of %s: %w", name, err)
		}
		handle, err := k.informer.AddEventHandlerWithOptions(c.handler(), cache.HandlerOptions{Logger: &logger})
		if err != nil {
			return fmt.Errorf("handler of %s: %w", name, err)
		}
		k.synced = handle.HasSyncedChecker()
		c.synced = append(c.synced, k.synced)
	}
	return nil
}

// newKinds lists every kind that the operator watches and writes.
func (c *Controller) newKinds() map[string]*kind {
	core, rbac, db := c.factories.kube.Core().V1(), c.factories.kube.Rbac().V1(), c.clients.Databases.DatabaseV1()
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	coreClient, rbacClient := c.clients.Kube.CoreV1(), c.clients.Kube.RbacV1()
	return map[string]*kind{
		"Database": newKind[*dbv1.Database](dbv1.GroupName, "databases",
			c.factories.databases.Database().V1().Databases().Informer(),
			func(ns string) databasev1client.DatabaseInterface { return db.Databases(ns) }),
		"DatabaseInstance": newKind[*dbv1.DatabaseInstance](dbv1.GroupName, "databaseinstances",
			c.factories.instances.Database().V1().DatabaseInstances().Informer(),
			func(ns string) databasev1client.DatabaseInstanceInterface { return db.DatabaseInstances(ns) }),
		"StatefulSet": newKind[*appsv1.StatefulSet]("apps", "statefulsets", c.factories.kube.Apps().V1().StatefulSets().Informer(),
			func(ns string) appsv1client.StatefulSetInterface { return c.clients.Kube.AppsV1().StatefulSets(ns) }),
		"Pod": newKind[*corev1.Pod]("", "pods", core.Pods().Informer(),
			func(ns string) corev1client.PodInterface { return coreClient.Pods(ns) }),
		"PersistentVolumeClaim": newKind[*corev1.PersistentVolumeClaim]("", "persistentvolumeclaims", core.PersistentVolumeClaims().Informer(),
			func(ns string) corev1client.PersistentVolumeClaimInterface {
				return coreClient.PersistentVolumeClaims(ns)
			}),
		"Service": newKind[*corev1.Service]("", "services", core.Services().Informer(),
			func(ns string) corev1client.ServiceInterface { return coreClient.Services(ns) }),
		"ConfigMap": newKind[*corev1.ConfigMap]("", "configmaps", core.ConfigMaps().Informer(),
			func(ns string) corev1client.ConfigMapInterface { return coreClient.ConfigMaps(ns) }),
		"ServiceAccount": newKind[*corev1.ServiceAccount]("", "serviceaccounts", core.ServiceAccounts().Informer(),
			func(ns string) corev1client.ServiceAccountInterface { return coreClient.ServiceAccounts(ns) }),
		"Role": newKind[*rbacv1.Role](rbacv1.GroupName, "roles", rbac.Roles().Informer(),
			func(ns string) rbacv1client.RoleInterface { return rbacClient.Roles(ns) }),
		"RoleBinding": newKind[*rbacv1.RoleBinding](rbacv1.GroupName, "rolebindings", rbac.RoleBindings().Informer(),
			func(ns string) rbacv1client.RoleBindingInterface { return rbacClient.RoleBindings(ns) }),
		"PodDisruptionBudget": newKind[*policyv1.PodDisruptionBudget](policyv1.GroupName, "poddisruptionbudgets",
			c.factories.kube.Policy().V1().PodDisruptionBudgets().Informer(),
			func(ns string) policyv1client.PodDisruptionBudgetInterface {
				return c.clients.Kube.PolicyV1().PodDisruptionBudgets(ns)
			}),
		"Lease": newKind[*coordinationv1.Lease](coordinationv1.GroupName, "leases", c.factories.kube.Coordination().V1().Leases().Informer(),
			func(ns string) coordinationv1client.LeaseInterface { return c.clients.Kube.CoordinationV1().Leases(ns) }),
		"Secret": {
			resource: secrets.GroupResource(), informer: c.factories.secrets.ForResource(secrets).Informer(),
			client: func(ns string) resourceClient {
				return metadataClient{c.clients.Metadata.Resource(secrets).Namespace(ns)}
			},
		},
	}
}

// metadataClient reads and writes objects without their content.
type metadataClient struct{ metadata.ResourceInterface }

func (m metadataClient) get(ctx context.Context, name string) (metav1.Object, error) {
	return m.Get(ctx, name, metav1.GetOptions{})
}

func (m metadataClient) patch(ctx context.Context, name string, how types.PatchType, data []byte, options metav1.PatchOptions) (metav1.Object, error) {
	return m.Patch(ctx, name, how, data, options)
}

func (m metadataClient) delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	return m.Delete(ctx, name, options)
}

// databaseOf is the key of the Database that an object belongs to.
func databaseOf(item any) ([]string, error) {
	if db, ok := item.(*dbv1.Database); ok {
		return []string{db.Namespace + "/" + db.Name}, nil
	}
	object, ok := item.(metav1.Object)
	if !ok {
		return nil, fmt.Errorf("%T has no metadata", item)
	}
	if name := object.GetLabels()[naming.LabelDatabase]; name != "" {
		return []string{object.GetNamespace() + "/" + name}, nil
	}
	return nil, nil
}

// handler enqueues the Database of whatever changed.
func (c *Controller) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(item any) {
			c.noteLease(item)
			c.enqueue(item)
		},
		UpdateFunc: func(old, cur any) {
			if isNews := c.noteLease(cur); isRenewal(old, cur) && !isNews {
				return
			}
			c.enqueue(cur)
			if before, now := labelOf(old), labelOf(cur); before != now {
				// It was taken away from a Database by its label: that one must know.
				c.enqueue(old)
			}
		},
		DeleteFunc: func(item any) {
			if tombstone, ok := item.(cache.DeletedFinalStateUnknown); ok {
				item = tombstone.Obj
			}
			if lease, ok := item.(*coordinationv1.Lease); ok {
				c.leases.forget(lease)
			}
			c.enqueue(item)
		},
	}
}

// noteLease notes when a Lease was renewed, and is true when somebody must look at it for that alone.
func (c *Controller) noteLease(item any) bool {
	lease, ok := item.(*coordinationv1.Lease)
	if !ok {
		return false
	}
	_, isNews := c.leases.note(lease, c.clock.Now())
	return isNews
}

// isRenewal is true when a Lease was renewed, every few seconds, and says nothing else than before.
func isRenewal(old, cur any) bool {
	before, wasLease := old.(*coordinationv1.Lease)
	now, isLease := cur.(*coordinationv1.Lease)
	if !wasLease || !isLease {
		return false
	}
	was, is := before.Spec, now.Spec
	was.RenewTime, is.RenewTime = nil, nil
	return before.UID == now.UID && equality.Semantic.DeepEqual(was, is) &&
		equality.Semantic.DeepEqual(before.Annotations, now.Annotations) && equality.Semantic.DeepEqual(before.Labels, now.Labels)
}

func labelOf(item any) string {
	if object, ok := item.(metav1.Object); ok {
		return object.GetLabels()[naming.LabelDatabase]
	}
	return ""
}

func (c *Controller) enqueue(item any) {
	keys, err := databaseOf(item)
	if err != nil {
		return
	}
	for _, key := range keys {
		if name, err := cache.ParseObjectName(key); err == nil {
			c.queue.Add(name)
		}
	}
}

// trim drops what nobody reads from objects before they are cached. Of the managed fields our own
// stay: they tell whether an object must be applied again.
func trim(item any) (any, error) {
	object, ok := item.(metav1.Object)
	if !ok {
		return item, nil
	}
	var ours []metav1.ManagedFieldsEntry
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == naming.FieldManager {
			ours = append(ours, entry)
		}
	}
	object.SetManagedFields(ours)
	if pod, ok := item.(*corev1.Pod); ok {
		pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
	}
	return item, nil
}

// storesOf are the caches that the consistency store compares with.
func storesOf(kinds map[string]*kind) map[schema.GroupResource]consistency.Cache {
	stores := map[schema.GroupResource]consistency.Cache{}
	for _, k := range kinds {
		stores[k.resource] = k.informer.GetStore()
	}
	return stores
}
