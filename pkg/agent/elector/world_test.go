package elector

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/record"
)

// A world of electors with engines that only count. What is around them (the API, the network, the
// volumes) can be broken, one thing for one instance at a time.

const (
	testNamespace = "shop"
	testLease     = "orders-primary"
)

var testDurations = election.DefaultDurations

// testClock is the clock of the bubble.
type testClock struct{ start time.Time }

func (c testClock) Read() Reading {
	up := time.Since(c.start) + time.Hour
	return Reading{Mono: up, Boot: up, Wall: time.Duration(time.Now().UnixNano())}
}

// node is an instance: an elector, and an agent with an engine that only counts.
type node struct {
	w        *world
	instance string
	elector  *Elector
	memory   *fakeMemory
	end      context.CancelFunc
	group    sync.WaitGroup

	mu       sync.Mutex
	spec     election.Spec
	want     election.Want
	wants    []election.Want
	seq      uint64
	mode     election.Mode
	position election.Position
	source   string
	deadline Deadline
	// stuck: the agent does nothing.
	stuck bool
}

func (n *node) hand(want election.Want) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.want = want
	n.wants = append(n.wants, want)
}

func (n *node) setDeadline(d Deadline) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deadline = d
}

func (n *node) guard() Deadline {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deadline
}

func (n *node) name() string { return n.elector.Status().Disk.Name }

// turn is one look of the agent, and of the watchdog.
func (n *node) turn() {
	expired := n.elector.Expired()
	n.mu.Lock()
	if n.deadline.Passed(n.elector.Clock.Read()) {
		n.mode, n.source = election.ModeDown, ""
	}
	if n.stuck {
		n.mu.Unlock()
		return
	}
	want := n.want
	switch want.Mode {
	case election.ModeDown, election.ModeReplica:
		n.mode, n.source = want.Mode, ""
		if want.Source != nil {
			n.source = want.Source.Instance
		}
	case election.ModePrimary:
		if !expired {
			n.mode, n.source = want.Mode, ""
			n.position++
		}
	case election.ModeClone, election.ModeRewind:
		n.mode, n.source = election.ModeDown, want.Source.Instance
	case election.ModeUnknown:
	}
	n.seq = want.Seq
	n.mu.Unlock()
	n.receive()
	n.elector.SeeEngine(n.facts())
}

// receive takes what the source has.
func (n *node) receive() {
	n.mu.Lock()
	source := n.w.nodes[n.source]
	n.mu.Unlock()
	if source == nil || !n.w.network.reaches(n.instance, source.instance) {
		return
	}
	source.mu.Lock()
	position := source.position
	source.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.position = max(n.position, position)
}

func (n *node) facts() election.Facts {
	standbys := map[string]election.Position{}
	for _, other := range n.w.nodes {
		if other == n || !n.w.network.reaches(n.instance, other.instance) {
			continue
		}
		name := other.name()
		other.mu.Lock()
		if other.source == n.instance && other.mode == election.ModeReplica {
			standbys[name] = other.position
		}
		other.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return election.Facts{
		Seq: n.seq, Mode: n.mode, Position: n.position, Settled: n.source == "", Receiving: n.source != "", Applied: true,
		HealthyAt: n.elector.Fence(), Standbys: standbys,
	}
}

func (n *node) primary() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mode == election.ModePrimary
}

func (n *node) tell(change func(*election.Spec)) {
	n.mu.Lock()
	change(&n.spec)
	spec := n.spec
	n.mu.Unlock()
	n.elector.SeeSpec(spec, metav1.ObjectMeta{})
}

// world is all of them.
type world struct {
	t       *testing.T
	api     *fakeAPI
	network *fakeNetwork
	nodes   map[string]*node
	clock   Clock
	begin   time.Time
	logger  klog.Logger
	// connect makes an elector that is connected to this world.
	connect func(Options) (*Elector, error)
}

