package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/maintenance"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Restarts are wanted for four reasons: the engine says that a setting needs one, the user
// changed what pods are made of, the agent has no valid token any more, or a new release of the operator
// renders pods differently. The last alone never restarts anything, and a token is renewed without one
// when there is time.
//
// A restart is not remembered: its reason is seen again in every sync until it is gone. The id by
// which an agent is asked is derived from what it reported, so a lost write or a crash between two
// syncs asks for the same restart, and not for a second one.

const (
	restartPod    = "RestartPod"
	restartEngine = "RestartEngine"
	// stepSwitchover makes a replica of the primary, before it is restarted as one.
	stepSwitchover = "Switchover"
)

// restart is one that is wanted, or the switchover that must come before it.
type restart struct {
	instance string
	kind     string
	reason   string
	// target is the next primary, of a switchover; "" when there is none.
	target string
	// urgent is true when there is no time to wait for a window.
	urgent bool
	// id identifies the request to the agent.
	id string
	// heldBy names the guard that refuses it now, "" when it may begin; notBefore is when that may
	// change.
	heldBy    string
	notBefore time.Time
	// broken is true when the instance does not serve anyway.
	broken bool
	// renewedBy is when the kubelet must have renewed the agent's token, for a restart that only this is
	// the reason of.
	renewedBy time.Time
	// release is true when only a new release of the operator asks for it.
	release bool
	// settings is true when only settings of the wanted configuration ask for it.
	settings bool
	// didNotHelp is true when it was just done for the same reason.
	didNotHelp bool
}

// judgeRestarts lists the wanted restarts in the order in which they are to happen, each with the
// guard that holds it: replicas first, then a switchover, after which the old primary is a replica.
func (p *planner) judgeRestarts() []restart {
	var wanted, last []restart
	for _, group := range p.shape.Groups {
		template := resources.PodHashes(p.Database, p.shape, group, p.AgentImage)
		for _, name := range group.Instances() {
			r, ok := p.wantedRestart(name, template)
			if !ok {
				continue
			}
			r.broken = !p.isReady(name) && !p.serves(name)
			switch {
			case !p.hasReplicas() || !p.reigns(name):
				wanted = append(wanted, r)
			case p.isIrreplaceable(r):
				// Before all others: none of them can be ready without it.
				r.urgent = true
				wanted = append([]restart{r}, wanted...)
			case name == p.primary && p.pendingSettings(name) != "" && p.engine.PrimaryFirst(p.Database, p.report(name)):
				// Replicas could not follow one that runs with less, and it is told to run with less.
				wanted = append([]restart{p.engineRestart(name)}, wanted...)
			default:
				last = append(last, r)
			}
		}
	}
	p.restarts = slices.Concat(wanted, last) // for the choice of who takes over
	return p.guard(slices.Concat(p.urgentSwitchover(), p.handOverBeforeLeaving(), wanted, p.beforeRestart(last)))
}

// reigns is true for the primary, and for one that holds the Lease while it is being restarted in place.
func (p *planner) reigns(name string) bool {
	return name == p.primary || p.primary == "" && p.holds(name)
}

// isIrreplaceable is true for one that is broken, holds the Lease, and that nobody else can take over from: it holds it
// for as long as its pod exists.
func (p *planner) isIrreplaceable(r restart) bool {
	return r.broken && p.primary == "" && p.holds(r.instance) &&
		!slices.ContainsFunc(p.election.record.Candidates, func(c record.Candidate) bool { return c.Instance != r.instance })
}

// beforeRestart puts a switchover in the place of the primary's restart.
func (p *planner) beforeRestart(last []restart) []restart {
	for i, r := range last {
		last[i] = restart{instance: r.instance, kind: stepSwitchover, reason: "before it is restarted: " + r.reason, release: r.release, settings: r.settings, renewedBy: r.renewedBy}
		// Where nobody holds the Lease for a moment, the one that is to hand over is fit, too.
		if fit := slices.DeleteFunc(p.fit(), func(name string) bool { return name == r.instance }); len(fit) > 0 {
			last[i].target = fit[0]
		}
	}
	return last
}

// urgentSwitchover moves the primary away from a node that is about to be drained, if there is another
// node for it. The drain waits for it, because of the primary's disruption budget.
func (p *planner) urgentSwitchover() []restart {
	if !p.hasReplicas() || p.primary == "" || !p.isCordoned(p.primary) {
		return nil
	}
	for _, name := range p.fit() {
		if !p.isCordoned(name) {
			return []restart{{
				instance: p.primary, kind: stepSwitchover, target: name, urgent: true,
				reason: "node " + p.Pods[p.primary].Spec.NodeName + " takes no new pods",
			}}
		}
	}
	return nil
}

