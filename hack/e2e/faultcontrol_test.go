//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/naming"
)

// controlPlaneFaults befall what the instances have beside each other: the API server, etcd, the Lease, the operator, DNS.
var controlPlaneFaults = []fault{
	{name: "API server stopped", gap: noGap, after: samePrimary, harmless: true, cause: func(f *faulted) {
		f.tool("stop", "apiserver")
		f.lasts(*outage)
		f.tool("start", "apiserver")
	}},
	{name: "API server paused", gap: noGap, after: samePrimary, harmless: true, cause: func(f *faulted) {
		f.tool("pause", "apiserver")
		f.lasts(*outage)
		f.tool("resume", "apiserver")
	}},
	{name: "etcd paused", gap: noGap, after: samePrimary, harmless: true, cause: func(f *faulted) {
		f.tool("pause", "etcd")
		f.lasts(max(*outage/2, 20*time.Second))
		f.tool("resume", "etcd")
	}},
	{name: "Lease deleted", gap: noGap, after: samePrimary, cause: func(f *faulted) {
		f.ok(cluster.Kube.CoordinationV1().Leases(f.namespace).Delete(f.ctx, naming.Lease("ha"), metav1.DeleteOptions{}))
		f.lasts(20 * time.Second)
	}},
	{name: "pod deleted while no operator runs", gap: processGap, cause: func(f *faulted) {
		f.afterwards(func(ctx context.Context) error { return cluster.ScaleOperator(ctx, 2) })
		f.ok(cluster.ScaleOperator(f.ctx, 0))
		f.wait(changeTimeout, "the operators to stop", func() (string, error) {
			if left := len(f.operators()); left > 0 {
				return fmt.Sprintf("%d are left", left), nil
			}
			return "", nil
		})
		f.deletePod(f.primary)
		f.lasts(5 * time.Second)
		f.untilInstancesReady()
		f.ok(cluster.ScaleOperator(f.ctx, 2))
		f.ok(cluster.WaitForOperator(f.ctx))
	}},
	{name: "pod deleted while DNS is silent", gap: processGap, cause: func(f *faulted) {
		dns := f.dns()
		f.lasts(20 * time.Second) // every agent has looked for the others since the last of them moved
		f.afterwards(func(context.Context) error { f.signal(dns, syscall.SIGCONT); return nil })
		f.signal(dns, syscall.SIGSTOP)
		f.deletePod(f.primary)
		f.lasts(20 * time.Second)
		f.signal(dns, syscall.SIGCONT)
	}},
	{name: "postmaster killed while the API server is paused", gap: processGap, after: samePrimary, cause: func(f *faulted) {
		postmaster := f.postmaster(f.primaryPod().UID)
		f.tool("pause", "apiserver")
		f.lasts(12 * time.Second) // longer than the Lease is renewed without promises
		f.signal(postmaster, syscall.SIGKILL)
		f.lasts(8 * time.Second)
		f.tool("resume", "apiserver")
	}},
	{name: "node cut off while the API server is paused", gap: nodeGap + 10*time.Second, after: anotherPrimary, isolates: true, cause: func(f *faulted) {
		f.writeToPrimary()
		f.tool("partition", f.node)
		f.lasts(3 * time.Second)
		f.tool("pause", "apiserver")
		f.lasts(8 * time.Second)
		f.tool("resume", "apiserver")
		f.untilAnother()
		f.lasts(3 * time.Second)
		f.tool("heal", f.node)
	}},
}

// dns is the process of the cluster's DNS server.
func (f *faulted) dns() []process {
	f.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // fails only for a bad pattern
	var found []process
	for _, file := range files {
		arguments, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(arguments), cluster.ClusterFile("Corefile")) {
			continue
		}
		if p, err := readProcess(filepath.Dir(file)); err == nil {
			found = append(found, p)
		}
	}
	same(f.scope, "the number of DNS servers", len(found), 1)
	return found
}
