package election

import (
	"fmt"
	"slices"
	"strconv"
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
	// rate is how fast its clocks are; they were last set at setAt, to set.
	rate, ownRate float64
	setAt         time.Duration
	set           Now
	// asleep: the monotonic clock stands still.
	asleep bool
	// fast: its clocks are out of order.
	fast bool
	// frozen: nothing runs. paused: the agent alone does not run.
	frozen, paused bool
	// leastW is the least that was asked for while it is frozen, by its engine, its machine, and the Lease.
	leastW int
	// stalled: the volume does not answer. slow: it takes its time.
	stalled, slow bool
	healthyAt     time.Duration
	deleted       bool
	fenced        bool
	// awayUntil is until when it may not be heard.
	awayUntil    time.Duration
	force        string
	stamps       int64
	handover     string
	handoverTo   string
	identityText string
	// outbox are actions that wait for an earlier Persist.
	outbox []Action
	busy   bool
	// crashIn crashes the process before that action from now, when it is not zero.
	crashIn int
	// want is what the engine is led to.
	want Want
	// deadline is the watchdog's; before watchdogAt it does not run.
	deadline, watchdogAt time.Duration
	limited              bool
	backlog              []func()
	replies              map[int64]func(Answer)
	tokens               int64
	promised             promised
	// ghostUntil is until when the pod that this one replaced may run still, where nobody reaches it.
	ghostUntil time.Duration
	// looking: facts are on their way.
	looking bool
	// broken: the engine does not start as primary.
	broken bool
	// workedAt is when the engine last took writes, restartedAt when it was last restarted in place, in
	// the reign restarted.
	workedAt, restartedAt, bootedAt time.Duration
	restarted                       *holding
	// renewing is the reign that it renews, startingAt when it took that up after the engine last worked.
	renewing   *holding
	startingAt time.Duration
	// leavingAt is when it last was about to hand over.
	leavingAt time.Duration
	answered  answeredAt
}

// wantAction leads the engine to a newer Want, when what was before it in the outbox is done.
type wantAction struct{ want Want }

func (wantAction) action() {}

func (n *node) identity() string { return n.identityText }

// clock is what the node's clocks say.
func (n *node) clock() Now {
	elapsed := time.Duration(float64(n.w.now-n.setAt) * n.rate)
	now := Now{Mono: n.set.Mono, Fence: n.set.Fence + elapsed}
	if !n.asleep {
		now.Mono += elapsed
	}
	return now
}

// setClock goes on from now with other rates.
func (n *node) setClock(rate float64, asleep bool) {
	n.set, n.setAt = n.clock(), n.w.now
	n.rate, n.asleep = rate, asleep
}

// boot starts a process; a new pod when asked.
func (n *node) boot(newPod bool) {
	if newPod {
		n.uid++
		n.identityText = n.instance + "/" + strconv.Itoa(n.uid)
		if n.w.without&setOf(ruleIdentity) != 0 {
			n.identityText = n.instance
		}
	}
	n.life++
	n.outbox, n.busy, n.backlog, n.replies, n.crashIn = nil, false, nil, map[int64]func(Answer){}, 0
	n.paused, n.looking = false, false
	n.stamps += 1000000
	n.engine.kill()
	n.engine.seq, n.engine.crashes, n.engine.crashed, n.engine.startAfter = 0, 0, false, 0
	n.bootedAt, n.workedAt = n.w.now, n.w.now
	n.want, n.limited = Want{Mode: ModeDown}, false
	n.machine = New(Self{Instance: n.instance, Identity: n.identityText, Stamp: n.stamps, NewName: n.w.newName}, n.disk, n.clock())
	n.machine.without, n.machine.limits = n.w.without, modelLimits
	n.healthyAt, n.engine.lost = -1, false
	if n.disk.Name != "" && !n.disk.Rebuilding && n.engine.name == "" {
		n.step(DataLost{})
	}
	n.tell()
	life := n.life
	n.w.after(n.w.between(1, 300), func() { n.tick(life) })
}

func (w *world) newName() string {
	w.names++
	return "d" + strconv.Itoa(w.names)
}

// initialise makes the first database.
func (n *node) initialise() {
	name := n.w.newName()
	n.engine.name, n.engine.clean = name, true
	n.engine.tip = n.w.newRow(nil, 0)
	n.step(DataMade{Name: name})
}

