package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Scaling. New instances clone by themselves: they are only made. One that is to go leaves in steps:
//
//  1. A primary hands over to an instance that stays.
//  2. The instance is no member any more, and the primary's agent strikes it from the candidates. It
//     follows on, so that until then commits may wait for it.
//  3. When every agent has seen that, and then the Lease is looked at and has it neither as holder nor
//     as a candidate, the StatefulSet shrinks. So nothing that was acknowledged is only there.
//  4. When its pod is gone, and the Lease still says so, its DatabaseInstance is deleted, and its claim where the
//     deletion policy says so. A claim that stays is taken again when the instance comes back.
//
// The Lease of steps 3 and 4 is read from the API server after the agents' words were read: a cache might
// show it as it was before.

// existingShape is the shape with the instances that are to go, too. While the StatefulSet is away,
// their pods and DatabaseInstances tell: the last copy of the data may be of one that has no pod at this moment.
func (p *planner) existingShape() resources.Shape {
	shape := p.shape
	shape.Groups = slices.Clone(shape.Groups)
	for i, group := range shape.Groups {
		if set := p.StatefulSets[group.Name]; set != nil && set.Spec.Replicas != nil {
			shape.Groups[i].Replicas = max(group.Replicas, *set.Spec.Replicas)
			continue
		}
		for name := range p.Pods {
			shape.Groups[i].Replicas = max(shape.Groups[i].Replicas, sizeWith(group, name))
		}
		for name, dbi := range p.Instances {
			if IsOurs(p.Database, dbi) {
				shape.Groups[i].Replicas = max(shape.Groups[i].Replicas, sizeWith(group, name))
			}
		}
	}
	return shape
}

// sizeWith is how many instances a group has that has this one, 0 when it is none of the group.
func sizeWith(group resources.Group, name string) int32 {
	if ordinal, ok := ordinalIn(group, name); ok {
		return ordinal + 1
	}
	return 0
}

// IsShrinking is true while an instance is to go, or something is left of one.
func IsShrinking(o *Observation, eng Engine) bool {
	for _, group := range eng.Shape(o.Database).Groups {
		if set := o.StatefulSets[group.Name]; set != nil && set.Spec.Replicas != nil && *set.Spec.Replicas > group.Replicas {
			return true
		}
		for name := range o.Instances {
			if sizeWith(group, name) > group.Replicas {
				return true
			}
		}
	}
	return false
}

// leaving are the instances that are to go, the last one first: in that order a StatefulSet lets them go.
func (p *planner) leaving() []string {
	var names []string
	for _, name := range p.existing {
		if !slices.Contains(p.shape.InstanceNames(), name) {
			names = append(names, name)
		}
	}
	slices.Reverse(names)
	return names
}

// isMember is true for the instances that stay, and for the primary as long as it is one: nobody could
// follow one that is no member.
func (p *planner) isMember(name string) bool {
	return slices.Contains(p.shape.InstanceNames(), name) || name == p.primary || name == p.election.holder.Pod
}

// stays says why an instance that is to go cannot go yet, "" when it can.
func (p *planner) stays(name string) string {
	switch {
	case !p.shape.Elects:
		return ""
	case name == p.primary || name == p.election.holder.Pod:
		return "it is the primary"
	case p.runningOperation() != nil:
		return "a " + p.Database.Status.Operation.Kind + " is under way"
	case p.primary == "":
		return "there is no primary"
	case p.election.trouble != "":
		return p.election.trouble
	case !p.election.wasHeld():
		// Agents that do not elect have no candidates.
		return ""
	}
	if why := p.isTold(name); why != "" {
		return why
	}
	if p.election.record.Lists(name) || p.isCandidate(name) {
		return "it is still a candidate; " + p.primary + " strikes it when it is not needed any more"
	}
	return ""
}

