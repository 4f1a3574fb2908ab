package election

import (
	"fmt"
	"time"
)

// node is an instance: its pod, its clocks, its machine, what is on its volume, and its engine.
type node struct {
	w        *world
	index    int
	instance string
	uid      int
	// life is the process: what was meant for an earlier one does not reach it.
	life    int
	machine *Machine
	disk    Disk
	engine  engine
	rate    float64
	started time.Duration
	// slept is how long the monotonic clock stood still in this life.
	slept time.Duration
	// frozen: nothing runs. paused: the agent alone does not run.
	frozen, paused bool
	stalled        bool
	deleted        bool
	watched        int
	stamps         int64
	handover       string
	handoverTo     string
	// The promise that it gave last, until when (of the model's time).
	promisedUntil time.Duration
	promisedTo    string
	promisedEpoch int64
	backlog       []Event
	outbox        []Action
}

func (n *node) identity() string { return fmt.Sprintf("%s/%d", n.instance, n.uid) }

// clock is what the node's clocks say.
func (n *node) clock() Now {
	elapsed := time.Duration(float64(n.w.now-n.started) * n.rate)
	return Now{Mono: elapsed - n.slept, Fence: elapsed}
}

// boot starts a process; a new pod when asked.
func (n *node) boot(newPod bool) {
	if newPod {
		n.uid++
	}
	n.life++
	n.started, n.slept, n.backlog, n.outbox = n.w.now, 0, nil, nil
	n.paused, n.watched = false, 0
	n.stamps += 1000000
	n.engine.stop(false)
	n.engine.seq, n.engine.crashes = 0, 0
	n.machine = New(Self{
		Instance: n.instance, Identity: n.identity(), Stamp: n.stamps, NewName: n.w.newName,
	}, n.disk.clone(), n.clock())
	n.machine.without = n.w.without
	n.tell()
	life := n.life
	n.w.after(n.w.between(1, 300), func() { n.tick(life) })
}

func (w *world) newName() string {
	w.names++
	return fmt.Sprintf("d%d", w.names)
}

// initialise makes the first database.
func (n *node) initialise() {
	name := n.w.newName()
	n.engine.name, n.engine.clean = name, true
	n.engine.log = []row{{id: n.w.newRow()}}
	n.step(DataMade{Name: name})
}

// tell gives the machine its spec.
func (n *node) tell() {
	gone := map[string]bool{}
	for _, other := range n.w.nodes {
		gone[other.instance] = other.frozen || other.deleted || !other.engine.running()
	}
	n.step(SpecSeen{Spec: Spec{
		Members: n.w.members, W: n.w.w, Durations: modelDurations, MaxLag: 5, Initial: n.index == 0, Gone: gone, Stop: n.deleted,
		Handover: n.handoverTo, HandoverID: n.handover,
	}})
}

// tick is one turn of the agent.
func (n *node) tick(life int) {
	if n.life != life {
		return
	}
	n.w.after(n.w.between(150, 900), func() { n.tick(life) })
	n.watchdog()
	if n.frozen || n.paused {
		return
	}
	backlog := n.backlog
	n.backlog = nil
	for _, e := range backlog {
		n.step(e)
	}
	n.engine.turn(n)
	n.step(EngineSeen{Facts: n.facts()})
	n.step(Tick{})
	if n.w.chance(30) {
		n.tell()
	}
}

// watchdog kills the engine when the agent does not, in time.
func (n *node) watchdog() {
	if n.frozen || n.machine == nil || n.w.without == ruleDeadline {
		return
	}
	if deadline, ok := n.machine.Deadline(); ok && n.clock().Fence >= deadline && n.engine.mode != ModeDown {
		n.w.log("%s: watchdog", n.instance)
		n.engine.stop(false)
		n.engine.crashes++
	}
}

// receive gives an event to the process that it is meant for.
func (n *node) receive(life int, e Event) {
	if n.life != life {
		return
	}
	if n.frozen || n.paused {
		n.backlog = append(n.backlog, e)
		return
	}
	n.step(e)
}

// step runs the machine, and carries out its actions.
func (n *node) step(e Event) {
	before := n.machine.Want()
	actions := n.machine.Step(n.clock(), e)
	if after := n.machine.Want(); n.w.tracing && after.Seq != before.Seq {
		n.w.log("%s: %T: want %s source %v sync %v admit %v", n.instance, e, after.Mode, after.Source, after.Synchronous, after.Admit)
	}
	for _, a := range actions {
		n.act(a)
	}
}

func (n *node) act(a Action) {
	w := n.w
	switch a := a.(type) {
	case Persist:
		n.disk = a.Disk.clone()
	case ReadLease:
		w.read(n)
	case WriteLease:
		if w.tracing && !a.Record.sameContent(&w.api.record) {
			w.log("%s: writes %s epoch %d on %s", n.instance, a.Record.Holder, a.Record.Epoch, a.Base)
		}
		w.writeLease(n, a)
	case Ask:
		n.ask(a)
	case Reply:
		panic("answered by ask")
	}
}

// ask carries a question and its answer.
func (n *node) ask(a Ask) {
	life := n.life
	for _, peer := range n.w.nodes {
		if peer.instance != a.Instance {
			continue
		}
		n.w.send(n.index, peer.index, func() {
			if peer.frozen || peer.paused || peer.deleted && !peer.engine.running() {
				return
			}
			answer, ok := peer.answer(a.Question)
			if !ok {
				return
			}
			n.w.send(peer.index, n.index, func() { n.receive(life, Answered{Question: a.Question, Answer: answer}) })
		})
	}
}

func (n *node) answer(q Question) (Answer, bool) {
	var answer Answer
	found := false
	for _, a := range n.machine.Step(n.clock(), Asked{Question: q}) {
		if r, ok := a.(Reply); ok {
			answer, found = r.Answer, true
			continue
		}
		n.act(a)
	}
	if q.Kind == AskPromise && answer.Yes {
		n.promisedTo, n.promisedEpoch = q.Holder, q.Epoch
		// By its own clock, which may be slow: at least as long as this.
		n.promisedUntil = max(n.promisedUntil, n.w.now+time.Duration(float64(q.Lease)*0.9))
	}
	if n.w.tracing && q.Kind != AskIdentity {
		n.w.log("%s: asked by %s for %s: %v (position %d)", n.instance, q.From, q.Kind, answer.Yes, answer.Position)
	}
	return answer, found
}

// facts are what the agent sees of its engine.
func (n *node) facts() Facts {
	e := &n.engine
	f := Facts{
		Seq: e.seq, Mode: e.seenMode(), Position: Position(len(e.log)), Applied: e.applied(), Crashed: e.crashes,
		HealthyAt: n.clock().Mono, Standbys: map[string]Position{}, Receiving: e.source != nil, RewindFailed: e.rewindFailed,
	}
	if n.stalled {
		f.HealthyAt = -1
	}
	switch e.mode {
	case ModeReplica:
		f.Position = Position(e.replayed)
		f.Settled = e.source == nil && e.replayed == len(e.log) && len(e.log) >= e.consistent
	case ModeDown:
		f.Settled = e.clean
	}
	for name, s := range e.senders {
		if s.connected {
			f.Standbys[name] = Position(s.flushed)
		}
	}
	return f
}
