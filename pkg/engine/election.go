package engine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Elections are the agents' (package record says what they write on the Lease). The operator makes
// the Lease, tells every instance by which rules it is held, and reads it. It never writes one that
// exists: a Lease that somebody deleted is put back by the primary, who knows what was on it.

// election is what the Lease says.
type election struct {
	// trouble says why nothing is known; the rest is then empty.
	trouble string
	// holder is nobody when the Lease is released, or was never held.
	holder record.Identity
	epoch  int64
	record record.Record
	// duration is for how long the holder may hold it without a renewal, zero when it need not renew: who
	// alone may be the primary does not.
	duration time.Duration
}

// readElection reads the Lease.
func readElection(o *Observation) election {
	name := naming.Lease(o.Database.Name)
	if o.Lease == nil {
		return election{trouble: "Lease " + name + " does not exist; the operator makes it once, later only the primary puts it back"}
	}
	var e election
	if id := o.Lease.Spec.HolderIdentity; id != nil {
		holder, ok := record.ParseIdentity(*id)
		if !ok {
			return election{trouble: fmt.Sprintf("Lease %s is held by %q, which is no agent; delete the Lease if nobody needs it", name, *id)}
		}
		e.holder = holder
	}
	var err error
	if e.record, err = record.Parse(o.Lease.Annotations[naming.AnnotationRecord]); err != nil {
		return election{trouble: fmt.Sprintf("Lease %s: %v", name, err)}
	}
	if n := o.Lease.Spec.LeaseTransitions; n != nil {
		e.epoch = int64(*n)
	}
	if d := o.Lease.Spec.LeaseDurationSeconds; d != nil && e.holder != (record.Identity{}) && e.record.RenewPeriod > 0 && len(e.record.Candidates) > 1 {
		e.duration = time.Duration(*d) * time.Second
	}
	return e
}

// IsSilent is true when the Lease must be renewed and was not for as long as it is held without. Then its
// holder goes on only if it reaches all candidates by other ways, which nobody else can tell. Clocks of other
// machines are not asked: an operator that has just started knows nothing of before, but what it said itself.
func IsSilent(o *Observation) bool {
	e := readElection(o)
	if e.duration == 0 || o.LeaseSince.IsZero() {
		return false
	}
	before := reason(&o.Database.Status, dbv1.ConditionPrimaryAvailable)
	return o.Now.Sub(o.LeaseSince) >= e.duration || !o.LeaseMoved && (before == dbv1.ReasonLeaseNotRenewed || before == dbv1.ReasonFailingOver)
}

// wasHeld is true once an agent held the Lease. Before that, agents are of a release that does not
// elect, or have just begun.
func (e *election) wasHeld() bool { return e.holder != (record.Identity{}) || e.epoch > 0 }

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

// judgePrimary finds the instance that takes writes, "" when none is known to: it says so, its pod has the
// label by which the Service finds it, and the Lease agrees. A Lease that is renewed is the word of an agent
// that lives. Where none need be, the kubelet's word stands for that, which comes late when a node is lost.
func (p *planner) judgePrimary() string {
	p.silent = IsSilent(p.Observation)
	if p.election.duration > 0 && !p.silent {
		// Only time tells that it is not renewed.
		p.requeueAt(p.LeaseSince.Add(p.election.duration))
	}
	for _, name := range p.existing {
		if p.saysItReigns(name) && p.mayReign(name) && p.lives(name) {
			return name
		}
	}
	return ""
}

// saysItReigns is true for an instance whose agent says that it takes writes, and has labelled its pod.
func (p *planner) saysItReigns(name string) bool {
	report := p.report(name)
	return report != nil && report.Ready && report.Role == dbv1.RolePrimary && p.Pods[name].Labels[naming.LabelRole] == string(dbv1.RolePrimary)
}

// lives is true when what the agent of a primary said is known to hold still.
func (p *planner) lives(name string) bool {
	if p.election.duration > 0 {
		return !p.silent
	}
	return p.isPodReady(name)
}

// mayReign is true when the Lease does not speak against an instance. A Lease that is gone or cannot
// be read stops nobody who was the primary before.
func (p *planner) mayReign(name string) bool {
	was := p.Database.Status.Primary
	switch {
	case !p.shape.Elects:
		return true
	case p.election.trouble != "":
		return was != nil && was.Name == name || p.neverElected()
	}
	return p.holds(name) || !p.election.wasHeld()
}

// holds is true when the Lease is held by the pod that an instance now has.
func (p *planner) holds(name string) bool {
	pod := p.Pods[name]
	return pod != nil && p.election.holder == record.Identity{Pod: name, UID: string(pod.UID)}
}

// formerHolder is the pod that the Lease names and that is gone, as after an adoption; "" when there is no such.
func (p *planner) formerHolder() string {
	if holder := p.election.holder.Pod; p.shape.Elects && !p.holds(holder) {
		return holder
	}
	return ""
}

// isCandidate is true when the data that an instance now has may be promoted.
func (p *planner) isCandidate(name string) bool {
	report := p.report(name)
	if report == nil || report.DataID == "" {
		return false
	}
	_, ok := p.election.record.Candidate(report.DataID)
	return ok
}

// streams is true when a replica is known to follow the primary as it writes.
func (p *planner) streams(name string) bool { return p.follows(name, p.primary) }

func (p *planner) follows(name, source string) bool {
	report := p.report(name)
	return report != nil && report.Role == dbv1.RoleReplica && report.Replication != nil &&
		report.Replication.Streaming && report.Replication.Source == source
}
