package engine

import (
	"fmt"
	"hash/fnv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// A change of the primary on purpose is an operation in the status:
//
//  1. It is written down as Pending, with an id, a target and a deadline. That ends the sync.
//  2. Having read it back, the operator asks an agent in its instance's spec: a switchover the primary,
//     a failover the target. The phase is Running.
//  3. It ends when the agents' reports and the Lease show another primary, when the agent says that it
//     could not, or at the deadline. What was asked for is then taken from the spec: an agent that was
//     away must not begin when nobody waits for it any more.
//
// Who was the primary at the beginning is in status.primary, which changes with the end.

// How long an operation may take. The agent of a primary gives a switchover up earlier, as long as it
// can.
const (
	switchoverTimeout = 2 * time.Minute
	failoverTimeout   = 5 * time.Minute
	// switchoverRetry is the pause after a switchover that the operator wanted by itself and that was
	// not possible.
	switchoverRetry = 5 * time.Minute
)

// runningOperation is the one that is under way, as it was read back, nil when there is none.
func (p *planner) runningOperation() *dbv1.OperationStatus {
	op := p.Database.Status.Operation
	if op == nil || op.Phase != dbv1.OperationPending && op.Phase != dbv1.OperationRunning {
		return nil
	}
	return op
}

// asked is what an operation asks of an instance, nil when it is nothing.
func (p *planner) asked(instance string) *dbv1.InstanceOperation {
	op, was := p.runningOperation(), p.Database.Status.Primary
	switch {
	case op == nil || p.status.Operation.Phase != dbv1.OperationRunning:
		return nil
	case op.Kind == dbv1.OperationSwitchover && was != nil && was.Name == instance,
		op.Kind == dbv1.OperationFailover && op.Target == instance:
		return &dbv1.InstanceOperation{ID: op.ID, Kind: op.Kind, Target: op.Target}
	}
	return nil
}

// planOperation moves the operation on, ends it, or begins the next.
func (p *planner) planOperation() {
	if op := p.runningOperation(); op != nil {
		p.status.Operation = p.continued(op.DeepCopy())
		return
	}
	if p.takeUpRequest() {
		return
	}
	for _, r := range p.restarts {
		if r.heldBy != "" {
			continue
		}
		if r.kind == stepSwitchover {
			id := fmt.Sprintf("%s-%d-%d", dbv1.OperationSwitchover, p.report(p.primary).Epoch, p.Now.Unix())
			p.begin(id, dbv1.OperationSwitchover, r.target, "from "+p.primary+" to "+r.target+": "+r.reason)
		}
		return
	}
}

// continued is the operation as it is now.
func (p *planner) continued(op *dbv1.OperationStatus) *dbv1.OperationStatus {
	op.Phase = dbv1.OperationRunning
	phase, message := p.outcome(op)
	if phase == "" {
		if why := p.refusal(op); why != "" {
			phase, message = dbv1.OperationAborted, why
		}
	}
	if phase == "" && op.Deadline != nil && !p.Now.Before(op.Deadline.Time) {
		phase, message = p.outOfTime()
	}
	switch {
	case phase != "":
		op.Phase, op.Message, op.FinishedAt = phase, message, new(metav1.NewTime(p.Now))
	case op.Deadline != nil:
		p.requeueAt(op.Deadline.Time)
	}
	return op
}

// outcome is how an operation ended, by who is the primary now; "" while it has not.
func (p *planner) outcome(op *dbv1.OperationStatus) (phase, message string) {
	if p.primary == "" {
		return p.takenOver(op)
	}
	was := p.Database.Status.Primary
	if was == nil || was.Name != p.primary {
		if op.Target != "" && op.Target != p.primary {
			return dbv1.OperationFailed, fmt.Sprintf("instance %s became the primary, and not %s", p.primary, op.Target)
		}
		return dbv1.OperationSucceeded, "instance " + p.primary + " is the primary"
	}
	switch again := p.report(p.primary).Epoch > was.Epoch; {
	case op.Kind == dbv1.OperationFailover && again && op.Target == p.primary:
		return dbv1.OperationSucceeded, "instance " + p.primary + " is the primary"
	case op.Kind == dbv1.OperationFailover:
		return dbv1.OperationAborted, "instance " + p.primary + " takes writes"
	case again:
		return dbv1.OperationAborted, "instance " + p.primary + " is the primary again"
	}
	return "", ""
}

// takenOver is how an operation ended by which the Lease was taken and nobody let in: what the holder waits for may
// take longer than any operation.
func (p *planner) takenOver(op *dbv1.OperationStatus) (phase, message string) {
	was, holder := p.Database.Status.Primary, p.election.holder.Pod
	why := p.admissionTrouble(holder)
	switch {
	case why == "" || was != nil && p.election.epoch <= was.Epoch:
		return "", ""
	case op.Target != "" && op.Target != holder:
		return dbv1.OperationFailed, fmt.Sprintf("it was to be %s; %s", op.Target, why)
	}
	return dbv1.OperationSucceeded, why
}

// outOfTime is how an operation ends at its deadline.
func (p *planner) outOfTime() (phase, message string) {
	if p.primary != "" {
		return dbv1.OperationAborted, "it was not done in time; instance " + p.primary + " is still the primary"
	}
	_, _, why := p.primaryTrouble()
	return dbv1.OperationFailed, "it was not done in time; " + why
}

// refusal is what the agent that was asked says against it.
func (p *planner) refusal(op *dbv1.OperationStatus) string {
	instance := op.Target
	if op.Kind == dbv1.OperationSwitchover {
		if instance = p.primary; instance == "" {
			// It is down, or has released already.
			return ""
		}
	}
	report := p.report(instance)
	if report == nil || report.Operation == nil || report.Operation.ID != op.ID || report.Operation.Phase != dbv1.OperationFailed {
		return ""
	}
	return report.Operation.Message
}

// begin writes an operation down.
func (p *planner) begin(id, kind, target, message string) {
	timeout := switchoverTimeout
	if kind == dbv1.OperationFailover {
		timeout = failoverTimeout
	}
	p.status.Operation = &dbv1.OperationStatus{
		ID: id, Kind: kind, Phase: dbv1.OperationPending, Target: target, Message: message,
		StartedAt: new(metav1.NewTime(p.Now)), Deadline: new(metav1.NewTime(p.Now.Add(timeout))),
	}
}

// takeUpRequest begins what a person asked for, or says why not. It is true when it did either.
func (p *planner) takeUpRequest() bool {
	text := p.Database.Annotations[naming.AnnotationRequest]
	if text == "" {
		return false
	}
	request, err := dbv1.ParseRequest(text)
	if err != nil {
		id := unreadable(text)
		if p.status.LastRequest == id {
			return false
		}
		p.status.LastRequest = id
		p.refuse(id, "Request", "", "annotation "+naming.AnnotationRequest+": "+err.Error())
		return true
	}
	if p.status.LastRequest == request.ID {
		return false
	}
	p.status.LastRequest = request.ID
	target := request.To
	if fit := p.fit(); target == "" && len(fit) > 0 {
		target = fit[0]
	}
	if why := p.requestTrouble(request, target); why != "" {
		p.refuse(request.ID, request.Kind, target, why)
		return true
	}
	p.begin(request.ID, request.Kind, target, "to "+target+", as a person asked")
	return true
}

// waitingRequest is what a person asked for, while the Database is paused.
func (p *planner) waitingRequest() []dbv1.PlannedStep {
	request, err := dbv1.ParseRequest(p.Database.Annotations[naming.AnnotationRequest])
	if err != nil || !p.Database.Spec.Lifecycle.Paused || request.ID == p.status.LastRequest {
		return nil
	}
	return []dbv1.PlannedStep{{Kind: request.Kind, Target: request.To, Reason: "a person asked, request " + request.ID, HeldBy: GuardPaused}}
}

// restarting is an instance whose engine is being restarted, "" when none is.
func (p *planner) restarting() string {
	for _, name := range p.shape.InstanceNames() {
		if p.isRestarting(name) {
			return name
		}
	}
	return ""
}

// unreadable is an id for a request that has none.
func unreadable(text string) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(text)) // it never fails
	return fmt.Sprintf("unreadable-%x", hash.Sum64())
}

