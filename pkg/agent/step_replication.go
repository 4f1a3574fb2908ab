package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/platform-io/database-operator/pkg/agent/election"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/plural"
)

// Steps towards what the election wants. They come before everything else that the spec asks of an
// engine: a configuration can wait, a fence cannot.

const (
	stepFollow      stepKind = "follow"
	stepPromote     stepKind = "promote"
	stepSynchronous stepKind = "synchronous"
	stepReplicas    stepKind = "replicas"
	stepAdmit       stepKind = "admit"
	stepRewind      stepKind = "rewind"
	stepClone       stepKind = "clone"
)

// replicationSteps are those that another wish of the election changes: they are tried again at once.
var replicationSteps = []stepKind{
	stepFollow, stepPromote, stepSynchronous, stepReplicas, stepAdmit, stepRewind, stepClone, stepStart, stepPrepareStop, stepStop, stepLabel,
}

// keyKind is the kind of a step's key.
func keyKind(key string) stepKind {
	kind, _, _ := strings.Cut(key, "/")
	return stepKind(kind)
}

// electedDown is for an engine that is down, with data that may be started or made fit.
func electedDown(o *observed) (step, bool) {
	r := o.repl
	if r == nil {
		return step{}, false
	}
	switch r.Want.Mode {
	case election.ModeRewind:
		return rebuildStep(o, stepRewind, dbv1.InstanceCloning, "Undoing what the data has beyond the history of "+leaderName(r)), true
	case election.ModeClone:
		return rebuildStep(o, stepClone, dbv1.InstanceCloning, "Copying the data of "+leaderName(r)), true
	case election.ModeUnknown, election.ModeDown:
	case election.ModeReplica, election.ModePrimary:
		if r.Status.Crashed >= r.crashes && r.Want.Seq >= r.Status.Seq {
			return step{}, false
		}
		// An engine that ended by itself is started towards what is wanted since.
	}
	if o.stopping {
		return waiting(dbv1.InstanceStopping, ReasonStopping, "The pod is being stopped"), true
	}
	return waiting(dbv1.InstanceStarting, ReasonElecting, "Waiting for the election to say what this instance is"), true
}

func leaderName(r *replication) string {
	if r.Want.Source == nil {
		return "the primary"
	}
	return r.Want.Source.Instance
}

func rebuildStep(o *observed, kind stepKind, phase dbv1.InstancePhase, message string) step {
	if whole(o) {
		return waiting(phase, ReasonElecting, "The data is fit to follow; waiting for the election")
	}
	s, ok := o.due(step{kind: kind, phase: phase, reason: ReasonRebuilding, message: message})
	if !ok {
		return waiting(phase, ReasonRebuilding, fmt.Sprintf("%s failed, and is tried again: %s", message, o.lastError))
	}
	return s
}

// electedStarting is for an engine that was started and does not answer yet.
func electedStarting(o *observed) (step, bool) {
	r := o.repl
	if r == nil {
		return step{}, false
	}
	w, done := r.Want, r.done
	switch {
	case w.Mode == election.ModeDown, w.Mode == election.ModeClone, w.Mode == election.ModeRewind,
		w.Mode == election.ModeReplica && done.mode == StartPrimary:
		return step{kind: stepStop, phase: dbv1.InstanceStopping, reason: ReasonElecting, message: "Stopping, as the election wants"}, true
	case w.Mode == election.ModeReplica && (!done.sourceSet || !sameSource(done.source, &w)):
		// Recovery may need another source before it answers.
		return o.due(step{kind: stepFollow, phase: phaseOfStart(o), reason: ReasonStarting, message: "Changing the source of the replica"})
	}
	return step{}, false
}