// tell gives the machine its spec.
func (n *node) tell() {
	w := n.w
	gone := map[string]bool{}
	members := w.members
	for _, other := range w.nodes {
		if other.fenced {
			members = slices.DeleteFunc(slices.Clone(members), func(instance string) bool { return instance == other.instance })
		}
		if other.frozen || other.deleted || other.engine.mode == ModeDown {
			gone[other.instance] = true
		}
	}
	n.step(SpecSeen{Spec: Spec{
		Members: members, W: w.w, Durations: w.durations, MaxLag: 5, Initial: n.index == 0, Gone: gone, Stop: n.deleted || n.fenced,
		Handover: n.handoverTo, HandoverID: n.handover, Force: n.force,
	}})
}

// tick is one turn of the agent.
func (n *node) tick(life int) {
	if n.life != life {
		return
	}
	n.w.after(n.w.between(100, 600), func() { n.tick(life) })
	if n.frozen || n.paused {
		return
	}
	if n.engine.lost {
		n.engine.lost = false
		n.step(DataLost{})
	}
	n.engine.turn()
	if !n.stalled {
		n.healthyAt = n.clock().Fence
	}
	n.look(life)
	if n.w.chance(30) && n.life == life {
		n.tell()
	}
}

// look finds facts, which may take a while: much may have happened when they are told.
func (n *node) look(life int) {
	if n.looking || n.life != life {
		return
	}
	facts := n.facts()
	if !n.w.chance(20) {
		n.report(&facts)
		return
	}
	n.looking = true
	n.w.after(n.w.between(1, 400), func() {
		n.later(life, func() {
			n.looking = false
			n.report(&facts)
		})
	})
}

// report tells the machine what was seen.
func (n *node) report(facts *Facts) {
	n.step(EngineSeen{Facts: *facts})
	n.engine.reported(facts.Crashed, n.machine.want.Seq)
}

// watchdog kills the engine when the agent does not, in time.
func (n *node) watchdog() {
	if n.limited && !n.frozen && n.w.now >= n.watchdogAt && n.engine.mode != ModeDown && n.clock().Fence >= n.deadline {
		n.w.log("%s: watchdog", n.instance)
		n.engine.kill()
		n.engine.ended()
	}
}

// receive gives an event to the process that it is meant for.
func (n *node) receive(life int, e Event) {
	n.later(life, func() { n.step(e) })
}

// later does something in a process, as soon as it runs.
func (n *node) later(life int, do func()) {
	switch {
	case n.life != life:
	case n.frozen || n.paused:
		n.backlog = append(n.backlog, do)
	default:
		do()
	}
}

// wake lets a process go on.
func (n *node) wake() {
	n.watchdog()
	if n.frozen || n.paused {
		return
	}
	backlog := n.backlog
	n.backlog = nil
	life := n.life
	for _, do := range backlog {
		if n.life == life {
			do()
		}
	}
	n.carryOut()
}

// step runs the machine, and carries out its actions.
func (n *node) step(e Event) {
	m := n.machine
	before, lived := m.want.Seq, m.hold != nil && m.hold.live
	n.watchReign(m.hold)
	actions := m.Step(n.clock(), e)
	n.deadline, n.limited = m.Deadline()
	if m.want.Seq != before {
		n.w.log("%s: %T: want %s source %v epoch %d sync %v admit %v", n.instance, e, m.want.Mode, m.want.Source, m.want.Epoch, m.want.Synchronous, m.want.Admit)
		if m.want.Mode == ModeDown || n.w.without&setOf(contractWant) != 0 {
			n.want = m.want
		} else {
			actions = append(actions, wantAction{m.want})
		}
	}
	n.watchReign(m.hold)
	if lived && m.hold == nil {
		n.w.checkStop(n)
	}
	n.outbox = append(n.outbox, actions...)
	n.carryOut()
}

func (n *node) watchReign(h *holding) {
	if h == nil {
		return
	}
	if h.leaving != nil {
		n.leavingAt = n.w.now
	}
	if h.live && h != n.renewing {
		// It took the Lease up again, which gives it the time for one start.
		if n.workedAt > n.startingAt {
			n.startingAt = n.w.now
		}
		n.renewing = h
	}
}

