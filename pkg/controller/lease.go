package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// leaseClock notes when Leases were last seen to be renewed, by the operator's own clock. What stands on them as
// times is of other machines' clocks, and is compared with nothing.
type leaseClock struct {
	mu   sync.Mutex
	seen map[types.UID]leaseSeen
}

type leaseSeen struct {
	version string
	spec    coordinationv1.LeaseSpec
	since   time.Time
	// moved: it was seen to change.
	moved bool
}

// note is what is known of a Lease, with what it says now. It is news when it was renewed for the first time,
// or had not been for long: those who judged by that must look again.
func (c *leaseClock) note(lease *coordinationv1.Lease, now time.Time) (seen leaseSeen, isNews bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, known := c.seen[lease.UID]
	if known && (equality.Semantic.DeepEqual(seen.spec, lease.Spec) || isOlder(lease.ResourceVersion, seen.version)) {
		return seen, false
	}
	var duration time.Duration
	if d := lease.Spec.LeaseDurationSeconds; d != nil {
		duration = time.Duration(*d) * time.Second
	}
	isNews = known && (!seen.moved || now.Sub(seen.since) >= duration)
	seen = leaseSeen{version: lease.ResourceVersion, spec: lease.Spec, since: now, moved: known}
	if c.seen == nil {
		c.seen = map[types.UID]leaseSeen{}
	}
	c.seen[lease.UID] = seen
	return seen, isNews
}

// isOlder is true for a version that a cache still shows when a later one was read already.
func isOlder(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

func (c *leaseClock) forget(lease *coordinationv1.Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, lease.UID)
}

// observeLease finds the Lease of the primary, and since when it is as it is. It is asked for when the cache
// will not do: while an instance is to go, because what it says must be newer than what the agents were seen
// to say; when it seems not to be renewed, because it may be the cache that is behind; and when
// the cache does not have it, although agents must have held it: it may have lost the label by which it
// is watched.
func (c *Controller) observeLease(ctx context.Context, o *engine.Observation) error {
	leases, err := owned[*coordinationv1.Lease](c.kinds["Lease"], cache.MetaObjectToName(o.Database))
	if err != nil {
		return err
	}
	name, eng := naming.Lease(o.Database.Name), c.options.Engines[o.Database.Spec.Engine]
	c.seeLease(o, leases[name])
	if o.Database.Status.Primary == nil || eng == nil || !eng.Shape(o.Database).Elects || o.Lease != nil && !engine.IsShrinking(o, eng) && !engine.IsSilent(o) {
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
		c.seeLease(o, live)
	}
	return nil
}

func (c *Controller) seeLease(o *engine.Observation, lease *coordinationv1.Lease) {
	if o.Lease = lease; lease == nil {
		return
	}
	seen, _ := c.leases.note(lease, o.Now)
	o.LeaseSince, o.LeaseMoved = seen.since, seen.moved
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
