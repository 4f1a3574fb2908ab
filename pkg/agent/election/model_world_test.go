package election

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The model: several instances with their machines, disks, clocks and engines, a Lease, and a network, in
// one process without any goroutine. What happens next is drawn from a seed; what goes wrong, and when,
// is a list of faults. At every acknowledgement, commit, claim and promotion the invariants of the
// protocol are checked (model_invariant_test.go).

// schedule is what a run is made from.
type schedule struct {
	Seed  uint64
	Nodes int
	W     int
	// Lossy: now and then the network loses, delays or doubles something.
	Lossy bool
	// Settle asks for a primary, and for replicas, some time after the last fault.
	Settle bool
	Faults []fault
}

// world is one run of the model.
type world struct {
	rng     *rand.Rand
	now     time.Duration
	queue   []event
	order   int
	nodes   []*node
	api     api
	members []string
	// w and durations are what the user asks for.
	w         int
	durations Durations
	without   ruleSet
	lossy     bool
	// calm: what usually works does work.
	calm bool
	// cut[a][b]: what a sends does not reach b; the API has the last index.
	cut [][]bool
	// armed are faults that wait for a write of the Lease that says something new.
	armed []fault

	rows  int
	names int
	truth truth

	violation string
	trace     []string
	tracing   bool
	said      map[string]string
}

type event struct {
	at    time.Duration
	order int
	do    func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// modelDurations are short, so that a short run has many reigns.
var modelDurations = Durations{Lease: 6 * time.Second, RenewDeadline: 4 * time.Second, RenewPeriod: 2 * time.Second, RetryPeriod: 500 * time.Millisecond}

// otherDurations are what they are changed to: shorter, longer, and with as little reserve as is allowed.
var otherDurations = []Durations{
	modelDurations,
	{Lease: 4200 * time.Millisecond, RenewDeadline: 3 * time.Second, RenewPeriod: 1200 * time.Millisecond, RetryPeriod: 400 * time.Millisecond},
	{Lease: 11 * time.Second, RenewDeadline: 8 * time.Second, RenewPeriod: 3 * time.Second, RetryPeriod: 500 * time.Millisecond},
	{Lease: 6 * time.Second, RenewDeadline: 4800 * time.Millisecond, RenewPeriod: 2 * time.Second, RetryPeriod: 500 * time.Millisecond},
	// Too little reserve: it is refused.
	{Lease: 6 * time.Second, RenewDeadline: 5500 * time.Millisecond, RenewPeriod: 2 * time.Second, RetryPeriod: 500 * time.Millisecond},
}

// modelLimits are as much shorter as modelDurations are.
var modelLimits = limits{
	fresh: 1500 * time.Millisecond, askPause: 500 * time.Millisecond, askOnStart: 300 * time.Millisecond, stall: 6 * time.Second,
	restart: 4 * time.Second, restartPause: time.Minute, handover: 8 * time.Second, stop: 1500 * time.Millisecond, behind: 15 * time.Second, chain: 3,
}

func newWorld(s schedule, without ruleSet, tracing bool) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(s.Seed, 7)), w: s.W, durations: modelDurations, without: without, lossy: s.Lossy, tracing: tracing,
		truth: newTruth(), said: map[string]string{},
	}
	w.api = api{up: true, exists: true, version: 1}
	w.cut = make([][]bool, s.Nodes+1)
	for i := range w.cut {
		w.cut[i] = make([]bool, s.Nodes+1)
	}
	for i := range s.Nodes {
		n := &node{w: w, index: i, instance: instanceNames[i], ownRate: 0.955 + 0.09*w.rng.Float64()}
		n.rate = n.ownRate
		n.engine = engine{n: n, mode: ModeDown}
		w.nodes = append(w.nodes, n)
	}
	w.members = instanceNames[:s.Nodes]
	for _, n := range w.nodes {
		n.boot(true)
	}
	w.nodes[0].initialise()
	for _, f := range s.Faults {
		w.after(f.At, func() { f.strike(w) })
	}
	w.after(w.between(100, 300), w.pulse)
	return w
}