// refuse writes down an operation that does not begin.
func (p *planner) refuse(id, kind, target, why string) {
	p.status.Operation = &dbv1.OperationStatus{
		ID: id, Kind: kind, Phase: dbv1.OperationAborted, Target: target, Message: why,
		StartedAt: new(metav1.NewTime(p.Now)), FinishedAt: new(metav1.NewTime(p.Now)),
	}
}

// requestTrouble says why a request cannot be carried out.
func (p *planner) requestTrouble(request *dbv1.OperationRequest, target string) string {
	if request.NotAfter != nil && p.Now.After(request.NotAfter.Time) {
		return "the operator took it up only after " + request.NotAfter.UTC().Format(time.RFC3339) + ", until which it was to be; ask again if it is still wanted"
	}
	switch {
	case !p.hasReplicas():
		return "there is only one instance"
	case request.Kind == dbv1.OperationFailover && p.primary != "":
		return "instance " + p.primary + " takes writes; ask for a switchover, which loses nothing"
	case request.Kind == dbv1.OperationFailover:
		return p.failoverTrouble(target)
	case p.primary == "":
		_, _, why := p.primaryTrouble()
		return "there is no primary to hand over: " + why
	case p.restarting() != "":
		return "instance " + p.restarting() + " is being restarted; ask again when it is back"
	case target == "":
		return "no replica can take over: see condition " + dbv1.ConditionReplicationHealthy
	}
	return p.unfit(target)
}

// failoverTrouble says why an instance cannot be made the primary by force. That it is behind, or no
// candidate, is what a person has accepted; that two take writes is not.
func (p *planner) failoverTrouble(target string) string {
	report := p.report(target)
	status, _, why := p.primaryTrouble()
	switch {
	case status == unknown:
		return fmt.Sprintf("pod %s may still take writes: %s. When it surely does not, because its node is switched off, delete the pod with --force, and ask again",
			p.election.holder.Pod, why)
	case p.isFenced(target):
		return "instance " + target + " is fenced"
	case report == nil:
		return "instance " + target + " does not report: " + p.instanceTrouble(target)
	case report.DataID == "" || report.SystemID != p.identity.recorded:
		return "instance " + target + " does not have the data of this Database"
	}
	return ""
}
