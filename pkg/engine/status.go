package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The status is computed from scratch in every sync, and written only if it differs: what is not
// said again here does not survive, except the facts that cannot be seen again.

const (
	yes     = metav1.ConditionTrue
	no      = metav1.ConditionFalse
	unknown = metav1.ConditionUnknown
)

// condition sets one condition. A condition that says the same keeps its time.
func (p *planner) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	SetCondition(p.status, p.Database.Generation, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(p.Now)})
}

// longestText is how many characters the API server takes for a message that is no condition's.
const longestText = 1024

// cut shortens a text to so many characters.
func cut(text string, longest int) string {
	if len(text) <= longest {
		return text
	}
	runes := []rune(text)
	if len(runes) <= longest {
		return text
	}
	return string(runes[:longest-1]) + "…"
}

// cutTexts shortens what may hold others' words: the API server would refuse the whole status.
func cutTexts(status *dbv1.DatabaseStatus) {
	if op := status.Operation; op != nil {
		op.Message = cut(op.Message, longestText)
	}
	for i := range status.Plan {
		status.Plan[i].Reason = cut(status.Plan[i].Reason, longestText)
	}
}

// SetCondition sets one condition of a status. Messages are cut where the API server would refuse
// them.
func SetCondition(status *dbv1.DatabaseStatus, generation int64, c metav1.Condition) {
	const longest = 32768
	c.Message = cut(c.Message, longest)
	c.ObservedGeneration = generation
	meta.SetStatusCondition(&status.Conditions, c)
}

// isTrue is true when the status that is being made has this condition.
func (p *planner) isTrue(kind string) bool {
	return meta.IsStatusConditionTrue(p.status.Conditions, kind)
}

// wasProvisioned is true once the identity of the data is known.
func (p *planner) wasProvisioned() bool {
	return p.engine.Identity(p.status.EngineStatus) != ""
}

// reportUnsupportedEngine is all there is to say about an engine of a later release.
func (p *planner) reportUnsupportedEngine(violations field.ErrorList) {
	if len(violations) > 0 {
		p.condition(dbv1.ConditionValidated, no, dbv1.ReasonInvalidSpec, sentence(violations))
	} else {
		p.condition(dbv1.ConditionValidated, yes, dbv1.ReasonAsExpected, "")
	}
	message := fmt.Sprintf(NotSupported+"engine %s. Nothing was created; `kubectl explain database.spec.engine` names the engines of this release.", p.Database.Spec.Engine)
	p.status.Phase = dbv1.PhasePending
	p.condition(dbv1.ConditionProvisioned, no, dbv1.ReasonNotSupported, message)
	p.condition(dbv1.ConditionReady, no, dbv1.ReasonNotSupported, message)
}

// reportInvalid lists every violation. The Database behaves as if paused: nothing is changed, and
// what runs goes on running.
func (p *planner) reportInvalid(violations field.ErrorList) {
	p.condition(dbv1.ConditionValidated, no, dbv1.ReasonInvalidSpec, sentence(violations)+". Nothing is changed until the spec is corrected.")
	if p.wasProvisioned() {
		// UpToDate, and what this release cannot do, go on to speak of the spec before.
		p.reportIdentity()
		p.reportInstances()
		p.reportStorage()
		p.reportCredentials()
		p.reportReplication()
		p.reportReady()
		p.reportPhase()
		return
	}
	p.status.Phase = dbv1.PhaseFailed
	p.condition(dbv1.ConditionReady, no, dbv1.ReasonInvalidSpec, "the spec breaks a rule; see condition Validated")
}

// reportRunning describes a Database that is to run.
func (p *planner) reportRunning() {
	p.condition(dbv1.ConditionValidated, yes, dbv1.ReasonAsExpected, "")
	p.reportIdentity()
	p.reportInstances()
	p.reportStorage()
	p.reportCredentials()
	p.reportUpToDate()
	p.reportFeatures()
	p.reportReplication()
	p.reportReady()
	p.reportPhase()
}

func (p *planner) reportIdentity() {
	switch {
	case p.identity.foreign != "":
		p.condition(dbv1.ConditionProvisioned, no, dbv1.ReasonAdoptionRequired, p.identity.foreign)
	case p.wasProvisioned() && len(p.MissingServices) > 0:
		p.condition(dbv1.ConditionProvisioned, no, dbv1.ReasonPaused, "missing are the Services "+strings.Join(p.MissingServices, ", ")+p.whilePaused())
	case p.wasProvisioned():
		p.condition(dbv1.ConditionProvisioned, yes, dbv1.ReasonAsExpected, "")
	case p.isObstructed(dbv1.ConditionProvisioned):
	default:
		p.condition(dbv1.ConditionProvisioned, no, dbv1.ReasonProvisioning, p.provisioningMessage())
	}
}

// runs is true when something was made that may be running.
func (p *planner) runs() bool { return len(p.StatefulSets) > 0 || len(p.instancePods()) > 0 }

