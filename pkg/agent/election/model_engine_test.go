package election

import (
	"slices"
	"time"
)

// engine is a log that is replicated, with what makes PostgreSQL lose rows: backends that outlive their
// server, walsenders that apply a reload late, replay that lags behind what was acknowledged, replicas
// that reconnect by themselves.
type engine struct {
	n    *node
	mode Mode
	// name and tip are what is on the volume.
	name string
	tip  *row
	// consistent is how far a rewound log must get before it is whole.
	consistent int
	foreign    bool
	// seq is the Want that was reached.
	seq     uint64
	crashes int
	// crashed: it ended by itself, in the reign crashedIn, and is started again towards no older Want
	// than startAfter.
	crashed      bool
	crashedIn    *holding
	startAfter   uint64
	clean        bool
	lost         bool
	rewindFailed bool
	// kept is up to where its log is gone: nobody can have that from it any more.
	kept int

	// As a replica: where it connects to, which it does by itself, and the connection.
	source   source
	from     *node
	says     int64
	link     *sender
	replayed int
	// logGone: the source said that it lacks the log that comes next.
	logGone bool
	// heldUntil is until when a query holds replay up, unless there is no source.
	heldUntil time.Duration

	// As a primary: the epoch that it writes in, and the one that replicas must say; the setting as it is
	// written, as backends know it, and as each walsender does.
	epoch, introduced int64
	file, sync        Synchronous
	senders           []*sender
	admit             bool
	waiting           []*row
	orphan            bool
}

// row is one write; a log is its last row.
type row struct {
	before *row
	depth  int
	id     int
	epoch  int64
	// quorum is how many others were to have it when it was acknowledged; -1 before.
	quorum int
}

func (w *world) newRow(before *row, epoch int64) *row {
	w.rows++
	return &row{before: before, depth: int(before.position()) + 1, id: w.rows, epoch: epoch, quorum: -1}
}

func (r *row) position() Position {
	if r == nil {
		return 0
	}
	return Position(r.depth)
}

// at is the row at that depth, nil beyond the end.
func (r *row) at(depth int) *row {
	if r == nil || r.depth < depth {
		return nil
	}
	for r != nil && r.depth > depth {
		r = r.before
	}
	return r
}

// has: that row is a part of the log.
func (r *row) has(other *row) bool { return other == nil || r.at(other.depth) == other }

// sender is a connection of a replica to a primary.
type sender struct {
	from, to  *node
	name      string
	epoch     int64
	connected bool
	flushed   int
	sync      Synchronous
	heardAt   time.Duration
}

// senderTimeout is how long a primary keeps a connection on which it hears nothing.
const senderTimeout = 2 * time.Second

// seenMode is what the agent sees: orphans are no server.
func (e *engine) seenMode() Mode {
	if e.orphan {
		return ModeUnknown
	}
	return e.mode
}

// stop ends everything; clean when the log was closed.
func (e *engine) stop(clean bool) {
	if e.mode != ModeDown {
		e.clean = clean
	}
	e.disconnect()
	for _, s := range e.senders {
		s.connected = false
	}
	e.mode, e.senders, e.waiting, e.orphan, e.admit = ModeDown, nil, nil, false, false
}

func (e *engine) kill() { e.stop(false) }

// crash ends the server; a busy backend may outlive it.
func (e *engine) crash() {
	if e.mode == ModeDown {
		return
	}
	e.ended()
	if e.mode != ModePrimary {
		e.kill()
		return
	}
	e.orphan = true
	for _, s := range e.senders {
		s.connected = false
	}
	e.senders = nil
}

// ended: nobody asked for it. What it was led to, it is no more.
func (e *engine) ended() {
	e.crashes++
	e.crashed, e.seq, e.startAfter = true, 0, 1<<62
	e.crashedIn = e.n.machine.hold
}

// reported: the machine knows of it, and this is what it wants since.
func (e *engine) reported(crashes int, seq uint64) {
	if crashes == e.crashes && e.startAfter == 1<<62 {
		e.startAfter = seq
	}
}

