package controller

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// observeLease finds the Lease of the primary. It is asked for when the cache will not do: while an
// instance is to go, because what it says must be newer than what the agents were seen to say; and when
// the cache does not have it, although agents must have held it: it may have lost the label by which it
// is watched.
func (c *Controller) observeLease(ctx context.Context, o *engine.Observation) error {
	leases, err := owned[*coordinationv1.Lease](c.kinds["Lease"], cache.MetaObjectToName(o.Database))
	if err != nil {
		return err
	}
	name, eng := naming.Lease(o.Database.Name), c.options.Engines[o.Database.Spec.Engine]
	o.Lease = leases[name]
	if o.Database.Status.Primary == nil || eng == nil || !eng.Shape(o.Database).Elects || o.Lease != nil && !engine.IsShrinking(o, eng) {
		return nil
	}
	live, err := c.clients.Kube.CoordinationV1().Leases(o.Database.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		o.Lease = nil
		return nil
	case err != nil:
		return fmt.Errorf("get Lease %s: %w", name, err)
	case engine.IsOurs(o.Database, live):
		o.Lease = live
	}
	return nil
}

// createLease makes the empty Lease. One that is there already is as good, if it is ours.
func (c *Controller) createLease(ctx context.Context, db *dbv1.Database) error {
	leases := c.clients.Kube.CoordinationV1().Leases(db.Namespace)
	written, err := leases.Create(ctx, resources.Lease(db), metav1.CreateOptions{FieldManager: naming.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		live, err := leases.Get(ctx, naming.Lease(db.Name), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := checkOwner(db, c.kinds["Lease"], live); err != nil {
			return err
		}
		return c.annotate(ctx, db, engine.Annotate{Resource: engine.Leases, Name: live.Name, UID: live.UID, Labels: naming.SelectorLabels(db.Name)})
	}
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Lease"].resource, written)
	return nil
}