// wantedRestart prefers the pod's restart: it includes the engine's.
func (p *planner) wantedRestart(name string, template resources.Hashes) (restart, bool) {
	pod := p.Pods[name]
	if pod == nil || pod.DeletionTimestamp != nil {
		// The StatefulSet makes a new pod from the newest template; its events wake us.
		return restart{}, false
	}
	switch {
	case pod.Annotations[naming.AnnotationSpecHash] != template.Spec:
		return restart{instance: name, kind: restartPod, reason: "the spec changed what pods are made of"}, true
	case p.isMute(name) && p.ServiceAccount != nil:
		return restart{
			instance: name, kind: restartPod, renewedBy: p.ServiceAccount.CreationTimestamp.Add(tokenRenewal),
			reason: "its agent's token is of a ServiceAccount that was deleted",
		}, true
	case p.pendingSettings(name) != "":
		return p.engineRestart(name), true
	case p.hasReplicas() && p.report(name) != nil && p.report(name).Replication == nil && pod.Annotations[naming.AnnotationTemplateHash] != template.Template:
		return restart{instance: name, kind: restartPod, reason: "its agent is of a release that cannot replicate"}, true
	case pod.Annotations[naming.AnnotationTemplateHash] != template.Template:
		return restart{
			instance: name, kind: restartPod, release: true,
			reason: "a new release of the operator makes pods differently; it goes along with the next restart, or with the next maintenance window",
		}, true
	}
	return restart{}, false
}

// tokenRenewal is how long a kubelet may take to renew a token. The API server gives pods tokens for
// 3607 s, and the kubelet asks for another after 80 % of that.
const tokenRenewal = time.Hour

// serves is true when an instance is known to be mute, and not known to be broken.
func (p *planner) serves(name string) bool { return p.isMute(name) && p.isPodReady(name) }

// pendingSettings are the settings of the wanted configuration that wait for a restart.
func (p *planner) pendingSettings(name string) string {
	report := p.report(name)
	if report == nil || report.AppliedConfigHash != confighash.ConfigHash(p.shape.Config) {
		return ""
	}
	return strings.Join(report.PendingRestart, ", ")
}

// unread is an instance that has neither read the wanted configuration nor refused it, "" when none is.
// Which settings wait for a restart, and where first, is only known then.
func (p *planner) unread() string {
	for _, name := range p.shape.InstanceNames() {
		if reason, _ := p.instanceStaleness(name); p.report(name) != nil && reason == dbv1.ReasonConfigPending {
			return name
		}
	}
	return ""
}

func (p *planner) engineRestart(name string) restart {
	report := p.report(name)
	hash := report.AppliedConfigHash
	r := restart{
		instance: name, kind: restartEngine, settings: true,
		id:     fmt.Sprintf("%s-%s-%d", hash, shortUID(p.Pods[name]), report.EngineStarts),
		reason: "settings that need a restart: " + p.pendingSettings(name),
	}
	if op := report.Operation; op != nil && op.Phase == dbv1.OperationSucceeded &&
		op.ID == fmt.Sprintf("%s-%s-%d", hash, shortUID(p.Pods[name]), report.EngineStarts-1) {
		// It was done for this very configuration: again would be for ever.
		r.didNotHelp = true
	}
	return r
}

func shortUID(pod *corev1.Pod) string {
	uid := string(pod.UID)
	return uid[:min(8, len(uid))]
}

// memoryLacking is by how many bytes the wanted limit is too low for the data of an instance.
func (p *planner) memoryLacking(name string) int64 {
	limits := dbv1.Resources(p.Database).Limits
	limit := limits.Memory().Value()
	if report := p.report(name); report != nil && limit > 0 {
		return p.engine.MemoryNeeded(report) - limit
	}
	return 0
}

// planRestart begins the first restart that no guard holds. An engine's restart is asked for in
// its instance's spec, which planObjects has already rendered.
func (p *planner) planRestart() {
	for _, r := range p.restarts {
		if r.heldBy != "" {
			continue
		}
		if p.status.Operation != nil && p.status.Operation.Phase == dbv1.OperationPending {
			// It began in this sync, and holds everything else.
			return
		}
		if pod := p.Pods[r.instance]; r.kind == restartPod && p.OwnsPod(pod) && p.templateIsLive(pod) {
			p.do(Delete{Resource: Pods, Name: pod.Name, UID: pod.UID, Reason: r.reason})
		}
		return
	}
}

// templateIsLive is true when the StatefulSet is seen to have the new template: a pod deleted
// before would come back as it was.
func (p *planner) templateIsLive(pod *corev1.Pod) bool {
	for _, group := range p.shape.Groups {
		set := p.StatefulSets[group.Name]
		if group.Name != pod.Labels[naming.LabelGroup] || set == nil {
			continue
		}
		live := set.Spec.Template.Annotations[naming.AnnotationTemplateHash]
		return live == resources.PodHashes(p.Database, p.shape, group, p.AgentImage).Template &&
			set.Status.ObservedGeneration >= set.Generation
	}
	return false
}

