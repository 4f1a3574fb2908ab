//go:build integration

package elector

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
)

// With a real API server, real TLS, and the real clocks.

// asAgent is what an agent may do, as its Role says it.
func asAgent(t *testing.T, config *rest.Config, namespace string) *rest.Config {
	t.Helper()
	kube := kubernetes.NewForConfigOrDie(config)
	meta := metav1.ObjectMeta{Name: "agent"}
	if _, err := kube.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{testLease},
		Verbs: []string{"get", "watch", "update", "create"},
	}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "agent"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "agent", Namespace: namespace}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":agent"}
	return config
}

func TestTheAPIServerKeepsItsWord(t *testing.T) {
	admin := apiserver.Start(t)
	namespace := apiserver.Namespace(t, admin)
	client, err := newLeaseClient(asAgent(t, admin, namespace), namespace, testLease)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 20 * time.Second
	// The Role is not known at once.
	var lease *coordinationv1.Lease
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if lease, err = client.read(t.Context(), limit); err == nil {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatal(err)
		}
	}
	if lease != nil {
		t.Fatalf("there is a Lease: %v", lease)
	}
	write := func(what string, lease *coordinationv1.Lease, r election.Record, want election.Outcome) *coordinationv1.Lease {
		t.Helper()
		lease, err := leaseWith(lease, &r)
		if err != nil {
			t.Fatal(err)
		}
		written, outcome, err := client.write(t.Context(), lease, limit)
		if outcome != want {
			t.Errorf("%s: %s, %v", what, outcome, err)
		}
		return written
	}
	r := testRecord()
	fresh := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: testLease, Namespace: namespace}}
	first := write("a new one", fresh, r, election.Committed)
	write("another new one", fresh, r, election.Conflict)
	r.Stamp++
	second := write("a renewal", first, r, election.Committed)
	write("a late one", first, r, election.Conflict)
	if lease, err = client.read(t.Context(), limit); err != nil || lease.ResourceVersion != second.ResourceVersion {
		t.Errorf("it is at %v, not %s: %v", lease, second.ResourceVersion, err)
	}
	if got, err := recordOf(lease); err != nil || got.Stamp != r.Stamp || got.Durations != r.Durations {
		t.Errorf("it says %+v, %v", got, err)
	}
	released := r
	released.Holder = ""
	third := write("a release", second, released, election.Committed)

	// An update of a Lease that is gone does not create it.
	if err := kubernetes.NewForConfigOrDie(admin).CoordinationV1().Leases(namespace).Delete(t.Context(), testLease, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	write("an update of one that is gone", third, r, election.Conflict)
	if lease, err = client.read(t.Context(), limit); err != nil || lease != nil {
		t.Errorf("it is there again: %v, %v", lease, err)
	}
	if again := write("a new one after that", fresh, r, election.Committed); again != nil && again.UID == first.UID {
		t.Error("it is the same")
	}
	write("an update of the one before", third, r, election.Conflict)
}

// line is a connection to the API server that can be frozen: what is sent gets lost in silence.
type line struct {
	address, target string

	mu     sync.Mutex
	thawed *sync.Cond
	frozen bool
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{address: listener.Addr().String(), target: target}
	l.thawed = sync.NewCond(&l.mu)
	t.Cleanup(func() {
		_ = listener.Close()
		l.freeze(false)
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer near.Close()
				l.wait()
				far, err := net.Dial("tcp", l.target)
				if err != nil {
					return
				}
				defer far.Close()
				go l.copy(near, far)
				l.copy(far, near)
			}()
		}
	}()
	return l
}

func (l *line) freeze(frozen bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = frozen
	l.thawed.Broadcast()
}

func (l *line) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.frozen {
		l.thawed.Wait()
	}
}