// obstacle is why nothing is made at all, "" when nothing stands against it, or something runs already.
func (p *planner) obstacle() (reason, message string) {
	runs := p.runs()
	if !runs && p.identity.foreign != "" {
		return dbv1.ReasonAdoptionRequired, p.identity.foreign
	}
	for _, gap := range p.engine.Gaps(p.Database) {
		if gap.Blocking && (!runs || !p.wasProvisioned()) {
			return dbv1.ReasonNotSupported, gap.Message
		}
	}
	if !runs && p.Database.Spec.Lifecycle.Paused {
		return dbv1.ReasonPaused, "nothing is made while spec.lifecycle.paused is true"
	}
	if !runs && !p.isTrue(dbv1.ConditionValidated) {
		return dbv1.ReasonInvalidSpec, "nothing is made while the spec breaks a rule; see condition Validated"
	}
	return "", ""
}

// isObstructed says of a condition what stands against everything, and is true when something does: a person
// who looks at one condition must not be sent after a pod that nobody makes.
func (p *planner) isObstructed(kind string) bool {
	reason, message := p.obstacle()
	if reason == "" {
		return false
	}
	p.condition(kind, no, reason, message)
	return true
}

// provisioningMessage says what a first start waits for, in the words of whoever knows.
func (p *planner) provisioningMessage() string {
	for _, name := range p.shape.InstanceNames() {
		if why := p.instanceTrouble(name); why != "" {
			return why
		}
	}
	return "the first instance is being made"
}

// reportInstances says what the instances are and where they are reached.
func (p *planner) reportInstances() {
	db := p.Database
	p.status.Replicas, p.status.ReadyReplicas = int32(len(p.instancePods())), 0
	for _, name := range p.shape.InstanceNames() {
		if p.isReady(name) {
			p.status.ReadyReplicas++
		}
	}
	p.status.Ready = fmt.Sprintf("%d/%d", p.status.ReadyReplicas, dbv1.Replicas(db)*max(1, dbv1.Shards(db)))
	p.status.Selector = labels.SelectorFromSet(naming.SelectorLabels(db.Name)).String()
	p.status.Endpoint = fmt.Sprintf("%s:%d", naming.Host(naming.Service(db.Name), db.Namespace), p.shape.ClientPort)
	p.status.ReadOnlyEndpoint = fmt.Sprintf("%s:%d", naming.Host(naming.ReadOnlyService(db.Name), db.Namespace), p.shape.ClientPort)
	p.status.CredentialsSecret = naming.Credentials(db.Name)
	p.reportPrimary()
	p.awaitPods()
}

// awaitPods looks again at pods that are missing: what keeps a StatefulSet from making one, its
// controller says in events, and those wake nobody. The longer it lasts, the rarer.
func (p *planner) awaitPods() {
	const soon, late = 5 * time.Second, time.Minute
	for _, name := range p.shape.InstanceNames() {
		if p.Pods[name] != nil || len(p.StatefulSets) == 0 {
			continue
		}
		wait := soon
		for _, kind := range []string{dbv1.ConditionReady, dbv1.ConditionReplicationHealthy} {
			if c := meta.FindStatusCondition(p.Database.Status.Conditions, kind); c != nil && c.Status != yes {
				wait = min(max(p.Now.Sub(c.LastTransitionTime.Time)/2, wait), late)
			}
		}
		p.requeueAt(p.Now.Add(wait))
	}
}

// reportReady: clients can read and write. What is known to be wrong comes before what is not known.
func (p *planner) reportReady() {
	ready := p.serving()
	if why := p.lonely(); ready.Status == yes && why != "" {
		ready = metav1.Condition{Status: no, Reason: dbv1.ReasonInstanceNotReady, Message: why}
		if p.isFirstStart() {
			ready.Reason = dbv1.ReasonProvisioning
		}
	}
	p.condition(dbv1.ConditionReady, ready.Status, ready.Reason, ready.Message)
}

// serving says whether the primary serves clients.
func (p *planner) serving() metav1.Condition {
	serving := metav1.Condition{Status: yes, Reason: dbv1.ReasonAsExpected}
	for _, kind := range []string{dbv1.ConditionProvisioned, dbv1.ConditionPrimaryAvailable, dbv1.ConditionCredentialsSynced} {
		c := meta.FindStatusCondition(p.status.Conditions, kind)
		if c == nil {
			c = &metav1.Condition{Status: unknown, Reason: dbv1.ReasonUnknown, Message: "condition " + kind + " is not known yet"}
		}
		if c.Status == no {
			return *c
		}
		if c.Status == unknown && serving.Status == yes {
			serving = *c
		}
	}
	if serving.Status == yes && p.primary != "" && !p.isPodReady(p.primary) {
		serving.Status, serving.Reason = no, dbv1.ReasonInstanceNotReady
		serving.Message = "pod " + p.primary + " has the primary and is not ready, as its kubelet says, so Service " + naming.Service(p.Database.Name) + " does not lead to it"
	}
	return serving
}