// The guards are named safety rules that can refuse a disruptive step, for every engine, in one
// place. The first that refuses gives its name to status.plan and to the condition UpToDate.
const (
	// GuardPaused: the Database is paused.
	GuardPaused = "Paused"
	// GuardOperatorRelease: only a new release of the operator asks for it.
	GuardOperatorRelease = "OperatorRelease"
	// GuardTokenRenewal: the kubelet will give the agent a new token without a restart.
	GuardTokenRenewal = "TokenRenewal"
	// GuardConfigRefused: an instance refuses the configuration that it is for.
	GuardConfigRefused = "ConfigRefused"
	// GuardDidNotHelp: it was done for the same reason, which is still there.
	GuardDidNotHelp = "DidNotHelp"
	// GuardMemoryInUse: the new pod would have less memory than the data of the instance takes.
	GuardMemoryInUse = "MemoryInUse"
	// GuardPrimaryFirst: replicas must not have less of a setting than the primary, which has not been restarted yet.
	GuardPrimaryFirst = "PrimaryFirst"
	// GuardReplicasFirst: a replica is restarted before the primary hands over, and cannot be at this moment.
	GuardReplicasFirst = "ReplicasFirst"
	// GuardConfigPending: an instance has not read the configuration, and may need a restart before.
	GuardConfigPending = "ConfigPending"
	// GuardRestarting: the instance is being restarted.
	GuardRestarting = "Restarting"
	// GuardOperation: a switchover or a failover is under way.
	GuardOperation = "Operation"
	// GuardNoCandidate: no replica could take over from the primary.
	GuardNoCandidate = "NoCandidate"
	// GuardSwitchoverAborted: the last switchover was not possible; it is tried again later.
	GuardSwitchoverAborted = "SwitchoverAborted"
	// GuardLastSynchronised: too few other instances have all that the primary has.
	GuardLastSynchronised = "LastSynchronised"
	// GuardStillNeeded: an instance that is to go is the primary or a candidate.
	GuardStillNeeded = "StillNeeded"
	// GuardOneAtATime: another instance is being restarted or is not ready.
	GuardOneAtATime = "OneAtATime"
	// GuardMaintenanceWindow: no maintenance window is open.
	GuardMaintenanceWindow = "MaintenanceWindow"
)

// circumstances are what the guards judge by beside the step.
type circumstances struct {
	// disrupted is the instance that does not serve or will not soon, "" when all do.
	disrupted string
	// hasWindows is false when steps may begin at any time.
	hasWindows bool
	window     maintenance.Verdict
	// retry is when a switchover may be tried again.
	retry time.Time
}

// guard is a reason to wait with a restart.
type guard struct {
	name    string
	refuses func(p *planner, c *circumstances, r *restart) bool
}

var guards = []guard{
	{GuardPaused, func(p *planner, _ *circumstances, _ *restart) bool { return p.Database.Spec.Lifecycle.Paused }},
	// A window is the time that a person set aside for what nobody asked for.
	{GuardOperatorRelease, func(_ *planner, c *circumstances, r *restart) bool {
		return r.release && (!c.hasWindows || !c.window.Open)
	}},
	{GuardTokenRenewal, func(p *planner, c *circumstances, r *restart) bool {
		return p.Now.Before(r.renewedBy) && !r.broken && (!c.hasWindows || !c.window.Open)
	}},
	// One instance has tried it: the others go on with what they have.
	{GuardConfigRefused, func(p *planner, _ *circumstances, r *restart) bool { return r.settings && p.configRefusal() != "" }},
	{GuardDidNotHelp, func(_ *planner, _ *circumstances, r *restart) bool { return r.didNotHelp }},
	{GuardMemoryInUse, func(p *planner, _ *circumstances, r *restart) bool {
		return r.kind == restartPod && !r.broken && p.memoryLacking(r.instance) > 0
	}},
	{GuardOperation, func(p *planner, _ *circumstances, _ *restart) bool { return p.runningOperation() != nil }},
	{GuardRestarting, func(p *planner, _ *circumstances, r *restart) bool { return p.isRestarting(r.instance) }},
	{GuardOneAtATime, func(_ *planner, c *circumstances, r *restart) bool {
		return c.disrupted != "" && c.disrupted != r.instance && !r.urgent
	}},
	{GuardPrimaryFirst, func(p *planner, _ *circumstances, r *restart) bool {
		return r.kind == restartEngine && p.hasReplicas() && !p.reigns(r.instance) &&
			(p.primary == "" || p.engine.PrimaryFirst(p.Database, p.report(p.primary)))
	}},
	{GuardLastSynchronised, func(p *planner, _ *circumstances, r *restart) bool {
		return p.hasReplicas() && r.instance != p.primary && !r.broken && p.wholeCopies(r.instance) < p.copiesNeeded()
	}},
	{GuardNoCandidate, func(_ *planner, _ *circumstances, r *restart) bool { return r.kind == stepSwitchover && r.target == "" }},
	{GuardSwitchoverAborted, func(p *planner, c *circumstances, r *restart) bool {
		return r.kind == stepSwitchover && p.Now.Before(c.retry)
	}},
	// An instance that does not serve has nothing to lose by not waiting.
	{GuardMaintenanceWindow, func(_ *planner, c *circumstances, r *restart) bool { return !r.broken && !r.urgent && !c.window.Open }},
	{GuardConfigPending, func(p *planner, _ *circumstances, r *restart) bool {
		return p.hasReplicas() && !r.broken && !r.urgent && p.unread() != ""
	}},
}

