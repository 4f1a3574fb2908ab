package engine

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/plural"
	"github.com/platform-io/database-operator/pkg/record"
)

// What the status says of the primary and of its replicas.

// reportPrimary: an instance accepts writes.
func (p *planner) reportPrimary() {
	p.status.CurrentPrimary = p.primary
	if p.isObstructed(dbv1.ConditionPrimaryAvailable) {
		return
	}
	if p.primary == "" {
		status, reason, why := p.primaryTrouble()
		p.condition(dbv1.ConditionPrimaryAvailable, status, reason, why)
		return
	}
	p.condition(dbv1.ConditionPrimaryAvailable, yes, dbv1.ReasonAsExpected, "")
	report := p.report(p.primary)
	was := p.status.Primary
	if was == nil || was.Name != p.primary || was.Epoch != report.Epoch {
		was = &dbv1.PrimaryStatus{Name: p.primary, Epoch: report.Epoch, Since: new(metav1.NewTime(p.Now))}
		p.status.Primary = was
	}
	if report.Replication != nil {
		was.LostBytes = report.Replication.LostBytes
	}
}

// primaryTrouble says why nobody is known to take writes, and what comes of it.
func (p *planner) primaryTrouble() (status metav1.ConditionStatus, reason, why string) {
	e := &p.election
	if !p.shape.Elects || !e.wasHeld() || !p.hasReplicas() {
		return p.firstTrouble()
	}
	holder := e.holder.Pod
	switch {
	case holder == "":
		return no, dbv1.ReasonFailingOver, "nobody is the primary: " + p.whoCanTakeOver()
	case !p.holds(holder):
		return no, dbv1.ReasonFailingOver, fmt.Sprintf("pod %s was the primary and is gone; when its lease of %s ends, another takes over: %s",
			holder, dbv1.HighAvailability(p.Database).LeaseDuration.Duration, p.whoCanTakeOver())
	case p.silent:
		return p.silentTrouble(holder)
	case p.admissionTrouble(holder) != "":
		return no, dbv1.ReasonWritesWait, p.admissionTrouble(holder)
	case p.Database.Status.Primary != nil && p.Database.Status.Primary.Name != holder:
		return no, dbv1.ReasonFailingOver, fmt.Sprintf("%s takes over from %s: %s", holder, p.Database.Status.Primary.Name, p.promotionTrouble(holder))
	case p.serves(holder):
		return unknown, dbv1.ReasonAgentUnauthorized, p.silence(holder)
	case p.report(holder) == nil:
		return unknown, dbv1.ReasonUnknown, p.instanceTrouble(holder)
	}
	return no, dbv1.ReasonInstanceNotReady, p.promotionTrouble(holder)
}

// silentTrouble is for a holder that does not renew its Lease. That it takes no writes is certain enough when
// nobody receives from it either; else it may only be cut off from the API server.
func (p *planner) silentTrouble(holder string) (status metav1.ConditionStatus, reason, why string) {
	why = fmt.Sprintf("%s has not renewed Lease %s for more than %s", holder, p.Lease.Name, p.election.duration)
	reports := 0
	for _, name := range p.existing {
		report := p.report(name)
		if name == holder || report == nil || report.Replication == nil {
			continue
		}
		if reports++; report.Replication.Streaming && report.Replication.Source == holder {
			return unknown, dbv1.ReasonLeaseNotRenewed, why + fmt.Sprintf(", and replica %s still receives from it: it goes on for as long as it reaches all candidates, "+
				"and stops when it does not. Is the API server within reach of its node?", name)
		}
	}
	if reports == 0 && !p.isPodReady(holder) {
		return no, dbv1.ReasonInstanceNotReady, why + ": " + p.promotionTrouble(holder)
	}
	if reports == 0 {
		return unknown, dbv1.ReasonLeaseNotRenewed, why + ", and no replica says whether it lives"
	}
	return no, dbv1.ReasonFailingOver, why + ", and no replica receives from it; another takes over: " + p.whoCanTakeOver()
}

// admits is false for a holder whose engine is the primary and lets no clients in yet: first as many replicas as
// commits wait for must have all that it has.
func (p *planner) admits(holder string) bool {
	report := p.report(holder)
	return p.silent || !p.holds(holder) || p.waitsFor() == 0 ||
		report == nil || report.Epoch != p.election.epoch || report.Phase != dbv1.InstanceRunning || report.Role != dbv1.RoleNone
}

