package controller

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// Why a pod is not made is known only to the StatefulSet's controller, which says it in events
// (a quota, a priority class that is missing, Pod Security). They are not watched: the events of that
// StatefulSet alone are listed, while one of its pods is missing for longer than a start takes. The
// planner says when to look again.

const (
	// podGrace is how long a pod may be missing in the course of things.
	podGrace = 5 * time.Second
	// eventsLimit and eventsTimeout bound what a sync spends on it.
	eventsLimit   = 500
	eventsTimeout = 5 * time.Second
)

// observePodFailures is what the StatefulSets' controller last said of each missing pod, where that was
// a failure. Nothing depends on it but a sentence: what cannot be learned is left out.
func (c *Controller) observePodFailures(ctx context.Context, o *engine.Observation) map[string]string {
	ready := meta.FindStatusCondition(o.Database.Status.Conditions, dbv1.ConditionReady)
	if ready == nil || ready.Status == metav1.ConditionTrue || o.Now.Sub(ready.LastTransitionTime.Time) < podGrace {
		return nil
	}
	failures := map[string]string{}
	for _, group := range c.groups(o.Database) {
		set := o.StatefulSets[group.Name]
		if set == nil {
			continue
		}
		var events []corev1.Event
		for _, name := range group.Instances() {
			if o.Pods[name] != nil {
				continue
			}
			if events == nil {
				var err error
				if events, err = c.eventsOf(ctx, set); err != nil {
					klog.FromContext(ctx).Info("The events of a StatefulSet could not be read", "statefulset", klog.KObj(set), "err", err)
					break
				}
			}
			if words := lastFailure(events, name); words != "" {
				failures[name] = words
			}
		}
	}
	return failures
}

// eventsOf are the events of a StatefulSet, never nil without an error.
func (c *Controller) eventsOf(ctx context.Context, set metav1.Object) ([]corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, eventsTimeout)
	defer cancel()
	client, name := c.clients.Kube.CoreV1().Events(set.GetNamespace()), set.GetName()
	selector := client.GetFieldSelector(&name, nil, new("StatefulSet"), new(string(set.GetUID())))
	list, err := client.List(ctx, metav1.ListOptions{FieldSelector: selector.String(), Limit: eventsLimit})
	if err != nil {
		return nil, err
	}
	return append([]corev1.Event{}, list.Items...), nil
}

// lastFailure is the newest of the events about a pod, if it is a warning. Times are whole seconds: of
// two in the same one, the failure is the later.
func lastFailure(events []corev1.Event, pod string) string {
	var newest *corev1.Event
	for i := range events {
		e := &events[i]
		if !strings.Contains(e.Message, " Pod "+pod+" ") {
			continue
		}
		if newest == nil || eventTime(e).After(eventTime(newest)) || eventTime(e).Equal(eventTime(newest)) && e.Type == corev1.EventTypeWarning {
			newest = e
		}
	}
	if newest == nil || newest.Type != corev1.EventTypeWarning {
		return ""
	}
	return newest.Message
}

// eventTime is when an event last happened, whichever API it was written with.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