// isTold says which of those who stay, and of the primary, does not know yet that an instance goes, "" when all do.
func (p *planner) isTold(name string) string {
	// The primary is asked, too, when it is to go itself: it is who adds candidates.
	for _, other := range append(p.shape.InstanceNames(), p.primary) {
		dbi := p.Instances[other]
		if dbi == nil || slices.ContainsFunc(dbi.Spec.Members, func(m dbv1.InstanceMember) bool { return m.Name == name }) {
			return "the other instances are not told yet"
		}
		// An agent that does not report cannot be the primary before it has read its instance again.
		if report := p.report(other); report != nil && report.ObservedGeneration < dbi.Generation {
			return "instance " + other + " has not read yet that it leaves"
		}
	}
	return ""
}

// sizeOf is how many instances a group has after this sync: an instance that cannot go yet keeps those
// before it.
func (p *planner) sizeOf(group resources.Group) int32 {
	size := group.Replicas
	for _, name := range p.leaving() {
		if p.stays(name) != "" {
			size = max(size, sizeWith(group, name))
		}
	}
	return size
}

// ordinalIn is the number of an instance in a group.
func ordinalIn(group resources.Group, name string) (int32, bool) {
	text, ok := strings.CutPrefix(name, group.Name+"-")
	n, err := strconv.ParseInt(text, 10, 32)
	return int32(n), ok && err == nil && naming.Instance(group.Name, int32(n)) == name
}

// handOverBeforeLeaving makes another the primary when the primary is to go.
func (p *planner) handOverBeforeLeaving() []restart {
	if p.primary == "" || slices.Contains(p.shape.InstanceNames(), p.primary) {
		return nil
	}
	r := restart{instance: p.primary, kind: stepSwitchover, reason: "it is removed, being beyond topology.replicas"}
	if fit := p.fit(); len(fit) > 0 {
		r.target = fit[0]
	}
	return []restart{r}
}

// planLeft deletes what is left of instances that are gone. That one has no pod does not say that it is not
// needed: the same is asked as before it was let go.
func (p *planner) planLeft() {
	for _, group := range p.shape.Groups {
		set := p.StatefulSets[group.Name]
		if set == nil || set.Spec.Replicas == nil {
			continue
		}
		isGone := func(name string) bool {
			ordinal, ok := ordinalIn(group, name)
			return ok && ordinal >= max(group.Replicas, *set.Spec.Replicas) && p.Pods[name] == nil && set.Status.ObservedGeneration >= set.Generation && p.stays(name) == ""
		}
		for _, name := range slices.Sorted(maps.Keys(p.Instances)) {
			if dbi := p.Instances[name]; isGone(name) && dbi.DeletionTimestamp == nil {
				p.do(Delete{Resource: Instances, Name: name, UID: dbi.UID, Reason: "the instance was removed"})
			}
		}
		if dbv1.EffectiveDeletionPolicy(p.Database) == dbv1.DeletionDelete {
			p.planLeftClaims(isGone)
		}
	}
}

// planLeftClaims deletes the volumes of instances that are gone.
func (p *planner) planLeftClaims(isGone func(instance string) bool) {
	for _, name := range slices.Sorted(maps.Keys(p.Claims)) {
		claim := p.Claims[name]
		instance, ok := strings.CutPrefix(name, naming.Claim(""))
		if ok && isGone(instance) && claim.DeletionTimestamp == nil && p.ownsClaim(claim) {
			p.do(Delete{Resource: Claims, Name: name, UID: claim.UID, Reason: "the instance was removed, and deletionPolicy is Delete"})
		}
	}
}

// reportLeaving lists the instances that are to go, and what each waits for.
func (p *planner) reportLeaving() (reason, message string) {
	for _, name := range p.leaving() {
		why := p.stays(name)
		step := dbv1.PlannedStep{Kind: "Scale", Target: name, Reason: "it is beyond topology.replicas"}
		if why != "" {
			step.HeldBy, step.Reason = GuardStillNeeded, step.Reason+"; "+why
		}
		p.status.Plan = append(p.status.Plan, step)
		if reason == "" {
			reason, message = dbv1.ReasonScaling, fmt.Sprintf("instance %s is being removed", name)
			if why != "" {
				message += ": " + why
			}
		}
	}
	return reason, message
}
