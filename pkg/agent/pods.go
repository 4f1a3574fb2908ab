package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The pods of the other instances: their labels, and whether they are there at all.

// podsPeriod is the pause between looks at the pods of replicas that a primary misses.
const podsPeriod = 5 * time.Second

// takeLabels takes the role of the primary from every other pod.
func (a *Agent) takeLabels(ctx context.Context, others []string) error {
	pods := a.Kube.CoreV1().Pods(a.Namespace)
	for _, name := range others {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the pod of another instance: %w", err)
		}
		if pod.Labels[naming.LabelRole] != string(dbv1.RolePrimary) {
			continue
		}
		if a.expired() {
			return errNotElected
		}
		patch, err := labelPatch(pod, dbv1.RoleNone)
		if err != nil {
			return err
		}
		_, err = pods.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: naming.AgentFieldManager})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take the role label of %s: %w", name, err)
		}
		klog.FromContext(ctx).Info("Took the role label of the former primary", "pod", klog.KRef(a.Namespace, name))
	}
	return nil
}

// others are the instances of the group but this one.
func (m *memory) others(self string) []string {
	if m.spec == nil {
		return nil
	}
	var names []string
	for _, member := range m.spec.Members {
		if member.Name != self {
			names = append(names, member.Name)
		}
	}
	return names
}

// lookAtPods asks now and then about the pods of candidates that a primary misses.
func (a *Agent) lookAtPods(m *memory) {
	r := m.repl
	if r == nil || !r.Live || m.now.Sub(m.podsAt) < podsPeriod {
		return
	}
	streaming := map[string]bool{r.Disk.Name: true}
	for _, s := range r.seen.Standbys {
		if name, ok := knownBy(s.DataID, r.Want.Epoch); ok {
			streaming[name] = s.Streaming
		}
	}
	var missed []string
	for _, c := range r.Disk.Record.Candidates {
		if !streaming[c.Name] {
			missed = append(missed, c.Instance)
		}
	}
	if len(missed) == 0 {
		m.gone = nil
		return
	}
	m.podsAt = m.now
	go a.readPods(missed)
}

func (a *Agent) readPods(names []string) {
	ctx, cancel := context.WithTimeout(a.background, podsPeriod-time.Second)
	defer cancel()
	gone := map[string]bool{}
	for _, name := range names {
		pod, err := a.Kube.CoreV1().Pods(a.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			gone[name] = true
		case err == nil && !podReady(pod):
			gone[name] = true
		}
	}
	a.post(a.background, func(m *memory) { m.gone = gone })
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