func (l *line) copy(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.wait()
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// realWorld is a world whose API server, network and clocks are real.
type realWorld struct {
	*world
	*network
	lines     map[string]*line
	namespace string
	kube      kubernetes.Interface
}

func newRealWorld(t *testing.T, durations election.Durations) *realWorld {
	t.Helper()
	config := apiserver.Start(t)
	w := &realWorld{
		world: emptyWorld(t), network: newNetwork(t), lines: map[string]*line{},
		namespace: apiserver.Namespace(t, config), kube: kubernetes.NewForConfigOrDie(config),
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.kube.CoordinationV1().Leases(w.namespace).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: testLease},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config = asAgent(t, config, w.namespace)
	config.TLSClientConfig.ServerName = target.Hostname()
	w.clock = SystemClock{}
	w.connect = func(o Options) (*Elector, error) {
		l := newLine(t, target.Host)
		w.lines[o.Instance] = l
		o.Namespace = w.namespace
		o.API = rest.CopyConfig(config)
		o.API.Host = "https://" + l.address
		var n int
		if _, err := fmt.Sscanf(o.Instance, "orders-%d", &n); err != nil {
			return nil, err
		}
		peers := w.network.peer(n)
		o.Peers = peers.options
		return New(o)
	}
	w.populate(1, durations)
	return w
}

func (w *realWorld) record() election.Record {
	lease, err := w.kube.CoordinationV1().Leases(w.namespace).Get(w.world.t.Context(), testLease, metav1.GetOptions{})
	if err != nil {
		w.world.t.Fatal(err)
	}
	r, err := recordOf(lease)
	if err != nil {
		w.world.t.Fatal(err)
	}
	return r
}

func (w *realWorld) settled(epoch int64) func() bool {
	return func() bool {
		r := w.record()
		return r.Epoch == epoch && len(w.primaries()) == 1 && strings.HasPrefix(r.Holder, w.primaries()[0]+"/") && len(r.Candidates) == 3 && r.W == 1
	}
}

func TestThreeInstancesElectInARealCluster(t *testing.T) {
	durations := election.Durations{Lease: 6 * time.Second, RenewDeadline: 4 * time.Second, RenewPeriod: 2 * time.Second, RetryPeriod: 500 * time.Millisecond}
	w := newRealWorld(t, durations)
	w.start()
	took := w.run(time.Minute, w.settled(1))
	t.Logf("a new database, with all candidates: %s", took)

	// The API is away, and so is DNS.
	for _, l := range w.lines {
		l.freeze(true)
	}
	w.dns.set(func() { w.dns.away = true })
	n := w.nodes["orders-0"]
	begin := time.Now()
	w.run(3*durations.Lease, func() bool { return !n.primary() || time.Since(begin) > 2*durations.Lease })
	if !n.primary() {
		t.Errorf("without the API there was no primary after %s", time.Since(begin))
	}
	for _, l := range w.lines {
		l.freeze(false)
	}
	w.dns.set(func() { w.dns.away = false })
	w.run(durations.Lease, nil)
	if r := w.record(); r.Epoch != 1 || !n.primary() {
		t.Errorf("the API came back, and the Lease says %+v", r)
	}

	// The primary's process ends, and its engine with it.
	n.end()
	n.group.Wait()
	n.mu.Lock()
	n.stuck = true
	n.mode, n.source = election.ModeDown, ""
	n.mu.Unlock()
	took = w.run(time.Minute, w.primaryIs("orders-1", "orders-2"))
	t.Logf("another primary: %s after the end of the first, with a Lease of %s", took, durations.Lease)

	// The next one hands over, as soon as the third follows it.
	second := w.nodes[w.primaries()[0]]
	w.run(time.Minute, func() bool { return len(second.facts().Standbys) == 1 })
	w.run(time.Second, nil)
	second.tell(func(s *election.Spec) { s.Stop = true })
	took = w.run(20*time.Second, func() bool { return len(w.primaries()) == 1 && !second.primary() })
	t.Logf("a handover: %s", took)
	if r := w.record(); r.Epoch != 3 {
		t.Errorf("the Lease says %+v", r)
	}
	if took > 5*time.Second {
		t.Errorf("the handover took %s", took)
	}
}
