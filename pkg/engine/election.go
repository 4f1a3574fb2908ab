package engine

import (
	"maps"
	"slices"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Elections are the agents' (package record says what they write on the Lease). The operator makes
// the Lease, tells every instance by which rules it is held, and reads it. It never writes one that
// exists: a Lease that somebody deleted is put back by the primary, who knows what was on it.

// planElection sees to what an election needs.
func (p *planner) planElection() {
	switch {
	case p.shape.Elects && p.Lease == nil && p.neverElected():
		p.do(CreateLease{})
	case p.Lease != nil && (p.Lease.Labels[naming.LabelDatabase] != p.Database.Name || p.Lease.Labels[naming.LabelManagedBy] != naming.ManagedBy):
		// The write puts the labels back, by which the informer finds it.
		p.do(Annotate{Resource: Leases, Name: p.Lease.Name, UID: p.Lease.UID, Labels: naming.SelectorLabels(p.Database.Name)})
	}
	wanted := map[string]bool{}
	for _, budget := range resources.DisruptionBudgets(p.Database, p.shape) {
		wanted[*budget.GetName()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(p.Budgets)) {
		if budget := p.Budgets[name]; !wanted[name] && budget.DeletionTimestamp == nil {
			p.do(Delete{Resource: Budgets, Name: name, UID: budget.UID, Reason: "there are too few instances for it"})
		}
	}
}

// neverElected is true while no agent can have held the Lease: an empty one in the place of one
// that was held would let the first who comes be the primary, whatever its data.
func (p *planner) neverElected() bool {
	primary := p.Database.Status.Primary
	return p.identity.recorded == "" || primary == nil || primary.Epoch == 0
}

// replication is what an instance is told of the election.
func (p *planner) replication() *dbv1ac.InstanceReplicationApplyConfiguration {
	ha := dbv1.HighAvailability(p.Database)
	return dbv1ac.InstanceReplication().
		WithLeaseName(naming.Lease(p.Database.Name)).
		WithSynchronousReplicas(ha.SynchronousReplicas).
		WithMaxLag(ha.MaxLag.Value()).
		WithLeaseDuration(*ha.LeaseDuration).WithRenewDeadline(*ha.RenewDeadline).
		WithRenewPeriod(*ha.RenewPeriod).WithRetryPeriod(*ha.RetryPeriod)
}
