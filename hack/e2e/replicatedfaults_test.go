//go:build e2e

package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long clients may be without an acknowledgement. The targets are 3 s for a process and a pod, and 20 s for a node, in 95 of 100
// cases on a machine of its own; a test that runs once on a busy machine allows for more.
const (
	processGap = 10 * time.Second
	nodeGap    = 35 * time.Second
	noGap      = 5 * time.Second
	// readGap is how long nothing may be read from replicas while something is done on purpose.
	readGap = 3 * time.Second
)

// TestReplicatedFaults lets one fault after the other befall a database whose commits wait for a replica, and what it depends on.
func TestReplicatedFaults(t *testing.T) {
	newBed(t, ourBed(1)).run(t, slices.Concat(nodeFaults, drains, controlPlaneFaults))
}

// TestReplicatedProcessFaults and TestReplicatedDataFaults are about processes and volumes of one.
func TestReplicatedProcessFaults(t *testing.T) {
	besideOthers(t)
	newBed(t, ourBed(1)).run(t, processFaults)
}

func TestReplicatedDataFaults(t *testing.T) {
	besideOthers(t)
	newBed(t, ourBed(1)).run(t, dataFaults)
}

// TestAsynchronousReplicatedFaults and TestAsynchronousReplicatedProcessFaults are about a database whose commits do not wait. It may lose what
// was not replicated, and no more.
func TestAsynchronousReplicatedFaults(t *testing.T) {
	newBed(t, ourBed(0)).run(t, slices.DeleteFunc(slices.Clone(nodeFaults), func(f fault) bool { return f.after == samePrimary }))
}

func TestAsynchronousReplicatedProcessFaults(t *testing.T) {
	besideOthers(t)
	newBed(t, ourBed(0)).run(t, processFaults)
}

// primaryPod is the pod of the primary that the fault is about.
func (f *faulted) primaryPod() *corev1.Pod { return f.pods[f.primary] }

// lasts lets a fault last for some time.
func (f *faulted) lasts(d time.Duration) {
	f.Helper()
	select {
	case <-time.After(d):
	case <-f.ctx.Done():
		f.Fatal("interrupted")
	}
}

// untilAnother waits until another instance is entitled to be the primary.
func (f *faulted) untilAnother() {
	f.Helper()
	f.wait(time.Minute, "another instance to be entitled", func() (string, error) {
		holder, err := f.bed.holder(f.scope)
		if err == nil && (holder == "" || holder == f.was) {
			return "the holder is " + holder, nil
		}
		return "", err
	})
}

// untilInstancesReady waits until they are as they should be, whatever the operator says.
func (f *faulted) untilInstancesReady() {
	f.Helper()
	_, err := f.tryUntil("ha", recoverTimeout, func(g *group) string { return g.trouble(3) })
	f.ok(err)
}

// afterwards does something when the fault's test is over, also when it failed.
func (f *faulted) afterwards(do func(context.Context) error) {
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if err := do(ctx); err != nil {
			f.Error(err)
		}
	})
}

// deletePod deletes a pod, as a person does.
func (f *faulted) deletePod(name string) {
	f.Helper()
	f.ok(cluster.Kube.CoreV1().Pods(f.namespace).Delete(f.ctx, name, metav1.DeleteOptions{}))
}

// tool runs a command of the local cluster's program.
func (f *faulted) tool(args ...string) {
	f.Helper()
	f.ok(cluster.Cluster(f.ctx, args...))
}