// works: clients that it lets in can write.
func (e *engine) works() bool {
	return e.mode == ModePrimary && !e.orphan && !e.n.stalled && !e.n.frozen
}

// clientWrite is one insert, where a client is let in.
func (e *engine) clientWrite() {
	n := e.n
	n.watchdog()
	if e.works() {
		n.workedAt = n.w.now
	}
	if e.mode != ModePrimary || n.frozen || n.stalled || !e.admit || n.w.chance(40) {
		return
	}
	e.tip = n.w.newRow(e.tip, e.epoch)
	if e.sync.W == 0 {
		n.w.acknowledge(n, e.tip, 0)
		return
	}
	e.waiting = append(e.waiting, e.tip)
}

// canAcknowledge: a client that writes now could be told that it is done.
func (e *engine) canAcknowledge() bool {
	e.n.watchdog()
	if e.mode != ModePrimary || !e.admit || e.n.frozen || e.n.stalled {
		return false
	}
	reached := 0
	for _, s := range e.senders {
		r := &s.to.engine
		if s.connected && r.link == s && slices.Contains(e.sync.Names, s.name) && s.epoch == e.introduced && r.reaches(e.n) && !s.to.frozen {
			reached++
		}
	}
	return reached >= e.sync.W
}

// release acknowledges what a walsender, with its own copy of the setting, finds on enough replicas.
func (e *engine) release(own *sender) {
	if own.sync.W == 0 || e.n.frozen {
		return
	}
	var flushed []int
	for _, s := range e.senders {
		if s.connected && s.epoch == e.introduced && slices.Contains(own.sync.Names, s.name) {
			flushed = append(flushed, s.flushed)
		}
	}
	if len(flushed) < own.sync.W {
		return
	}
	slices.Sort(flushed)
	e.acknowledgeUpTo(flushed[len(flushed)-own.sync.W], own.sync.W)
}

func (e *engine) acknowledgeUpTo(depth, quorum int) {
	for len(e.waiting) > 0 && e.waiting[0].depth <= depth {
		r := e.waiting[0]
		e.waiting = e.waiting[1:]
		e.n.w.acknowledge(e.n, r, quorum)
	}
}

// applied: backends and every walsender have the wanted setting.
func (e *engine) applied() bool {
	if !e.sync.equal(e.file) {
		return false
	}
	for _, s := range e.senders {
		if s.connected && !s.sync.equal(e.file) {
			return false
		}
	}
	return true
}

// streams: a replica has all that there is, or is about to.
func (e *engine) streams(to *node) bool {
	for _, s := range e.senders {
		if s.to == to && s.connected && s.epoch == e.introduced {
			return true
		}
	}
	return false
}

// turn brings the engine a step towards what is wanted.
func (e *engine) turn() {
	n := e.n
	n.watchdog()
	if e.orphan {
		// The agent sweeps what its server left, sooner or later.
		if n.want.Kill || n.w.chance(70) {
			e.kill()
		}
		return
	}
	if e.seq == n.want.Seq || n.want.Seq < e.startAfter && n.w.without&setOf(contractFacts) == 0 || n.w.chance(20) || n.stalled && n.want.Mode != ModeDown {
		return
	}
	done := false
	switch n.want.Mode {
	case ModeDown:
		done = e.turnDown()
	case ModeReplica:
		done = e.turnReplica()
	case ModePrimary:
		done = e.turnPrimary()
	case ModeRewind, ModeClone:
		done = e.turnRebuild()
	case ModeUnknown:
	}
	if done {
		e.seq = n.want.Seq
	}
}

func (e *engine) turnDown() bool {
	switch {
	case e.mode == ModeDown:
	case e.n.want.Kill || e.n.stalled || e.orphan:
		e.kill()
	default:
		// A fast stop gives connected replicas what there is.
		e.closeLog()
		e.stop(true)
	}
	return true
}