var instanceNames = []string{"db-0", "db-1", "db-2", "db-3", "db-4", "db-5"}

// run goes through a schedule, and returns which invariant was broken, if any.
func (s *schedule) run(without ruleSet, tracing bool) *world {
	w := newWorld(*s, without, tracing)
	var end time.Duration
	for _, f := range s.Faults {
		end = max(end, f.At+f.For)
	}
	w.until(end + 11*time.Second)
	if s.Settle && w.violation == "" {
		w.settle()
	}
	return w
}

// until goes on until that time, or until an invariant is broken.
func (w *world) until(end time.Duration) {
	for w.violation == "" && len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.pop()
		w.now = e.at
		e.do()
	}
	w.now = max(w.now, end)
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	w.queue = append(w.queue, event{at: w.now + d, order: w.order, do: do})
	q := w.queue
	for i := len(q) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q[i].before(&q[parent]) {
			break
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
}

func (w *world) pop() event {
	q := w.queue
	first, last := q[0], len(q)-1
	q[0], q[last] = q[last], event{}
	q = q[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && q[child+1].before(&q[child]) {
			child++
		}
		if !q[child].before(&q[i]) {
			break
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
	w.queue = q
	return first
}

// between draws a time in milliseconds.
func (w *world) between(low, high int) time.Duration {
	return time.Duration(low+w.rng.IntN(high-low+1)) * time.Millisecond
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

// fail notes a broken invariant; the first one counts. Its name comes first.
func (w *world) fail(invariant, format string, args ...any) {
	if w.violation == "" {
		w.violation = invariant + ": " + fmt.Sprintf(format, args...)
		w.log("VIOLATION: %s", w.violation)
	}
}

func (w *world) log(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%8.3fs  ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// story is what happened, in lines.
func (w *world) story() string { return strings.Join(w.trace, "\n") }

// send carries something from a to b (the API is len(nodes)): it may arrive late, never, or twice.
func (w *world) send(a, b int, arrive func()) {
	if w.cut[a][b] {
		return
	}
	delay := w.between(1, 30)
	deliver := func() {
		if !w.cut[a][b] {
			arrive()
		}
	}
	if w.lossy {
		switch luck := w.rng.IntN(100); {
		case luck < 1:
			return
		case luck < 4:
			delay = w.between(100, 3000)
		case luck < 5:
			w.after(delay+w.between(1, 2000), deliver)
		}
	}
	w.after(delay, deliver)
}

// pulse lets clients write to whoever takes writes, and rows move.
func (w *world) pulse() {
	w.after(w.between(100, 300), w.pulse)
	for _, n := range w.nodes {
		n.engine.clientWrite()
	}
	for _, n := range w.nodes {
		n.engine.move()
	}
}

func (w *world) node(instance string) *node {
	for _, n := range w.nodes {
		if n.instance == instance {
			return n
		}
	}
	return nil
}

// reigning is the node that the Lease was given to last, by an instance and not by hand.
func (w *world) reigning() *node { return w.truth.reign }

// settle ends all faults, and asks for a primary and replicas within a bounded time.
func (w *world) settle() {
	w.heal()
	acked := w.truth.acknowledged
	w.until(w.now + settleTime)
	if w.violation != "" {
		return
	}
	n := w.reigning()
	switch {
	case n == nil || n.engine.mode != ModePrimary || w.api.record.Holder != n.identity():
		w.fail("primary in bounded time", "%s after the last fault there is no primary", settleTime)
	case w.truth.acknowledged == acked:
		w.fail("primary in bounded time", "%s after the last fault %s acknowledges nothing", settleTime, n.instance)
	default:
		for _, other := range w.nodes {
			if other != n && !other.engine.foreign && !n.engine.streams(other) {
				w.fail("replicas in bounded time", "%s after the last fault %s does not follow %s", settleTime, other.instance, n.instance)
			}
		}
	}
}

const settleTime = 40 * time.Second
