package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// observe gathers all that a plan may depend on. It reads caches; the API server is asked for what
// no cache has and is rarely needed: claims of the expected names that are not
// labelled as ours (a StatefulSet would use them without asking, or somebody took the labels
// away), and pods likewise; Services of one that is paused; the agents' ServiceAccount, when there are agents and it is not seen;
// whether the namespace is going, when the Database is, and what else is to be deleted with it; and why a pod is not
// made, when it is not.
func (c *Controller) observe(ctx context.Context, db *dbv1.Database) (*engine.Observation, error) {
	key := cache.MetaObjectToName(db)
	o := &engine.Observation{Now: c.clock.Now(), Database: db, AgentImage: c.options.AgentImage}
	var err error
	if o.StatefulSets, err = owned[*appsv1.StatefulSet](c.kinds["StatefulSet"], key); err != nil {
		return nil, err
	}
	if o.Pods, err = owned[*corev1.Pod](c.kinds["Pod"], key); err != nil {
		return nil, err
	}
	if o.Claims, err = owned[*corev1.PersistentVolumeClaim](c.kinds["PersistentVolumeClaim"], key); err != nil {
		return nil, err
	}
	if o.Instances, err = owned[*dbv1.DatabaseInstance](c.kinds["DatabaseInstance"], key); err != nil {
		return nil, err
	}
	if o.Secrets, err = owned[*metav1.PartialObjectMetadata](c.kinds["Secret"], key); err != nil {
		return nil, err
	}
	if o.Budgets, err = owned[*policyv1.PodDisruptionBudget](c.kinds["PodDisruptionBudget"], key); err != nil {
		return nil, err
	}
	if err := c.observeLease(ctx, o); err != nil {
		return nil, err
	}
	if o.ServiceAccount, err = c.observeServiceAccount(ctx, o); err != nil {
		return nil, err
	}
	if err := c.observeUnlabelledPods(ctx, o); err != nil {
		return nil, err
	}
	if db.DeletionTimestamp != nil {
		return o, c.observeDeletion(ctx, o)
	}
	if o.MissingServices, err = c.observeMissingServices(ctx, o); err != nil {
		return nil, err
	}
	o.Cordoned = c.cordoned(o.Pods)
	o.PodFailures = c.observePodFailures(ctx, o)
	return o, c.observeUnlabelledClaims(ctx, o, c.instanceNames(db))
}

func (c *Controller) observeServiceAccount(ctx context.Context, o *engine.Observation) (*corev1.ServiceAccount, error) {
	name := naming.Agent(o.Database.Name)
	cached, _ := c.kinds["ServiceAccount"].cached(o.Database.Namespace, name).(*corev1.ServiceAccount)
	if cached != nil || len(o.Instances) == 0 || o.Database.DeletionTimestamp != nil {
		return cached, nil
	}
	live, err := c.clients.Kube.CoreV1().ServiceAccounts(o.Database.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get service account %s: %w", name, err)
	}
	return live, nil
}

// observeMissingServices looks for the Services of a Database that is paused: of another, they are put back.
func (c *Controller) observeMissingServices(ctx context.Context, o *engine.Observation) (missing []string, err error) {
	db := o.Database
	if !db.Spec.Lifecycle.Paused || len(o.StatefulSets) == 0 {
		return nil, nil
	}
	services := c.kinds["Service"]
	for _, name := range []string{naming.Service(db.Name), naming.ReadOnlyService(db.Name), naming.HeadlessService(db.Name)} {
		if services.cached(db.Namespace, name) != nil {
			continue
		}
		// One that only lost its labels leads to the pods as before.
		switch _, err := services.client(db.Namespace).get(ctx, name); {
		case apierrors.IsNotFound(err):
			missing = append(missing, name)
		case err != nil:
			return nil, fmt.Errorf("get service %s: %w", name, err)
		}
	}
	return missing, nil
}

// observeDeletion looks up what a deletion depends on. Policy Delete promises that nothing stays, and so looks by name,
// too, for what lost its labels.
func (c *Controller) observeDeletion(ctx context.Context, o *engine.Observation) (err error) {
	db := o.Database
	if o.NamespaceTerminating, err = c.isTerminating(ctx, db.Namespace); err != nil || dbv1.EffectiveDeletionPolicy(db) != dbv1.DeletionDelete {
		return err
	}
	secrets := c.kinds["Secret"].client(db.Namespace)
	for _, name := range []string{naming.Accounts(db.Name), naming.Credentials(db.Name)} {
		if o.Secrets[name] != nil {
			continue
		}
		live, err := secrets.get(ctx, name)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("get secret %s: %w", name, err)
		}
		if secret, ok := live.(*metav1.PartialObjectMetadata); ok && err == nil {
			o.Secrets[name] = secret
		}
	}
	// Those that were to go before it have volumes, too.
	instances := slices.Sorted(maps.Keys(o.Instances))
	for _, name := range c.instanceNames(db) {
		if o.Instances[name] == nil {
			instances = append(instances, name)
		}
	}
	return c.observeUnlabelledClaims(ctx, o, instances)
}

func (c *Controller) isTerminating(ctx context.Context, name string) (bool, error) {
	namespace, err := c.clients.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return namespace.DeletionTimestamp != nil, nil
}

// groups are the StatefulSets that a Database is to have.
func (c *Controller) groups(db *dbv1.Database) []resources.Group {
	if eng := c.options.Engines[db.Spec.Engine]; eng != nil {
		return eng.Shape(db).Groups
	}
	return nil
}

// instanceNames are the instances that a Database is to have.
func (c *Controller) instanceNames(db *dbv1.Database) []string {
	return resources.Shape{Groups: c.groups(db)}.InstanceNames()
}

func (c *Controller) observeUnlabelledClaims(ctx context.Context, o *engine.Observation, instances []string) error {
	if o.Database.Spec.Lifecycle.Paused {
		return nil
	}
	for _, instance := range instances {
		name := naming.Claim(instance)
		if o.Claims[name] != nil {
			continue
		}
		claim, err := c.clients.Kube.CoreV1().PersistentVolumeClaims(o.Database.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("get claim %s: %w", name, err)
		default:
			o.Claims[name] = claim
		}
	}
	return nil
}

func (c *Controller) observeUnlabelledPods(ctx context.Context, o *engine.Observation) error {
	if len(o.Instances) == 0 {
		// There was never a StatefulSet, and so no pod.
		return nil
	}
	for _, name := range c.instanceNames(o.Database) {
		if o.Pods[name] != nil {
			continue
		}
		pod, err := c.clients.Kube.CoreV1().Pods(o.Database.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("get pod %s: %w", name, err)
		case o.OwnsPod(pod):
			o.Pods[name] = pod
		}
	}
	return nil
}