// guard names the guard that holds each wanted restart: at most one is left without.
func (p *planner) guard(wanted []restart) []restart {
	c := p.circumstances()
	for i := range wanted {
		r := &wanted[i]
		if at := slices.IndexFunc(guards, func(g guard) bool { return g.refuses(p, c, r) }); at >= 0 {
			r.heldBy = guards[at].name
		}
		if r.heldBy == "" && r.kind == stepSwitchover && slices.ContainsFunc(wanted[:i], isHeldForAMoment) {
			r.heldBy = GuardReplicasFirst
		}
		switch r.heldBy {
		case "", GuardRestarting:
			c.disrupted = r.instance
		case GuardMaintenanceWindow, GuardOperatorRelease:
			r.notBefore = c.window.Changes
			p.requeueAt(c.window.Changes)
		case GuardSwitchoverAborted:
			r.notBefore = c.retry
			p.requeueAt(c.retry)
		case GuardTokenRenewal:
			r.notBefore = r.renewedBy
			p.requeueAt(r.renewedBy)
			p.requeueAt(c.window.Changes)
		}
	}
	return wanted
}

// circumstances are what guards judge by.
func (p *planner) circumstances() *circumstances {
	c := &circumstances{disrupted: p.disrupted(), hasWindows: p.Database.Spec.Maintenance != nil && len(p.Database.Spec.Maintenance.Windows) > 0}
	for _, name := range p.shape.InstanceNames() {
		// What is ready now may be about to stop.
		if c.disrupted == "" && p.isRestarting(name) {
			c.disrupted = name
		}
	}
	// A window that cannot be read is closed; validation says why.
	c.window, _ = maintenance.At(p.Database.Spec.Maintenance, p.Now)
	if op := p.Database.Status.Operation; op != nil && op.Kind == dbv1.OperationSwitchover && op.FinishedAt != nil && op.Phase != dbv1.OperationSucceeded && op.ID != p.Database.Status.LastRequest {
		c.retry = op.FinishedAt.Add(switchoverRetry)
	}
	return c
}

// isHeldForAMoment is true for the restart of an instance that waits until another one is back.
func isHeldForAMoment(r restart) bool {
	switch r.heldBy {
	case GuardRestarting, GuardOneAtATime, GuardLastSynchronised, GuardPrimaryFirst, GuardConfigPending:
		return true
	}
	return false
}

// disrupted is an instance that is not serving, "" when all are. A primary that is not known is one,
// too. A new one that finds no node is none: it has nothing yet, and what keeps it from a node may be how
// the pods of the others were made.
func (p *planner) disrupted() string {
	for _, name := range p.shape.InstanceNames() {
		if !p.isReady(name) && !p.awaitsFirstNode(name) {
			return name
		}
	}
	if p.hasReplicas() && p.primary == "" {
		return "the primary"
	}
	return ""
}

// awaitsFirstNode is true for an instance that never had data, and whose pod is not scheduled.
func (p *planner) awaitsFirstNode(name string) bool {
	pod, dbi := p.Pods[name], p.Instances[name]
	return p.hasReplicas() && pod != nil && pod.Spec.NodeName == "" && dbi != nil && dbi.Status.DataID == ""
}

// isRestarting is true while an agent has not ended the restart that it was asked for.
func (p *planner) isRestarting(instance string) bool {
	report, dbi := p.report(instance), p.Instances[instance]
	if report == nil || dbi.Spec.Operation == nil {
		return false
	}
	return report.Operation == nil || report.Operation.ID != dbi.Spec.Operation.ID || report.Operation.Phase == dbv1.OperationRunning
}

// requeueAt wakes the Database at a time, unless something wakes it earlier.
func (p *planner) requeueAt(when time.Time) {
	if when.IsZero() {
		return
	}
	after := max(when.Sub(p.Now), time.Second)
	if p.plan.RequeueAfter == 0 || after < p.plan.RequeueAfter {
		p.plan.RequeueAfter = after
	}
}
