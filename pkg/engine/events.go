package engine

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
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

// Transitions are the events of going from one status to the next. Nothing is said twice: an
// event stands for a change that was written.
func Transitions(before, after *dbv1.DatabaseStatus) []Event {
	var events []Event
	say := func(kind, reason, message string) {
		events = append(events, Event{Type: kind, Reason: reason, Action: "Sync", Message: message})
	}
	became := func(kind string) bool {
		return meta.IsStatusConditionTrue(after.Conditions, kind) && !meta.IsStatusConditionTrue(before.Conditions, kind)
	}
	if became(dbv1.ConditionProvisioned) {
		say(corev1.EventTypeNormal, "Provisioned", "The database is provisioned")
	}
	if became(dbv1.ConditionReady) {
		say(corev1.EventTypeNormal, "Ready", "Clients can read and write at "+after.Endpoint)
	}
	switch {
	case after.Phase == dbv1.PhasePaused && before.Phase != dbv1.PhasePaused:
		say(corev1.EventTypeNormal, "Paused", "The operator changes nothing until spec.lifecycle.paused is false")
	case before.Phase == dbv1.PhasePaused && after.Phase != dbv1.PhasePaused:
		say(corev1.EventTypeNormal, "Resumed", "The operator acts on the spec again")
	}
	for _, c := range after.Conditions {
		if warns(before, c) {
			say(corev1.EventTypeWarning, warningReason(c), fmt.Sprintf("%s: %s", c.Type, c.Message))
		}
	}
	return events
}

// warns is true for a condition that has become False or Unknown, or is so for another reason.
// Waiting for a first start, or for a report, is no warning.
func warns(before *dbv1.DatabaseStatus, c metav1.Condition) bool {
	if c.Status == metav1.ConditionTrue || c.Message == "" {
		return false
	}
	old := meta.FindStatusCondition(before.Conditions, c.Type)
	if old != nil && old.Status == c.Status && old.Reason == c.Reason {
		return false
	}
	switch c.Reason {
	case dbv1.ReasonProvisioning, dbv1.ReasonCredentialsPending, dbv1.ReasonConfigPending, dbv1.ReasonVolumePending,
		dbv1.ReasonRestarting, dbv1.ReasonDeleting, dbv1.ReasonUnknown:
		return false
	case dbv1.ReasonInstanceNotReady:
		return old != nil && old.Status == metav1.ConditionTrue
	}
	return true
}

func warningReason(c metav1.Condition) string {
	if c.Type == dbv1.ConditionValidated {
		return "ValidationFailed"
	}
	return c.Reason
}
