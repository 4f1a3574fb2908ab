//go:build e2e

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/naming"
)

// How long clients may be without an acknowledgement. The targets are 3 s for a process and a pod, and 20 s for a node, in 95 of 100
// cases on a machine of its own; a test that runs once on a busy machine allows for more.
const (
	processGap = 10 * time.Second
	nodeGap    = 35 * time.Second
	noGap      = 3 * time.Second
)

var processFaults = []fault{
	{name: "postmaster killed", gap: processGap, cause: func(f *faulted) {
		f.signal(f.postmaster(f.primaryPod().UID), syscall.SIGKILL)
		f.lasts(5 * time.Second)
	}},
	{name: "engine killed", gap: processGap, cause: func(f *faulted) {
		f.kill(f.primaryPod().UID, "postgres")
		f.lasts(5 * time.Second)
	}},
	{name: "agent killed", gap: nodeGap, cause: func(f *faulted) {
		f.signal(f.agent(f.primaryPod().UID), syscall.SIGKILL)
		f.lasts(5 * time.Second)
	}},
	{name: "agent stopped", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		agent := f.agent(f.primaryPod().UID)
		f.signal(agent, syscall.SIGSTOP)
		f.untilAnother()
		f.lasts(5 * time.Second)
		f.signal(agent, syscall.SIGCONT)
	}},
	{name: "pod deleted", gap: processGap, cause: func(f *faulted) {
		f.deletePod(f.primary)
		f.lasts(5 * time.Second)
	}},
}

// TestReplicatedFaults lets one fault after the other befall a database whose commits wait for a replica.
func TestReplicatedFaults(t *testing.T) {
	b := newBed(t, 1)
	b.run(t, processFaults)
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

// untilAnother waits until another instance holds the Lease.
func (f *faulted) untilAnother() {
	f.Helper()
	f.wait(time.Minute, "another instance to hold the Lease", func() (string, error) {
		lease, err := cluster.Kube.CoordinationV1().Leases(f.namespace).Get(f.ctx, naming.Lease("ha"), metav1.GetOptions{})
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		holder, was := lease.Spec.HolderIdentity, f.lease.Spec.HolderIdentity
		if holder == nil || *holder == *was {
			return fmt.Sprintf("the holder is %v", holder), nil
		}
		return "", nil
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

// inside runs a shell command in the container of an instance.
func (f *faulted) inside(instance, command string) string {
	f.Helper()
	output, err := cluster.Kubectl(f.ctx, "", "exec", "--namespace", f.namespace, instance, "--container", naming.ContainerDatabase, "--", "sh", "-c", command)
	f.ok(err)
	return output
}