// electedRunning is for an engine that answers.
func electedRunning(o *observed) (step, bool) {
	r := o.repl
	if r == nil {
		return step{}, false
	}
	w, done := r.Want, r.done
	running := func(kind stepKind, message string) (step, bool) {
		return o.due(step{kind: kind, phase: dbv1.InstanceRunning, reason: ReasonElecting, message: message})
	}
	switch w.Mode {
	case election.ModeReplica:
		if done.mode == StartPrimary {
			break
		}
		if !done.sourceSet || !sameSource(done.source, &w) {
			return running(stepFollow, "Changing the source of the replica")
		}
		if w.Source != nil && (done.replicas == nil || len(*done.replicas) > 0) {
			// What it kept as a primary would fill its volume. (Without a source it may be the next primary, too.)
			return running(stepReplicas, "")
		}
		return step{}, false
	case election.ModePrimary:
		return electedPrimary(o, running)
	case election.ModeUnknown, election.ModeDown, election.ModeRewind, election.ModeClone:
	}
	return step{kind: stepStop, phase: dbv1.InstanceStopping, reason: ReasonElecting, message: "Stopping, as the election wants"}, true
}

// electedPrimary: whom commits wait for is in place before promotion; clients come last.
func electedPrimary(o *observed, running func(stepKind, string) (step, bool)) (step, bool) {
	w, done := o.repl.Want, o.repl.done
	switch {
	case done.mode == StartReplica && (done.admit == nil || *done.admit):
		return running(stepAdmit, "Keeping clients out until the replicas have everything")
	case done.synchronous == nil || !sameSynchronous(*done.synchronous, wantedSynchronous(w)):
		return running(stepSynchronous, "Changing whom commits wait for")
	case done.mode == StartReplica:
		return running(stepPromote, "Becoming the primary")
	case done.admit == nil || *done.admit != w.Admit:
		return running(stepAdmit, "Letting clients in")
	case done.replicas == nil || !slices.Equal(*done.replicas, w.Replicas):
		message := "Keeping the log for the replicas"
		if len(w.Replicas) == 0 {
			message = "" // it lets go of what is left, and there is nearly never anything
		}
		return running(stepReplicas, message)
	}
	return step{}, false
}

// keepsClientsOut says why a primary lets nobody in.
func (r *replication) keepsClientsOut() string {
	if r == nil || r.Want.Mode != election.ModePrimary || r.done.mode != StartPrimary || r.Want.Admit {
		return ""
	}
	return fmt.Sprintf("Clients are let in once %d of the other candidates have all that this primary has (connected: %s); "+
		"if they do not come back, lower spec.highAvailability.synchronousReplicas", r.Want.Synchronous.W, plural.Of(len(r.seen.Standbys), "replica"))
}

// operationLimit is how long a failover that a person asked for may take.
const operationLimit = time.Minute

// electionOperationStep ends an operation that the election carries out.
func electionOperationStep(o *observed, asked *dbv1.InstanceOperation) (step, bool) {
	r := o.repl
	end := step{
		kind: stepEndOperation, phase: dbv1.InstanceRunning, reason: ReasonElecting, message: "Ending operation " + asked.ID,
	}
	if r == nil {
		return o.due(end)
	}
	if done, _ := r.operationDone(o, asked); done {
		return o.due(end)
	}
	// The election wakes us.
	return step{}, false
}

// operationDone says whether the election has ended what was asked, and what went wrong.
func (r *replication) operationDone(o *observed, asked *dbv1.InstanceOperation) (done bool, failure string) {
	late := o.now.Sub(o.operationSince) > operationLimit
	switch asked.Kind {
	case dbv1.OperationSwitchover:
		out := r.Handover
		switch {
		case out.ID == asked.ID && out.State == election.HandoverAborted:
			return true, out.Message
		case out.ID == asked.ID && out.State == election.HandoverCompleted, r.told && !r.Holding:
			return true, ""
		}
		return late, "the switchover did not begin in time"
	case dbv1.OperationFailover:
		if r.Live {
			return true, ""
		}
		return late, "this instance could not take the Lease: it is held, or the API server does not answer"
	}
	return true, "this agent does not know the operation " + asked.Kind
}

// role is what clients may take the instance for.
func (r *replication) role() dbv1.InstanceRole {
	switch {
	case r.done.mode == StartPrimary && r.Live && r.seen.Primary && r.done.admit != nil && *r.done.admit:
		return dbv1.RolePrimary
	case r.done.mode == StartReplica && r.done.sourceSet:
		return dbv1.RoleReplica
	}
	return dbv1.RoleNone
}
