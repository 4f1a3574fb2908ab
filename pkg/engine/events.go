package engine

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/plural"
)

// Event is one to emit about a Database.
type Event struct {
	// Type is Normal or Warning.
	Type string
	// Reason is the past fact, Action what was done about it.
	Reason string
	Action string
	// Message is a sentence.
	Message string
}

// Transitions are the events of going from one status to the next, while these instances are fenced. Nothing is said
// twice: an event stands for a change that was written.
func Transitions(before, after *dbv1.DatabaseStatus, fenced ...string) []Event {
	var events []Event
	say := func(kind, reason, message string) {
		events = append(events, Event{Type: kind, Reason: reason, Action: "Sync", Message: message})
	}
	became := func(kind string) bool {
		return meta.IsStatusConditionTrue(after.Conditions, kind) && !meta.IsStatusConditionTrue(before.Conditions, kind)
	}
	if hasAdopted(before, after) {
		say(corev1.EventTypeNormal, "Adopted", "The volumes and credentials of an earlier Database of this name are taken over")
	}
	if became(dbv1.ConditionProvisioned) {
		say(corev1.EventTypeNormal, "Provisioned", "The database is provisioned")
	}
	if became(dbv1.ConditionReady) {
		say(corev1.EventTypeNormal, "Ready", "Clients can read and write at "+after.Endpoint)
	}
	events = append(events, electionEvents(before, after)...)
	phaseEvents(before, after, say)
	for _, c := range after.Conditions {
		planned := isHandover(after, c) || isFencedAway(before.Primary, c, fenced)
		// What stands against everything is said of many conditions, and once as an event.
		repeated := c.Type != dbv1.ConditionProvisioned && c.Message == messageOf(after, dbv1.ConditionProvisioned)
		if warns(before, c) && !planned && !repeated {
			say(corev1.EventTypeWarning, warningReason(c), fmt.Sprintf("%s: %s", c.Type, c.Message))
		}
	}
	return events
}

// hasAdopted is true when data is known and there is no pod yet: it is that of volumes which were there before.
func hasAdopted(before, after *dbv1.DatabaseStatus) bool {
	return before.EngineStatus == nil && after.EngineStatus != nil && after.Replicas == 0
}

// isHandover is true for what a switchover has to do.
func isHandover(after *dbv1.DatabaseStatus, c metav1.Condition) bool {
	return c.Reason == dbv1.ReasonFailingOver && isRunning(after.Operation, dbv1.OperationSwitchover)
}

// scalingEvents are those of a number of instances that changes.
func scalingEvents(before, after *dbv1.DatabaseStatus, say func(kind, reason, message string)) {
	switch {
	case before.CurrentVersion == "":
		// The first instances are no scaling.
	case after.Phase == dbv1.PhaseScaling && before.Phase != dbv1.PhaseScaling:
		say(corev1.EventTypeNormal, "ScalingStarted", "Ready instances: "+after.Ready)
	case before.Phase == dbv1.PhaseScaling && after.Phase == dbv1.PhaseReady:
		say(corev1.EventTypeNormal, "ScalingCompleted", "Ready instances: "+after.Ready)
	}
}

// phaseEvents are those that begin or end a phase.
func phaseEvents(before, after *dbv1.DatabaseStatus, say func(kind, reason, message string)) {
	scalingEvents(before, after, say)
	now := reason(after, dbv1.ConditionStorageReady)
	if reason(before, dbv1.ConditionStorageReady) == dbv1.ReasonResizing && now != dbv1.ReasonResizing && now != dbv1.ReasonResizeFailed {
		say(corev1.EventTypeNormal, "StorageGrown", "The volumes have grown")
	}
	switch {
	case after.Phase == dbv1.PhasePaused && before.Phase != dbv1.PhasePaused:
		say(corev1.EventTypeNormal, "Paused", "The operator changes nothing until spec.lifecycle.paused is false")
	case before.Phase == dbv1.PhasePaused && after.Phase != dbv1.PhasePaused:
		say(corev1.EventTypeNormal, "Resumed", "The operator acts on the spec again")
	}
}

// settling is how long replicas that have just begun to stream may stop once more: they do so when the primary keeps
// the log for them.
const settling = 10 * time.Second