// admissionTrouble says that a holder lets no clients in because too few of the replicas that it waits for are there,
// "" when that is not so. One that is ready is about to follow: a replica that does not, is not ready for long.
func (p *planner) admissionTrouble(holder string) string {
	if p.admits(holder) {
		return ""
	}
	var here, missing []string
	for _, c := range p.election.record.Candidates {
		switch name := c.Instance; {
		case name == holder:
		case p.hasDataOf(c) && (p.follows(name, holder) || p.isReady(name)):
			here = append(here, name)
		default:
			missing = append(missing, fmt.Sprintf("%s (%s)", name, p.absence(c)))
		}
	}
	want := p.waitsFor()
	if len(here) >= want {
		return ""
	}
	return fmt.Sprintf("instance %s has the Lease and lets no clients in: it waits for %s with all that it has, and of them are here: %s; missing: %s. "+
		"It lets them in when the others are back; a lower spec.highAvailability.synchronousReplicas does so now",
		holder, plural.Of(want, "replica"), orNone(here), orNone(missing))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (p *planner) promotionTrouble(holder string) string {
	if why := p.instanceTrouble(holder); why != "" {
		return why
	}
	return "instance " + holder + " is not the primary yet"
}

// whoCanTakeOver names the candidates, and says of each why it cannot take over. Nobody is told to lose data for one
// that is only fenced.
func (p *planner) whoCanTakeOver() string {
	var able, fenced, missing []string
	for _, c := range p.election.record.Candidates {
		switch name := c.Instance; {
		case !p.hasDataOf(c):
			missing = append(missing, fmt.Sprintf("%s (%s)", name, p.absence(c)))
		case p.isFenced(name):
			fenced = append(fenced, name)
		default:
			able = append(able, name)
		}
	}
	var parts []string
	switch incomplete := len(missing)+len(fenced) > 0; {
	case len(p.election.record.Candidates) == 0:
		return "no candidate is recorded; an instance that has the data claims the Lease by itself"
	case !incomplete:
		return "one of " + strings.Join(able, ", ") + " will be"
	case len(able) > 0:
		parts = append(parts, "one of "+strings.Join(able, ", ")+" may be")
	}
	if len(missing) > 0 {
		parts = append(parts, "missing of the candidates: "+strings.Join(missing, ", "))
	}
	if len(fenced) > 0 {
		parts = append(parts, fmt.Sprintf("fenced of the candidates: %s; kubectl database unfence %s lets them take over",
			strings.Join(fenced, ", "), strings.Join(fenced, " ")))
		return list(parts)
	}
	return list(parts) + fmt.Sprintf(". If they do not come back, kubectl database failover %s --to INSTANCE --accept-data-loss makes INSTANCE the primary with what it has", p.Database.Name)
}

// absence says why the data of a candidate cannot take part.
func (p *planner) absence(c record.Candidate) string {
	if p.report(c.Instance) != nil && !p.hasDataOf(c) {
		return "it has other data now"
	}
	if why := p.instanceTrouble(c.Instance); why != "" {
		return why
	}
	return "unknown"
}

// hasDataOf is true when the instance of a candidate reports, and has the data that was recorded.
func (p *planner) hasDataOf(c record.Candidate) bool {
	report := p.report(c.Instance)
	return report != nil && report.DataID == c.Name
}

// firstTrouble is what is wrong with the first instance that is not known to serve.
func (p *planner) firstTrouble() (status metav1.ConditionStatus, reason, why string) {
	for _, name := range p.shape.InstanceNames() {
		if trouble := p.instanceTrouble(name); trouble != "" {
			if p.serves(name) {
				return unknown, dbv1.ReasonAgentUnauthorized, trouble
			}
			return no, dbv1.ReasonInstanceNotReady, trouble
		}
	}
	return no, dbv1.ReasonInstanceNotReady, "no instance is known to accept writes"
}

// hasReplicas is true when the Database has replicas, or is to have them.
func (p *planner) hasReplicas() bool { return p.shape.Elects && len(p.existing) > 1 }

// reportReplication: every replica streams and is close, and commits wait for as many as was asked.
func (p *planner) reportReplication() {
	if !p.hasReplicas() || p.isObstructed(dbv1.ConditionReplicationHealthy) {
		return
	}
	late := p.certificateTrouble()
	switch {
	case p.primary != "":
	case late != "":
		p.condition(dbv1.ConditionReplicationHealthy, no, dbv1.ReasonCertificateOverdue, late)
		return
	default:
		p.condition(dbv1.ConditionReplicationHealthy, unknown, dbv1.ReasonUnknown, "nobody is known to take writes: see condition "+dbv1.ConditionPrimaryAvailable)
		return
	}
	var wrong []string
	for _, name := range p.shape.InstanceNames() {
		if why := p.replicaTrouble(name); name != p.primary && why != "" {
			wrong = append(wrong, why)
		}
	}
	reason := dbv1.ReasonReplicaNotReady
	for _, worse := range []struct{ reason, why string }{
		{reason, p.durabilityTrouble()}, {dbv1.ReasonCertificateOverdue, late}, {dbv1.ReasonWritesWait, p.synchronousTrouble()},
	} {
		if worse.why != "" {
			reason, wrong = worse.reason, append([]string{worse.why}, wrong...)
		}
	}
	if len(wrong) > 0 {
		p.condition(dbv1.ConditionReplicationHealthy, no, reason, list(wrong))
		return
	}
	p.condition(dbv1.ConditionReplicationHealthy, yes, dbv1.ReasonAsExpected, "")
}

// replicaTrouble says why a replica could not take over, "" when it could.
func (p *planner) replicaTrouble(name string) string {
	report := p.report(name)
	if why := p.instanceTrouble(name); why != "" {
		if report != nil && report.LagBytes != nil && *report.LagBytes > 0 {
			why += fmt.Sprintf(" (%s behind)", plural.Of(*report.LagBytes, "byte"))
		}
		return why
	}
	switch {
	case report.Role != dbv1.RoleReplica:
		return fmt.Sprintf("instance %s is %s and no replica", name, report.Role)
	case !p.streams(name):
		return fmt.Sprintf("replica %s does not stream from %s; its log says why (kubectl logs %s)", name, p.primary, name)
	case !p.isCandidate(name):
		return fmt.Sprintf("replica %s streams and cannot take over yet; the primary makes it a candidate when it is close", name)
	}
	return ""
}

// waitsFor is how many replicas each commit waits for: what the primary recorded. Without its word it is what it
// was told.
func (p *planner) waitsFor() int {
	if p.election.trouble != "" || !p.election.wasHeld() {
		return int(dbv1.HighAvailability(p.Database).SynchronousReplicas)
	}
	return p.election.record.W
}

// synchronousTrouble says that commits wait, because too few of the names that they wait for are
// there, "" when enough are.
func (p *planner) synchronousTrouble() string {
	want := p.waitsFor()
	var here []string
	for _, name := range p.existing {
		if name != p.primary && p.streams(name) && p.isCandidate(name) {
			here = append(here, name)
		}
	}
	if len(here) >= want {
		return ""
	}
	return fmt.Sprintf("writes wait: each must reach %s before it is acknowledged, and of them stream: %s. "+
		"They go on when the others are back; a lower spec.highAvailability.synchronousReplicas lets them go on now", plural.Of(want, "replica"), orNone(here))
}

// durabilityTrouble says that commits do not wait for as many replicas as was asked for, "" when they do.
func (p *planner) durabilityTrouble() string {
	asked, want := int(dbv1.HighAvailability(p.Database).SynchronousReplicas), p.waitsFor()
	if want >= asked {
		return ""
	}
	return fmt.Sprintf("writes are acknowledged when they have reached %s, and not yet %d, as spec.highAvailability.synchronousReplicas asks; "+
		"the primary waits for more as soon as so many are candidates", plural.Of(want, "replica"), asked)
}

// isGrowing tells a Database that gets more instances, or its first, from one that lost some: an instance that is
// not ready never had data, or has just got it.
func (p *planner) isGrowing() bool {
	missing := func(name string) bool { return !p.isReady(name) }
	before := &p.Database.Status
	switch before.Phase {
	case dbv1.PhaseProvisioning, dbv1.PhaseScaling:
		if len(p.leaving()) == 0 && p.status.ReadyReplicas >= before.ReadyReplicas && slices.ContainsFunc(p.shape.InstanceNames(), missing) {
			return true
		}
	default:
	}
	return slices.ContainsFunc(p.shape.InstanceNames(), func(name string) bool {
		dbi := p.Instances[name]
		return missing(name) && (dbi == nil || dbi.Status.DataID == "")
	})
}
