package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Who could be the primary instead. The agents have the last word, by their positions at that moment;
// here is judged by what they reported.

// unfit says why an instance is not to be handed over to, "" when it may be.
func (p *planner) unfit(name string) string {
	switch {
	case !slices.Contains(p.shape.InstanceNames(), name):
		return fmt.Sprintf("%s is no instance of Database %s", name, p.Database.Name)
	case name == p.primary:
		return name + " is the primary already"
	case p.isFenced(name):
		return "instance " + name + " is fenced"
	case p.isRestarting(name):
		return "instance " + name + " is being restarted"
	}
	return p.replicaTrouble(name)
}

// fit are the instances that may be handed over to, the best first: those that need no restart, then
// those that are closest, then by ordinal.
func (p *planner) fit() []string {
	var names []string
	for _, name := range p.shape.InstanceNames() {
		if p.unfit(name) == "" {
			names = append(names, name)
		}
	}
	rank := func(name string) (outdated int, lag int64) {
		if slices.ContainsFunc(p.restarts, func(r restart) bool { return r.instance == name && !r.release }) {
			outdated = 1
		}
		if n := p.report(name).LagBytes; n != nil {
			return outdated, *n
		}
		return outdated, math.MaxInt64
	}
	slices.SortStableFunc(names, func(a, b string) int {
		outdatedA, lagA := rank(a)
		outdatedB, lagB := rank(b)
		return cmp.Or(cmp.Compare(outdatedA, outdatedB), cmp.Compare(lagA, lagB))
	})
	return names
}

// isCordoned is true when the node of an instance is known to take no new pods: it is about to be
// drained.
func (p *planner) isCordoned(name string) bool {
	pod := p.Pods[name]
	return pod != nil && pod.Spec.NodeName != "" && p.Cordoned[pod.Spec.NodeName]
}

// isFenced is true when a person wants the engine of an instance to be down.
func (p *planner) isFenced(name string) bool {
	return slices.Contains(FencedInstances(p.Database), name)
}

// wholeCopies is how many instances beside one are known to have all that the primary has: the primary,
// and the candidates that stream from it.
func (p *planner) wholeCopies(without string) int {
	n := 0
	for _, name := range p.existing {
		if name != without && p.isReady(name) && (name == p.primary || p.streams(name) && p.isCandidate(name)) {
			n++
		}
	}
	return n
}

// copiesNeeded is how many whole copies must stay while one instance is away: the primary, and of the
// others as many as commits wait for, at least one; with fewer instances, all others.
func (p *planner) copiesNeeded() int {
	others := len(p.shape.InstanceNames()) - 2
	return 1 + min(max(int(dbv1.HighAvailability(p.Database).SynchronousReplicas), p.waitsFor(), 1), others)
}