// warns is true for a condition that has become False or Unknown, or is so for another reason.
// Waiting for a first start, or for a report, is no warning.
func warns(before *dbv1.DatabaseStatus, c metav1.Condition) bool {
	if c.Status == metav1.ConditionTrue || c.Message == "" || c.Type == dbv1.ConditionReady {
		// Ready says again what another condition says.
		return false
	}
	old := meta.FindStatusCondition(before.Conditions, c.Type)
	if old != nil && old.Status == c.Status && old.Reason == c.Reason {
		return false
	}
	switch c.Reason {
	case dbv1.ReasonProvisioning, dbv1.ReasonCredentialsPending, dbv1.ReasonConfigPending, dbv1.ReasonVolumePending,
		dbv1.ReasonRestarting, dbv1.ReasonScaling, dbv1.ReasonResizing, dbv1.ReasonDeleting, dbv1.ReasonUnknown, dbv1.ReasonPaused:
		return false
	case dbv1.ReasonInstanceNotReady, dbv1.ReasonReplicaNotReady:
		return wasGood(old, c)
	}
	return true
}

// wasGood is true for a condition that was True, and of replicas not only just now.
func wasGood(old *metav1.Condition, c metav1.Condition) bool {
	if old == nil || old.Status != metav1.ConditionTrue {
		return false
	}
	return c.Reason != dbv1.ReasonReplicaNotReady || c.LastTransitionTime.Sub(old.LastTransitionTime.Time) > settling
}

// isFencedAway is true when there is no primary because a person fenced the last one: that is what they asked for.
func isFencedAway(was *dbv1.PrimaryStatus, c metav1.Condition, fenced []string) bool {
	return c.Type == dbv1.ConditionPrimaryAvailable && was != nil && slices.Contains(fenced, was.Name) &&
		(c.Reason == dbv1.ReasonFailingOver || c.Reason == dbv1.ReasonInstanceNotReady)
}

func warningReason(c metav1.Condition) string {
	switch {
	case c.Type == dbv1.ConditionValidated:
		return "ValidationFailed"
	case c.Type == dbv1.ConditionPrimaryAvailable && c.Reason == dbv1.ReasonFailingOver:
		return "FailoverStarted"
	}
	return c.Reason
}

// isRunning is true while an operation of a kind has not ended.
func isRunning(op *dbv1.OperationStatus, kind string) bool {
	return op != nil && op.Kind == kind && (op.Phase == dbv1.OperationPending || op.Phase == dbv1.OperationRunning)
}

// electionEvents tell of a primary that is another one, with or without being asked to.
func electionEvents(before, after *dbv1.DatabaseStatus) []Event {
	var events []Event
	say := func(kind, reason, message string) {
		events = append(events, Event{Type: kind, Reason: reason, Action: "Sync", Message: message})
	}
	was, is := before.Primary, after.Primary
	wasAway := slices.Contains([]string{dbv1.ReasonFailingOver, dbv1.ReasonWritesWait}, reason(before, dbv1.ConditionPrimaryAvailable))
	switch {
	case was == nil || is == nil || isRunning(before.Operation, dbv1.OperationSwitchover):
	case was.Name != is.Name, was.Epoch != is.Epoch && wasAway:
		say(corev1.EventTypeNormal, "FailoverCompleted", fmt.Sprintf("Instance %s is the primary, in epoch %d; before it was %s", is.Name, is.Epoch, was.Name))
	}
	if is != nil && is.LostBytes != nil && *is.LostBytes > 0 && (was == nil || was.Epoch != is.Epoch || was.LostBytes == nil) {
		say(corev1.EventTypeWarning, "DataLost", fmt.Sprintf("Instance %s took over without the last %s of its predecessor's log; synchronousReplicas 1 or more prevents it", is.Name, plural.Of(*is.LostBytes, "byte")))
	}
	return append(events, operationEvents(before.Operation, after.Operation)...)
}

// operationEvents tell how operations begin and end.
func operationEvents(before, after *dbv1.OperationStatus) []Event {
	if after == nil || before != nil && before.ID == after.ID && before.Phase == after.Phase {
		return nil
	}
	kind, verb := corev1.EventTypeNormal, ""
	switch after.Phase {
	case dbv1.OperationPending, dbv1.OperationRunning:
		if before != nil && before.ID == after.ID {
			return nil
		}
		verb = "Started"
	case dbv1.OperationSucceeded:
		verb = "Completed"
	default:
		kind, verb = corev1.EventTypeWarning, after.Phase
	}
	return []Event{{Type: kind, Reason: after.Kind + verb, Action: "Sync", Message: after.Message}}
}

func reason(status *dbv1.DatabaseStatus, kind string) string {
	if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
		return c.Reason
	}
	return ""
}

func messageOf(status *dbv1.DatabaseStatus, kind string) string {
	if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}
