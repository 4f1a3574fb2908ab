//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"github.com/platform-io/database-operator/hack/e2e/env"
)

// The tests of the operator's own life do not run in parallel to others: all depend on the same one.

func TestOneOfTwoOperatorsLeads(t *testing.T) {
	s := newScope(t)
	same(s, "the number of operators", len(s.operators()), 2)
	leader := s.leader()
	leading := 0
	for _, pod := range s.operators() {
		metrics, err := cluster.Kube.CoreV1().RESTClient().Get().Namespace(env.OperatorNamespace).Resource("pods").
			Name(pod.Name + ":8080").SubResource("proxy").Suffix("metrics").DoRaw(s.ctx)
		s.ok(err)
		if isLeading(string(metrics)) {
			leading++
			same(s, "the pod that leads", pod.Name, leader.Name)
		}
	}
	same(s, "the number of leaders", leading, 1)
}

// isLeading reads the gauge of client-go's leader election.
func isLeading(metrics string) bool {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "leader_election_master_status{") && strings.HasSuffix(strings.TrimSpace(line), " 1") {
			return true
		}
	}
	return false
}

func TestTheOtherOperatorTakesOverFromALeaderThatIsKilled(t *testing.T) {
	s := newScope(t)
	s.provision(standalone("pg"))
	before := s.life("pg")
	leader := s.leader()
	s.ok(cluster.Kube.CoreV1().Pods(env.OperatorNamespace).Delete(s.ctx, leader.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	s.wait(changeTimeout, "another leader", func() (string, error) {
		next, err := s.findLeader()
		if err == nil && next.UID == leader.UID {
			return "it is still " + next.Name, nil
		}
		return "", err
	})
	s.edit("pg", config("work_mem", "8MB"))
	s.ready("pg")
	same(s, "work_mem", s.query("pg", "show work_mem;"), "8MB")
	same(s, "pod and engine", s.life("pg"), before)
	s.ok(cluster.WaitForOperator(s.ctx))
}

func TestADatabaseServesWhileNoOperatorRuns(t *testing.T) {
	s := newScope(t)
	s.provision(standalone("pg"))
	s.writeRow("pg", "before")
	before := s.pod("pg").UID
	s.ok(cluster.ScaleOperator(s.ctx, 0))
	t.Cleanup(func() {
		if err := cluster.ScaleOperator(context.Background(), 2); err != nil {
			t.Error(err)
		}
	})
	s.wait(changeTimeout, "the operators to stop", func() (string, error) {
		if left := len(s.operators()); left > 0 {
			return fmt.Sprintf("%d are left", left), nil
		}
		return "", nil
	})
	s.hasRow("pg", "before")
	s.ok(cluster.Kube.CoreV1().Pods(s.namespace).Delete(s.ctx, "pg-0", metav1.DeleteOptions{}))
	s.wait(provisionTimeout, "another pod to serve without an operator", func() (string, error) {
		pod, err := cluster.Kube.CoreV1().Pods(s.namespace).Get(s.ctx, "pg-0", metav1.GetOptions{})
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		if pod.UID == before {
			return "it is still the same pod", nil
		}
		return notReady(pod), nil
	})
	s.hasRow("pg", "before")
	s.ok(cluster.ScaleOperator(s.ctx, 2))
	s.ok(cluster.WaitForOperator(s.ctx))
	s.ready("pg")
}

func (s *scope) operators() []corev1.Pod {
	s.Helper()
	pods, err := cluster.OperatorPods(s.ctx)
	s.ok(err)
	return pods
}

func (s *scope) leader() corev1.Pod {
	s.Helper()
	var leader corev1.Pod
	s.wait(changeTimeout, "a leader", func() (string, error) {
		var err error
		leader, err = s.findLeader()
		return "", err
	})
	return leader
}

// findLeader returns the operator's pod that the lease names.
func (s *scope) findLeader() (corev1.Pod, error) {
	lease, err := cluster.Kube.CoordinationV1().Leases(env.OperatorNamespace).Get(s.ctx, env.OperatorName, metav1.GetOptions{})
	if err != nil {
		return corev1.Pod{}, err //nolint:wrapcheck // shown as the last state
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	pods := s.operators()
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return strings.HasPrefix(holder, p.Name) })
	if i < 0 {
		return corev1.Pod{}, fmt.Errorf("the lease is held by %q, which is no pod of the operator", holder)
	}
	return pods[i], nil
}

// versions returns the resourceVersions of all objects in the namespace but events, which are records of what was and not wishes.
func (s *scope) versions() map[string]string {
	s.Helper()
	lists, err := cluster.Kube.Discovery().ServerPreferredNamespacedResources()
	s.ok(err)
	client, err := metadata.NewForConfig(cluster.Config)
	s.ok(err)
	versions := map[string]string{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch"}}, lists) {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		s.ok(err)
		for _, resource := range list.APIResources {
			if resource.Name == "events" {
				continue
			}
			objects, err := client.Resource(group.WithResource(resource.Name)).Namespace(s.namespace).List(s.ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			s.ok(err)
			for _, o := range objects.Items {
				if strings.HasPrefix(o.Name, "client-") {
					continue // the test's own pod, whose status is the kubelet's
				}
				versions[resource.Name+"/"+o.Name+" "+string(o.UID)] = version(resource.Name, &o)
			}
		}
	}
	return versions
}

// version is what changes when somebody writes the object. Kubelets write the statuses of pods as they like.
func version(resource string, object *metav1.PartialObjectMetadata) string {
	if resource != "pods" {
		return object.ResourceVersion
	}
	var writes []string
	for _, entry := range object.ManagedFields {
		if entry.Manager != "kubelet" && entry.Time != nil {
			writes = append(writes, fmt.Sprint(entry.Manager, " at ", entry.Time))
		}
	}
	return strings.Join(writes, ", ")
}

// quiet is longer than the kernel takes to write out what was written, which changes the use of the volume, and the agent to see that.
const quiet = 45 * time.Second

// settle waits until nothing in the namespace was written for a while.
func (s *scope) settle() {
	s.Helper()
	last, since := "", time.Now()
	s.wait(changeTimeout, "the namespace to settle", func() (string, error) {
		now := fmt.Sprint(s.versions())
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return "something was written in the last seconds", nil
		}
		return "", nil
	})
}