// carryOut does what can be done now.
func (n *node) carryOut() {
	life := n.life
	for len(n.outbox) > 0 && !n.busy && n.life == life && !n.frozen && !n.paused {
		a := n.outbox[0]
		if _, marker := a.(wantAction); !marker && n.crashIn > 0 {
			if n.crashIn--; n.crashIn == 0 {
				n.w.log("%s: crashes before %T", n.instance, a)
				n.boot(false)
				return
			}
		}
		if p, ok := a.(Persist); ok && (n.stalled || n.slow || n.w.chance(40)) {
			n.hurry()
			n.busy = true
			n.persist(life, p)
			return
		}
		n.outbox = n.outbox[1:]
		n.act(a)
	}
}

// hurry does what should wait for a Persist, where that contract was removed.
func (n *node) hurry() {
	if n.w.without&setOf(contractOrder) == 0 {
		return
	}
	hasty := n.outbox
	n.outbox = nil
	for _, a := range hasty {
		if _, waits := a.(Persist); waits {
			n.outbox = append(n.outbox, a)
		} else {
			n.act(a)
		}
	}
}

// persist writes to the volume, which takes a while.
func (n *node) persist(life int, p Persist) {
	takes := n.w.between(1, 20)
	if n.slow {
		takes = n.w.between(300, 2000)
	}
	n.w.after(takes, func() {
		switch {
		case n.life != life:
		case n.stalled || n.frozen:
			n.w.after(n.w.between(100, 300), func() { n.persist(life, p) })
		default:
			n.disk, n.busy = p.Disk, false
			n.outbox = n.outbox[1:]
			n.carryOut()
		}
	})
}

func (n *node) act(a Action) {
	switch a := a.(type) {
	case Persist:
		n.disk = a.Disk
	case wantAction:
		if a.want.Seq > n.want.Seq {
			n.want = a.want
		}
	case ReadLease:
		n.w.read(n)
	case WriteLease:
		n.w.writeLease(n, a)
	case Ask:
		n.ask(&a)
	case Reply:
		if reply := n.replies[a.Token]; reply != nil {
			delete(n.replies, a.Token)
			reply(a.Answer)
		}
	}
}

// ask carries a question and its answer.
func (n *node) ask(a *Ask) {
	life, q, peer := n.life, a.Question, n.w.node(a.Instance)
	if peer == nil {
		return
	}
	n.w.send(n.index, peer.index, func() {
		peer.later(peer.life, func() {
			peer.answer(&q, func(answer Answer) {
				n.w.send(peer.index, n.index, func() { n.receive(life, Answered{Question: q, Answer: answer}) })
			})
		})
	})
}

func (n *node) answer(q *Question, reply func(Answer)) {
	asked := n.w.now
	n.tokens++
	n.replies[n.tokens] = func(answer Answer) {
		if n.w.tracing && q.Kind != AskIdentity {
			n.logAnswer(q, &answer)
		}
		n.w.checkAnswer(n, q, &answer, asked)
		reply(answer)
	}
	n.step(Asked{Question: *q, Token: n.tokens})
}

// logAnswer tells of an answer, unless it is the same as before.
func (n *node) logAnswer(q *Question, a *Answer) {
	text := fmt.Sprintf("%s: asked by %s for %s: %v (position %d)", n.instance, q.From, q.Kind, a.Yes, a.Position)
	key := n.instance + q.From + string(q.Kind)
	if n.w.said[key] != text {
		n.w.log("%s", text)
	}
	n.w.said[key] = text
}

// facts are what the agent sees of its engine.
func (n *node) facts() Facts {
	e := &n.engine
	f := Facts{
		Seq: e.seq, Mode: e.seenMode(), Position: e.tip.position(), Applied: e.applied(), Crashed: e.crashes, HealthyAt: n.healthyAt,
		Receiving: e.link != nil, LogGone: e.mode == ModeReplica && e.logGone, RewindFailed: e.rewindFailed, Foreign: e.foreign,
	}
	switch e.mode {
	case ModeReplica:
		f.Position, f.Inconsistent = Position(e.replayed), e.replayed < e.consistent
		f.Settled = e.link == nil && !e.configured() && f.Position == e.tip.position() && e.replayed >= e.consistent
	case ModeDown:
		f.Settled = e.clean
	case ModePrimary:
		f.Standbys, f.Replayed = make(map[string]Position, len(e.senders)), make(map[string]Position, len(e.senders))
		for _, s := range e.senders {
			if s.connected && s.epoch == e.introduced {
				f.Standbys[s.name], f.Replayed[s.name] = Position(s.flushed), Position(s.to.engine.replayed)
			}
		}
	default:
	}
	return f
}
