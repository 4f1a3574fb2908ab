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

	"github.com/platform-io/database-operator/hack/audit"
	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/e2e/env"
	"github.com/platform-io/database-operator/hack/peers"
	"github.com/platform-io/database-operator/hack/peers/patroni"
)

// peerName is the name of every group of Patroni; each has a namespace of its own.
const peerName = "peer"

// patroniGroup is a subject: three pods with Patroni.
type patroniGroup struct{ settings patroni.Settings }

func (p patroniGroup) provision(s *scope) *group {
	s.Helper()
	manifests, err := patroni.Manifests(peerName, rand.Text(), p.settings)
	s.ok(err)
	_, err = cluster.Kubectl(s.ctx, manifests, "apply", "--server-side", "--namespace", s.namespace, "-f", "-")
	s.ok(err)
	g, err := p.tryAllReady(s, provisionTimeout)
	s.ok(err)
	return g
}

func (p patroniGroup) tryAllReady(s *scope, timeout time.Duration) (*group, error) {
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

func (p patroniGroup) look(s *scope) (*group, error) {
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
func (p patroniGroup) trouble(s *scope, g *group) (string, error) {
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
	if settled, err := p.group(s).Settled(s.ctx, g.primary); err != nil || !settled {
		return "no synchronous replica is recorded", err //nolint:wrapcheck // shown as the last state
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

func (patroniGroup) exec(s *scope, pod string, command ...string) (string, error) {
	return cluster.Kubectl(s.ctx, "", append([]string{"exec", "--namespace", s.namespace, pod, "--"}, command...)...) //nolint:wrapcheck // it says what it did
}

func (p patroniGroup) holder(s *scope) (string, error) {
	return p.group(s).Holder(s.ctx) //nolint:wrapcheck // it says what it did
}

func (p patroniGroup) group(s *scope) patroni.Group {
	return patroni.Group{Settings: p.settings, Kube: cluster.Kube, Namespace: s.namespace, Name: peerName}
}

func (patroniGroup) writeURI(s *scope, file string) error {
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

func (p patroniGroup) switchOver(f *faulted) error {
	_, err := p.exec(f.scope, f.primary, patroni.SwitchOver(f.primary)...)
	return err
}

// TestPeers measures databases of this operator and of Patroni: first what they ask of the API server while nothing happens, all at one time;
// then what the same faults do to them, one database after the other, in rounds, so that the machine's moods meet all.
func TestPeers(t *testing.T) {
	for _, err := range []error{cluster.BuildPlugin(t.Context()), cluster.BuildImage(t.Context(), patroni.Image)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	beds := peerBeds()
	file := &peers.File{Pairs: []peers.Pair{
		{Name: "Synchronous", Ours: beds[0].name, Peer: beds[1].name},
		{Name: "Asynchronous, as both are by default", Ours: beds[2].name, Peer: beds[3].name},
	}}
	save = func(t *testing.T) {
		t.Helper()
		file.File = *measured
		if err := file.Save(strings.TrimSuffix(*resultsFile, ".json")); err != nil {
			t.Error(err)
		}
	}
	t.Run("settled", func(t *testing.T) { measureSettled(t, beds, file) })
	for range *repeatFaults {
		for _, b := range beds {
			untilPodsAreGone(t)
			t.Run(b.name, func(t *testing.T) { newBed(t, b).round(t, peerFaults()) })
		}
	}
}

// untilPodsAreGone waits until those of the databases before use nothing any more. What is left of their namespaces goes later.
func untilPodsAreGone(t *testing.T) {
	t.Helper()
	err := env.Poll(t.Context(), provisionTimeout, "pods to go", func(ctx context.Context) (string, error) {
		left := 0
		for namespace := range deleted.Range {
			pods, err := cluster.Kube.CoreV1().Pods(fmt.Sprint(namespace)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return "", err //nolint:wrapcheck // shown as the last state
			}
			left += len(pods.Items)
		}
		if left > 0 {
			return fmt.Sprintf("there are %d", left), nil
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func peerBeds() []*bed {
	beds := []*bed{
		{subject: ourDatabase{synchronous: 1}, name: "ours with synchronousReplicas 1", synchronous: true},
		{subject: patroniGroup{patroni.Tuned()}, name: "Patroni tuned, synchronous_mode", synchronous: true},
		{subject: ourDatabase{}, name: "ours with defaults"},
		{subject: patroniGroup{patroni.Defaults()}, name: "Patroni with defaults"},
	}
	for _, b := range beds {
		b.measures = true
	}
	return beds
}

// measureSettled counts requests in the audit log.
func measureSettled(t *testing.T, beds []*bed, file *peers.File) {
	t.Helper()
	log := cluster.ClusterFile("logs", "audit.log")
	if _, err := os.Stat(log); err != nil {
		t.Skip("it reads the API server's audit log: bring the local cluster up with --audit, or let the tests do it")
	}
	for _, b := range beds {
		s, g := newBed(t, b).database(t)
		if p, other := b.subject.(patroniGroup); other {
			version, err := p.exec(s, g.primary, "bash", "-c", "patroni --version; postgres --version")
			s.ok(err)
			file.Versions = strings.Join(strings.Split(strings.TrimSpace(version), "\n"), ", ")
		}
	}
	time.Sleep(quiet)
	from := time.Now()
	time.Sleep(*settledFor)
	to := time.Now()
	time.Sleep(2 * time.Second) // until what was asked last is in the log
	for _, b := range beds {
		of := func(wanted func(*audit.Request) bool) []audit.Count {
			requests, err := audit.ReadFile(log, func(r audit.Request) bool { return wanted(&r) })
			if err != nil {
				t.Fatal(err)
			}
			return audit.Tally(requests, from, to)
		}
		file.Settled = append(file.Settled, peers.Settled{
			Database: b.name, Span: history.Duration{Duration: to.Sub(from)},
			Own:    of(func(r *audit.Request) bool { return isOwn(r, b.namespace) }),
			Others: of(func(r *audit.Request) bool { return isOfControlPlane(r, b.namespace) }),
		})
	}
	t.Cleanup(func() { save(t) })
}

// isOwn: pods of the namespace asked for it, or the operator did on their behalf.
func isOwn(r *audit.Request, namespace string) bool {
	return strings.HasPrefix(r.User, "system:serviceaccount:"+namespace+":") ||
		strings.HasPrefix(r.UserAgent, "database-operator/") && r.Namespace == namespace
}

// isOfControlPlane: a controller asked for it. What kubelets ask for is not counted, and is the same for all.
func isOfControlPlane(r *audit.Request, namespace string) bool {
	return r.Namespace == namespace && strings.HasPrefix(r.User, "system:") && !strings.HasPrefix(r.User, "system:node:") && !isOwn(r, namespace)
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
