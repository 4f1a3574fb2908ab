package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLastFailure(t *testing.T) {
	const refused = `create Pod db-0 in StatefulSet db failed error: pods "db-0" is forbidden: no PriorityClass with name gold was found`
	event := func(second int64, kind, message string) corev1.Event {
		return corev1.Event{Type: kind, Message: message, LastTimestamp: metav1.NewTime(time.Unix(second, 0))}
	}
	failed := event(10, corev1.EventTypeWarning, refused)
	for name, c := range map[string]struct {
		events []corev1.Event
		want   string
	}{
		"none":           {nil, ""},
		"a failure":      {[]corev1.Event{failed}, refused},
		"an old failure": {[]corev1.Event{failed, event(11, corev1.EventTypeNormal, "create Pod db-0 in StatefulSet db successful")}, ""},
		"a failure after its claim was made": {[]corev1.Event{
			failed, event(10, corev1.EventTypeNormal, "create Claim data-db-0 Pod db-0 in StatefulSet db success"),
		}, refused},
		"the newest of two": {[]corev1.Event{event(12, corev1.EventTypeWarning, "create Pod db-0 in StatefulSet db failed error: quota"), failed}, "create Pod db-0 in StatefulSet db failed error: quota"},
		"a series": {[]corev1.Event{
			{Type: corev1.EventTypeWarning, Message: refused, Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(time.Unix(20, 0))}},
			event(11, corev1.EventTypeNormal, "create Pod db-0 in StatefulSet db successful"),
		}, refused},
		"of another pod": {[]corev1.Event{event(12, corev1.EventTypeWarning, "create Pod db-01 in StatefulSet db failed error: quota")}, ""},
	} {
		if got := lastFailure(c.events, "db-0"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