// newWorld makes instances orders-0 to orders-2, the first of which may make a new database.
func newWorld(t *testing.T, w int) *world {
	t.Helper()
	world := emptyWorld(t)
	world.clock = testClock{start: world.begin}
	world.connect = func(o Options) (*Elector, error) {
		return newElector(o, &fakeAPIClient{world.api, o.Instance}, &fakePeer{world.network, o.Instance})
	}
	world.populate(w, testDurations)
	return world
}

func emptyWorld(t *testing.T) *world {
	t.Helper()
	logger, _ := ktesting.NewTestContext(t)
	w := &world{
		t: t, api: newFakeAPI(), network: &fakeNetwork{peers: map[string]answerer{}}, nodes: map[string]*node{},
		begin: time.Now(), logger: logger,
	}
	t.Cleanup(w.end)
	return w
}

func (w *world) populate(synchronous int, durations election.Durations) {
	members := []string{"orders-0", "orders-1", "orders-2"}
	for i, instance := range members {
		n := &node{w: w, instance: instance, memory: &fakeMemory{}, mode: election.ModeDown, spec: election.Spec{
			Members: members, W: synchronous, Durations: durations, MaxLag: 100, Initial: i == 0,
		}}
		w.nodes[instance] = n
		w.boot(n)
	}
}

// boot makes an elector from what is on the volume.
func (w *world) boot(n *node) {
	names := len(n.memory.content)
	e, err := w.connect(Options{
		Instance: n.instance, Identity: record.Identity{Pod: n.instance, UID: "1"}, Namespace: testNamespace, LeaseName: testLease,
		Memory: n.memory, Clock: w.clock, Metrics: NewMetrics(prometheus.NewRegistry()), Want: n.hand, SetDeadline: n.setDeadline,
		NewName: func() string {
			names++
			return fmt.Sprintf("%s-data-%d", n.instance, names)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.elector = e
}

// start runs all electors.
func (w *world) start() {
	for _, instance := range slices.Sorted(maps.Keys(w.nodes)) {
		n := w.nodes[instance]
		n.run()
		if n.spec.Initial {
			n.elector.DataMade(instance + "-data-0")
		}
	}
}

// run runs the elector of one.
func (n *node) run() {
	ctx, end := context.WithCancel(klog.NewContext(n.w.t.Context(), n.w.logger))
	n.end = end
	n.group.Go(func() {
		if err := n.elector.Run(ctx); err != nil {
			n.w.t.Error(err)
		}
	})
	n.tell(func(*election.Spec) {})
}

func (w *world) end() {
	for _, n := range w.nodes {
		if n.end != nil {
			n.end()
			n.group.Wait()
		}
	}
}

// primaries are the instances whose engine takes writes.
func (w *world) primaries() []string {
	var found []string
	for instance, n := range w.nodes {
		if n.primary() {
			found = append(found, instance)
		}
	}
	slices.Sort(found)
	return found
}

// run lets time pass, and looks that there is never more than one primary.
func (w *world) run(d time.Duration, until func() bool) time.Duration {
	w.t.Helper()
	for begin := time.Now(); ; {
		if until != nil && until() {
			return time.Since(begin)
		}
		if time.Since(begin) >= d {
			if until != nil {
				w.t.Fatalf("it did not come to that within %s; primaries %v", d, w.primaries())
			}
			return d
		}
		time.Sleep(50 * time.Millisecond)
		for _, n := range w.nodes {
			n.turn()
		}
		if p := w.primaries(); len(p) > 1 {
			w.t.Fatalf("there are %d primaries: %v", len(p), p)
		}
	}
}

func (w *world) primaryIs(instances ...string) func() bool {
	return func() bool {
		p := w.primaries()
		return len(p) == 1 && slices.Contains(instances, p[0])
	}
}

// settle runs until orders-0 is the primary and both others may be promoted.
func (w *world) settle() {
	w.t.Helper()
	w.start()
	w.run(time.Minute, func() bool {
		w.api.mu.Lock()
		r, _ := recordOf(w.api.lease)
		w.api.mu.Unlock()
		return w.primaryIs("orders-0")() && len(r.Candidates) == 3 && r.W == w.nodes["orders-0"].spec.W
	})
	w.run(time.Second, nil)
}
