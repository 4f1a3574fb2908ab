//go:build e2e && peers

package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/hack/e2e/env"
	"github.com/platform-io/database-operator/hack/peers/patroni"
)

// peerName is the name of every group of Patroni; each has a namespace of its own.
const peerName = "peer"

// patronis is a subject: three pods with Patroni.
type patronis struct{ settings patroni.Settings }

func (p patronis) provision(s *scope) *group {
	s.Helper()
	manifests, err := patroni.Manifests(peerName, rand.Text(), p.settings)
	s.ok(err)
	_, err = cluster.Kubectl(s.ctx, manifests, "apply", "--server-side", "--namespace", s.namespace, "-f", "-")
	s.ok(err)
	g, err := p.tryAllReady(s, provisionTimeout)
	s.ok(err)
	return g
}

func (p patronis) tryAllReady(s *scope, timeout time.Duration) (*group, error) {
	var g *group
	err := env.Poll(s.ctx, timeout, "all pods of Patroni to be ready", func(context.Context) (string, error) {
		var err error
		if g, err = p.look(s); err != nil {
			return "", err
		}
		return p.trouble(s, g)
	})
	return g, err //nolint:wrapcheck // it says what was waited for
}

func (p patronis) look(s *scope) (*group, error) {
	g := &group{pods: map[string]*corev1.Pod{}}
	pods, err := cluster.Kube.CoreV1().Pods(s.namespace).List(s.ctx, metav1.ListOptions{LabelSelector: patroni.LabelRole})
	if err != nil {
		return nil, err //nolint:wrapcheck // shown as the last state
	}
	holder, err := p.holder(s)
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		g.pods[pod.Name] = pod
		if pod.Name == holder && pod.Labels[patroni.LabelRole] == patroni.RolePrimary {
			g.primary = pod.Name
		}
	}
	return g, nil
}

// trouble says what is not as it should be: the primary itself says who follows it.
func (p patronis) trouble(s *scope, g *group) (string, error) {
	if len(g.pods) != 3 || g.primary == "" {
		return fmt.Sprintf("there are %d pods with a role, and the primary is %q", len(g.pods), g.primary), nil
	}
	for name, pod := range g.pods {
		switch {
		case notReady(pod) != "":
			return name + ": " + notReady(pod), nil
		case name != g.primary && pod.Labels[patroni.LabelRole] == patroni.RolePrimary:
			return name + " has the label of the primary, too", nil
		}
	}
	states, err := p.exec(s, g.primary, "psql", "-XAtU", "postgres", "-c", "select sync_state from pg_stat_replication where state = 'streaming'")
	if err != nil {
		return "", err
	}
	following := strings.Fields(states)
	if len(following) != 2 || slices.Contains(following, "sync") != p.settings.Synchronous() {
		return fmt.Sprintf("replicas that stream: %v", following), nil
	}
	return "", nil
}

func (patronis) exec(s *scope, pod string, command ...string) (string, error) {
	return cluster.Kubectl(s.ctx, "", append([]string{"exec", "--namespace", s.namespace, pod, "--"}, command...)...) //nolint:wrapcheck // it says what it did
}

func (p patronis) holder(s *scope) (string, error) {
	return patroni.Holder(s.ctx, cluster.Kube, s.namespace, peerName, p.settings) //nolint:wrapcheck // it says what it did
}

func (patronis) writeURI(s *scope, file string) error {
	secret, err := cluster.Kube.CoreV1().Secrets(s.namespace).Get(s.ctx, peerName, metav1.GetOptions{})
	if err != nil {
		return err //nolint:wrapcheck // shown with the test's name
	}
	service, err := cluster.Kube.CoreV1().Services(s.namespace).Get(s.ctx, peerName, metav1.GetOptions{})
	if err != nil {
		return err //nolint:wrapcheck // shown with the test's name
	}
	uri := url.URL{
		Scheme: "postgresql", User: url.UserPassword("postgres", string(secret.Data["superuser"])),
		Host: net.JoinHostPort(service.Spec.ClusterIP, "5432"), Path: "postgres", RawQuery: "sslmode=disable",
	}
	return os.WriteFile(file, []byte(uri.String()), 0o600) //nolint:wrapcheck // it says which file
}

func (p patronis) switchOver(f *faulted) error {
	_, err := p.exec(f.scope, f.primary, patroni.SwitchOver(f.primary)...)
	return err
}

// TestPeers lets the same faults befall databases of this operator and of Patroni, and measures.
func TestPeers(t *testing.T) {
	if err := cluster.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.BuildImage(t.Context(), patroni.Image); err != nil {
		t.Fatal(err)
	}
	for _, b := range peerBeds() {
		b.measures = true
		t.Run(b.name, func(t *testing.T) { newBed(t, b).run(t, peerFaults()) })
	}
}

func peerBeds() []*bed {
	tuned, defaults := patroni.Tuned(), patroni.Defaults()
	return []*bed{
		{subject: operators{1}, name: "ours, synchronous", synchronous: true},
		{subject: patronis{tuned}, name: "Patroni, tuned, synchronous", synchronous: true},
		{subject: operators{0}, name: "ours, asynchronous"},
		{subject: patronis{defaults}, name: "Patroni, defaults, asynchronous"},
	}
}

// peerFaults are those of the fault tests that mean the same to both, and a switchover.
func peerFaults() []fault {
	var chosen []fault
	for _, f := range slices.Concat(processFaults, nodeFaults, controlPlaneFaults) {
		if slices.Contains([]string{"postmaster killed", "pod deleted", "node cut off", "node frozen", "API server stopped"}, f.name) {
			chosen = append(chosen, f)
		}
	}
	return append(chosen, fault{name: "switchover", gap: processGap, after: anotherPrimary, cause: func(f *faulted) {
		f.ok(f.bed.switchOver(f))
		f.lasts(5 * time.Second)
	}})
}