func (e *engine) closeLog() {
	if e.mode != ModePrimary {
		return
	}
	e.admit = false
	e.tip = e.n.w.newRow(e.tip, e.epoch)
	for _, s := range e.senders {
		r := &s.to.engine
		if (e.n.w.calm || e.n.w.chance(85)) && r.link == s && r.reaches(e.n) && !s.to.frozen && !s.to.stalled {
			r.tip = e.tip
			s.flushed = r.tip.depth
			e.n.w.checkFlush(s)
			e.release(s)
		}
	}
}

func (e *engine) turnReplica() bool {
	want := &e.n.want
	if e.mode == ModePrimary {
		e.kill()
		return false
	}
	if e.mode == ModeDown {
		e.mode, e.clean, e.source, e.from = ModeReplica, false, source{}, nil
		e.replayed = min(e.replayed, int(e.tip.position()))
		if e.name != want.Name {
			e.n.w.fail("data", "%s starts %q for %q", e.n.instance, e.name, want.Name)
		}
	}
	if want.Source == nil {
		if e.configured() {
			// The receiver may go on for a while.
			e.source, e.from = source{}, nil
			return false
		}
		if e.link != nil && e.n.w.chance(50) {
			return false
		}
		e.disconnect()
		return true
	}
	e.disconnect()
	e.logGone = false
	e.from, e.says = e.n.w.node(want.Source.Instance), want.Epoch
	e.source = source{name: want.Source.Name, epoch: want.Epoch}
	e.connect()
	return true
}

func (e *engine) turnPrimary() bool {
	n := e.n
	m := n.machine
	if e.mode != ModePrimary {
		late := n.limited && n.clock().Fence >= n.deadline && n.w.without&setOf(contractDeadline) == 0
		if m.want.Mode != ModePrimary || late {
			// What was wanted before a pause is wanted no more.
			return false
		}
		if n.broken {
			e.crash()
			return false
		}
		e.becomePrimary()
	}
	e.file = n.want.Synchronous
	if n.want.Admit && !e.admit {
		n.w.checkAdmitted(n)
	}
	e.admit = n.want.Admit
	return true
}

// becomePrimary promotes a replica, or starts what was the primary before.
func (e *engine) becomePrimary() {
	n := e.n
	if e.mode == ModeReplica {
		e.disconnect()
		e.source, e.from, e.replayed = source{}, nil, int(e.tip.position())
	}
	e.epoch, e.introduced = n.disk.Chain.last(), n.want.Epoch
	e.senders, e.waiting, e.orphan, e.clean = nil, nil, false, false
	e.file, e.sync = n.want.Synchronous, n.want.Synchronous
	n.w.checkPromoted(n)
	e.mode, e.crashed = ModePrimary, false
	// What it writes by itself, when it ends its recovery.
	e.tip = n.w.newRow(e.tip, e.epoch)
	n.w.log("%s: primary under epoch %d at %d", n.instance, e.epoch, e.tip.depth)
}

func (e *engine) turnRebuild() bool {
	n, want := e.n, &e.n.want
	from := n.w.node(want.Source.Instance)
	if e.mode != ModeDown {
		e.stop(true)
		return false
	}
	e.rewindFailed = false
	if !e.reaches(from) || from.engine.name != want.Source.Name || n.w.chance(30) {
		return false
	}
	source := from.engine.tip
	if want.Mode == ModeRewind {
		if n.w.chance(20) {
			e.rewindFailed = true
			return true
		}
		for !source.has(e.tip) {
			e.tip = e.tip.before
		}
		e.kept = max(e.kept, from.engine.kept)
		e.consistent, e.replayed = source.depth, min(e.replayed, int(e.tip.position()))
		n.w.checkCut(n)
		return true
	}
	if source == nil || from.engine.foreign {
		n.w.fail("nothing empty or foreign", "%s is cloned from %s, which is empty or foreign", n.instance, from.instance)
	}
	if e.name != "" && e.name != want.Name {
		// What was there is set aside, and with it all that it had.
		n.w.truth.gone[e.name] = true
	}
	if e.tip != nil && n.w.chance(40) {
		// There is no room for both.
		e.name, e.tip = "", nil
		return false
	}
	e.name, e.tip, e.consistent, e.replayed, e.kept = want.Name, source, source.depth, 0, source.depth
	return true
}
