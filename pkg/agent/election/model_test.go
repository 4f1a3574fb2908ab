package election

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The model: several instances with their machines, disks, clocks and engines, a Lease, and a network, in
// one process without any goroutine. What happens next is drawn from a seed; what goes wrong, and when,
// is a list of faults. After every event the invariants of the protocol are checked.

// world is one run of the model.
type world struct {
	rng     *rand.Rand
	now     time.Duration
	queue   events
	nodes   []*node
	api     api
	members []string
	w       int
	without rule
	// cut[a][b]: what a sends does not reach b; the API has the last index.
	cut [][]bool

	rows      int
	acked     map[int]int // row -> w at its acknowledgement
	ackEpoch  int64
	used      map[int64]string
	emptied   map[string]bool
	recordedW int
	released  map[string]int64
	names     int
	durable   bool

	violation string
	trace     []string
	tracing   bool
	steps     int
	promoted  int
	reigns    int
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// modelDurations are short, so that a short run has many reigns.
var modelDurations = Durations{Lease: 6 * time.Second, RenewDeadline: 4 * time.Second, RenewPeriod: 2 * time.Second, RetryPeriod: 500 * time.Millisecond}

// schedule is what a run is made from.
type schedule struct {
	Seed   uint64
	Nodes  int
	W      int
	Faults []fault
	// Settle asks for a primary at the end, with all faults gone.
	Settle bool
}

func newWorld(s schedule, without rule, tracing bool) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(s.Seed, 7)), acked: map[int]int{}, used: map[int64]string{}, emptied: map[string]bool{}, released: map[string]int64{},
		w: s.W, without: without, tracing: tracing,
	}
	w.api = api{up: true, exists: true, version: 1}
	for i := range s.Nodes {
		w.members = append(w.members, fmt.Sprintf("db-%d", i))
	}
	w.cut = make([][]bool, s.Nodes+1)
	for i := range w.cut {
		w.cut[i] = make([]bool, s.Nodes+1)
	}
	for i := range s.Nodes {
		n := &node{w: w, index: i, instance: w.members[i], rate: 0.95 + 0.1*w.rng.Float64(), engine: engine{mode: ModeDown}}
		w.nodes = append(w.nodes, n)
	}
	for _, n := range w.nodes {
		n.boot(true)
	}
	w.nodes[0].initialise()
	for _, f := range s.Faults {
		w.after(f.At, func() { f.strike(w) })
	}
	w.after(w.between(10, 200), w.write)
	return w
}

// run goes on until the time is over, or an invariant is broken.
func (w *world) run(until time.Duration) {
	for w.violation == "" && len(w.queue) > 0 && w.queue[0].at <= until {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		w.steps++
	}
	w.now = max(w.now, until)
}

func (w *world) after(d time.Duration, do func()) {
	w.rows++ // a number that grows with every event keeps the order of equal times
	heap.Push(&w.queue, event{at: w.now + d, seq: w.rows, do: do})
}

// between draws a time in milliseconds.
func (w *world) between(low, high int) time.Duration {
	return time.Duration(low+w.rng.IntN(high-low+1)) * time.Millisecond
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) fail(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
		w.log("VIOLATION %s", w.violation)
	}
}

func (w *world) log(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%8.3fs  ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

func (w *world) story() string { return strings.Join(w.trace, "\n") }

// send carries something from a to b (the API is len(nodes)): it arrives late, never, or twice.
func (w *world) send(a, b int, arrive func()) bool {
	if w.cut[a][b] || w.chance(1) {
		return false
	}
	delay := w.between(1, 30)
	if w.chance(3) {
		delay = w.between(100, 3000)
	}
	deliver := func() {
		if !w.cut[a][b] {
			arrive()
		}
	}
	w.after(delay, deliver)
	if w.chance(1) {
		w.after(delay+w.between(1, 2000), deliver)
	}
	return true
}

// write is a client that writes to whoever takes writes.
func (w *world) write() {
	for _, n := range w.nodes {
		n.engine.clientWrite(n)
	}
	w.after(w.between(20, 400), w.write)
}

// newRow is a row's number.
func (w *world) newRow() int {
	w.rows++
	return w.rows
}

// acknowledge notes a commit that a client was told of.
func (w *world) acknowledge(n *node, r row, quorum int) {
	if _, again := w.acked[r.id]; again {
		return
	}
	// What the record does not promise yet, a claim need not find.
	w.acked[r.id] = min(quorum, w.recordedW)
	if r.epoch < w.ackEpoch {
		w.fail("two primaries: %s acknowledged row %d under epoch %d after one under epoch %d", n.instance, r.id, r.epoch, w.ackEpoch)
	}
	w.ackEpoch = max(w.ackEpoch, r.epoch)
}

// checkPromoted: whoever takes writes has every row that was acknowledged by a synchronous primary.
func (w *world) checkPromoted(n *node) {
	w.promoted++
	if n.engine.name != n.disk.Name || len(n.engine.log) < n.engine.consistent {
		w.fail("%s was promoted with data that is not whole", n.instance)
	}
	has := make(map[int]bool, len(n.engine.log))
	for _, r := range n.engine.log {
		has[r.id] = true
	}
	for id, quorum := range w.acked {
		if quorum > 0 && !has[id] {
			w.fail("lost: %s runs as primary without row %d, which was acknowledged", n.instance, id)
		}
	}
	for _, other := range w.nodes {
		if other != n && other.engine.takesWrites() && !other.frozen && other.engine.quorum() == 0 {
			w.fail("two primaries: %s was promoted while %s takes writes", n.instance, other.instance)
		}
	}
}
