//go:build e2e

package e2e

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeFaults befall the node of the primary.
var nodeFaults = []fault{
	{name: "node cut off", gap: nodeGap, after: anotherPrimary, isolates: true, cause: cutOff()},
	{name: "node cut off one way in", gap: nodeGap, after: anotherPrimary, isolates: true, cause: cutOff("--one-way", "in")},
	{name: "node cut off one way out", gap: nodeGap, after: anotherPrimary, isolates: true, cause: cutOff("--one-way", "out")},
	{name: "node cut off from the API", gap: noGap, after: samePrimary, harmless: true, cause: func(f *faulted) {
		f.tool("partition", f.node, "--from", "api")
		f.lasts(max(*outage/5, 30*time.Second))
		f.tool("heal", f.node)
	}},
	{name: "node cut off from one other", gap: noGap, after: samePrimary, harmless: true, cause: func(f *faulted) {
		other := f.pods[f.replicas()[1]].Spec.NodeName // the client is beside the first
		f.tool("partition", f.node, "--from", other)
		f.lasts(25 * time.Second)
		f.tool("heal", f.node)
	}},
	{name: "node cut off and pod deleted by force", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		f.tool("partition", f.node)
		f.lasts(time.Second)
		f.ok(cluster.Kube.CoreV1().Pods(f.namespace).Delete(f.ctx, f.primary, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
		f.untilAnother()
		f.lasts(3 * time.Second)
		f.tool("heal", f.node)
	}},
	{name: "node frozen", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		f.hold()
		f.tool("freeze", f.node)
		f.untilAnother()
		f.lasts(3 * time.Second)
		f.tool("thaw", f.node)
	}, seen: func(_ *group, r *report) string {
		if sessions := r.Runs[1].Sessions; sessions.Answer > 0 {
			return "sessions with the old primary still answer, as if they could write"
		}
		return ""
	}},
	{name: "node killed", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		f.tool("kill", f.node)
		f.untilAnother()
		f.lasts(3 * time.Second)
		f.tool("start", f.node)
	}},
}

// cutOff cuts the node off until another instance is the primary. A client beside the old one goes on writing to it.
func cutOff(how ...string) func(*faulted) {
	return func(f *faulted) {
		f.writeToPrimary()
		f.tool(append([]string{"partition", f.node}, how...)...)
		f.untilAnother()
		f.lasts(3 * time.Second)
		f.tool("heal", f.node)
	}
}