// lonely says that of several instances only the primary serves, so that whoever reads from replicas finds
// none, and the next failure is an outage. It is "" also while a Database that was ready gets its first replicas,
// or has its only one restarted.
func (p *planner) lonely() string {
	names := p.shape.InstanceNames()
	if len(names) < 2 {
		return ""
	}
	trouble := ""
	for _, name := range names {
		switch {
		case name == p.primary:
		case p.isReady(name):
			return ""
		case trouble == "":
			trouble = p.instanceTrouble(name)
		}
	}
	planned := p.isGrowing() || p.reasonOf(dbv1.ConditionUpToDate) == dbv1.ReasonRestarting
	if planned && meta.IsStatusConditionTrue(p.Database.Status.Conditions, dbv1.ConditionReady) {
		return ""
	}
	return fmt.Sprintf("only %s of %d instances serves; Service %s leads to no replica: %s", p.primary, len(names), naming.ReadOnlyService(p.Database.Name), trouble)
}

// isFirstStart is true until all was ready once, or something else came in between.
func (p *planner) isFirstStart() bool {
	switch p.Database.Status.Phase {
	case "", dbv1.PhasePending, dbv1.PhaseProvisioning, dbv1.PhaseFailed:
		return true
	default:
		return false
	}
}

// reportPhase is the one word for all that.
func (p *planner) reportPhase() {
	p.status.Phase = p.phase()
	// While a spec breaks a rule, UpToDate speaks of the one before.
	if p.isTrue(dbv1.ConditionValidated) && p.isTrue(dbv1.ConditionUpToDate) && p.serving().Status == yes {
		p.status.CurrentVersion = p.Database.Spec.Version
	}
	health := dbv1.HealthStatus{Status: "Healthy"}
	switch p.status.Phase {
	case dbv1.PhaseReady, dbv1.PhaseUpdating, dbv1.PhaseScaling, dbv1.PhasePaused:
		if !p.isTrue(dbv1.ConditionReady) {
			health = p.illness("Unhealthy", dbv1.ConditionReady)
		}
	case dbv1.PhaseDegraded:
		health = p.illness("Degraded", dbv1.ConditionReady)
		if p.isTrue(dbv1.ConditionReady) {
			health.Message = "ready instances: " + p.status.Ready
		}
	default:
		health = p.illness("Unhealthy", dbv1.ConditionReady)
	}
	was := p.status.Health
	if was != nil && was.Status == health.Status && was.Message == health.Message {
		return
	}
	health.LastChecked = new(metav1.NewTime(p.Now))
	p.status.Health = &health
}

func (p *planner) illness(status, kind string) dbv1.HealthStatus {
	h := dbv1.HealthStatus{Status: status}
	if c := meta.FindStatusCondition(p.status.Conditions, kind); c != nil && c.Status != yes {
		h.Message = cut(c.Message, longestText)
		if c.Status == unknown {
			h.Status = "Unknown"
		}
	}
	return h
}

func (p *planner) phase() dbv1.DatabasePhase {
	isReady := p.isTrue(dbv1.ConditionReady)
	switch {
	case p.Database.Spec.Lifecycle.Paused:
		return dbv1.PhasePaused
	case p.cannotBeMade():
		return dbv1.PhaseFailed
	case !isReady && p.isBeingMade():
		return dbv1.PhaseProvisioning
	case isReady && p.isGrowing():
		return dbv1.PhaseScaling
	case p.isUpdating():
		return dbv1.PhaseUpdating
	case isReady && len(p.leaving()) > 0:
		return dbv1.PhaseScaling
	case !isReady || p.status.ReadyReplicas < dbv1.Replicas(p.Database):
		return dbv1.PhaseDegraded
	}
	return dbv1.PhaseReady
}

func (p *planner) cannotBeMade() bool {
	return !p.wasProvisioned() && (p.identity.foreign != "" || p.blocked())
}

// isUpdating is true while a change is on its way. An instance that does not start, as one that lost its volume, reads no
// configuration either, and no update mends it.
func (p *planner) isUpdating() bool {
	failed := func(name string) bool { r := p.report(name); return r != nil && r.Phase == dbv1.InstanceFailed }
	switch p.reasonOf(dbv1.ConditionUpToDate) {
	case dbv1.ReasonRestarting:
		return true
	case dbv1.ReasonConfigPending:
		return !slices.ContainsFunc(p.shape.InstanceNames(), failed)
	}
	return false
}

// isBeingMade is true until the first instances serve.
func (p *planner) isBeingMade() bool {
	return p.status.CurrentVersion == "" || p.reasonOf(dbv1.ConditionReady) == dbv1.ReasonProvisioning
}

func (p *planner) reasonOf(kind string) string {
	if c := meta.FindStatusCondition(p.status.Conditions, kind); c != nil && c.Status != yes {
		return c.Reason
	}
	return ""
}

// list joins what is wrong into one message.
func list(parts []string) string { return strings.Join(parts, "; ") }
