package election

import (
	"reflect"
	"slices"
)

// engine is a log that is replicated, with what makes PostgreSQL lose rows: backends that outlive their
// server, walsenders that apply a reload late, replay that lags behind what was acknowledged.
type engine struct {
	mode  Mode
	name  string
	log   []row
	seq   uint64
	epoch int64

	// As a replica.
	source     *node
	sourceName string
	replayed   int
	// consistent is how far a rewound log must get before it is whole.
	consistent   int
	rewindFailed bool

	// As a primary: what backends look at, and each walsender's own copy.
	sync     Synchronous
	senders  map[string]*sender
	admit    bool
	waiting  []row
	orphan   bool
	clean    bool
	crashes  int
	stopping bool
}

type row struct {
	id    int
	epoch int64
}

type sender struct {
	connected bool
	flushed   int
	sync      Synchronous
}

func (e *engine) running() bool     { return e.mode != ModeDown }
func (e *engine) takesWrites() bool { return e.mode == ModePrimary }
func (e *engine) quorum() int       { return e.sync.W }

// seenMode is what the agent sees: orphans are no server.
func (e *engine) seenMode() Mode {
	if e.orphan {
		return ModeUnknown
	}
	return e.mode
}

// stop ends everything; clean when the log was closed.
func (e *engine) stop(clean bool) {
	e.mode, e.source, e.senders, e.waiting, e.orphan, e.clean = ModeDown, nil, nil, nil, false, clean
	e.admit = false
}

// clientWrite is one insert, where a client is let in.
func (e *engine) clientWrite(n *node) {
	if !e.takesWrites() || n.frozen || !e.admit {
		return
	}
	r := row{id: n.w.newRow(), epoch: e.epoch}
	e.log = append(slices.Clip(e.log), r)
	if e.sync.W == 0 {
		n.w.acknowledge(n, r, 0)
		return
	}
	e.waiting = append(e.waiting, r)
}

// release acknowledges what a walsender, with its own copy of the setting, finds on enough replicas.
func (e *engine) release(n *node, s *sender) {
	if s.sync.W == 0 || n.frozen {
		return
	}
	var flushed []int
	for _, name := range s.sync.Names {
		if other := e.senders[name]; other != nil && other.connected {
			flushed = append(flushed, other.flushed)
		}
	}
	if len(flushed) < s.sync.W {
		return
	}
	slices.Sort(flushed)
	upTo := flushed[len(flushed)-s.sync.W]
	e.acknowledgeUpTo(n, upTo, s.sync.W)
}

func (e *engine) acknowledgeUpTo(n *node, upTo, quorum int) {
	left := e.waiting[:0:0]
	for _, r := range e.waiting {
		if at := slices.Index(e.log, r); at >= 0 && at < upTo {
			n.w.acknowledge(n, r, quorum)
			continue
		}
		left = append(left, r)
	}
	e.waiting = left
}

// applied: backends and every walsender have the wanted setting.
func (e *engine) applied() bool {
	for _, s := range e.senders {
		if s.connected && !reflect.DeepEqual(s.sync, e.sync) {
			return false
		}
	}
	return true
}

// turn brings the engine a step towards what is wanted, and moves rows.
func (e *engine) turn(n *node) {
	if e.orphan && n.w.chance(70) {
		// The agent sweeps what its server left.
		e.stop(false)
	}
	e.move(n)
	want := n.machine.Want()
	if e.seq == want.Seq || n.w.chance(20) {
		return
	}
	done := false
	switch want.Mode {
	case ModeDown:
		done = e.turnDown(n, want)
	case ModeReplica:
		done = e.turnReplica(n, want)
	case ModePrimary:
		done = e.turnPrimary(n, want)
	case ModeRewind, ModeClone:
		done = e.turnRebuild(n, want)
	}
	if done {
		e.seq = want.Seq
	}
}

func (e *engine) turnDown(n *node, want Want) bool {
	if e.mode == ModeDown {
		return true
	}
	if !want.Kill {
		// A fast stop gives connected replicas what there is.
		for range 3 {
			e.move(n)
		}
		e.stop(true)
		return true
	}
	e.stop(false)
	return true
}

func (e *engine) turnReplica(n *node, want Want) bool {
	if e.mode == ModePrimary {
		e.stop(false)
		return false
	}
	if e.mode == ModeDown {
		e.mode, e.clean = ModeReplica, false
		e.name = n.disk.Name
		e.replayed = min(e.replayed, len(e.log))
	}
	if want.Source == nil {
		e.disconnect(n)
		return true
	}
	source := n.w.node(want.Source.Instance)
	if e.source != nil && (e.source != source || e.sourceName != want.Source.Name) {
		e.disconnect(n)
	}
	e.sourceName = want.Source.Name
	e.connect(n, source)
	return true
}

func (w *world) node(instance string) *node {
	for _, n := range w.nodes {
		if n.instance == instance {
			return n
		}
	}
	return nil
}

func (e *engine) reaches(n, source *node) bool {
	return source != n && !source.frozen && source.engine.mode == ModePrimary && !source.engine.orphan &&
		!n.w.cut[n.index][source.index] && !n.w.cut[source.index][n.index]
}

func (e *engine) connect(n, source *node) {
	if !e.reaches(n, source) || source.engine.name != e.sourceName {
		return
	}
	log := source.engine.log
	if len(e.log) > len(log) || !slices.Equal(e.log, log[:len(e.log)]) {
		n.w.fail("%s follows %s, whose history is another one", n.instance, source.instance)
		return
	}
	e.source = source
	s := source.engine.senders[e.name]
	if s == nil {
		s = &sender{sync: source.engine.sync}
		source.engine.senders[e.name] = s
	}
	s.connected, s.flushed = true, len(e.log)
	s.sync = source.engine.sync
}

func (e *engine) disconnect(*node) {
	if e.source != nil {
		if s := e.source.engine.senders[e.name]; s != nil {
			s.connected = false
		}
	}
	e.source = nil
}

// move carries rows to the replicas, their acknowledgements back, and replays.
func (e *engine) move(n *node) {
	if n.frozen {
		return
	}
	switch e.mode {
	case ModeReplica:
		if e.source == nil && e.sourceName != "" && n.machine.Want().Source != nil && e.seq == n.machine.Want().Seq {
			e.connect(n, n.w.node(n.machine.Want().Source.Instance))
		}
		e.receive(n)
		if n.w.chance(70) {
			e.replayed = min(len(e.log), e.replayed+n.w.rng.IntN(len(e.log)-e.replayed+3))
		}
	case ModePrimary:
		for _, replica := range n.w.nodes {
			if replica.engine.source == n && !replica.frozen {
				replica.engine.receive(replica)
			}
		}
		for _, name := range sortedNames(e.senders) {
			s := e.senders[name]
			if n.w.chance(60) {
				s.sync = e.sync
			}
			if s.connected {
				e.release(n, s)
			}
		}
	}
}

func sortedNames(senders map[string]*sender) []string {
	names := make([]string, 0, len(senders))
	for name := range senders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// receive takes rows from the source, writes them, and says so.
func (e *engine) receive(n *node) {
	source := e.source
	if source == nil || e.mode != ModeReplica {
		return
	}
	s := source.engine.senders[e.name]
	if source.engine.mode != ModePrimary || s == nil || !s.connected {
		e.source = nil
		return
	}
	if source.frozen || n.w.cut[source.index][n.index] {
		return
	}
	if more := len(source.engine.log) - len(e.log); more > 0 && !source.engine.orphan {
		take := 1 + n.w.rng.IntN(more)
		e.log = append(slices.Clip(e.log), source.engine.log[len(e.log):len(e.log)+take]...)
	}
	if !n.w.cut[n.index][source.index] {
		s.flushed = len(e.log)
		source.engine.release(source, s)
	}
}

func (e *engine) turnPrimary(n *node, want Want) bool {
	hold := n.machine.hold
	deadline, limited := n.machine.Deadline()
	if hold == nil || limited && n.clock().Fence >= deadline && e.mode != ModePrimary {
		// What was wanted before a pause is wanted no more.
		return false
	}
	was := e.sync
	e.sync = Synchronous{Names: slices.Clone(want.Synchronous.Names), W: want.Synchronous.W}
	switch e.mode {
	case ModeReplica:
		if e.source != nil {
			e.disconnect(n)
		}
		if e.replayed < len(e.log) {
			e.replayed = len(e.log)
		}
		e.becomePrimary(n, hold.epoch)
	case ModeDown:
		e.becomePrimary(n, hold.epoch)
	case ModePrimary:
		if was.W > 0 && e.sync.W == 0 {
			// Backends are let go when the setting is emptied.
			e.acknowledgeUpTo(n, len(e.log), 0)
		}
	}
	e.epoch = hold.epoch
	e.admit = want.Admit
	return e.mode == ModePrimary
}

func (e *engine) becomePrimary(n *node, epoch int64) {
	e.mode, e.epoch, e.senders, e.waiting, e.orphan, e.clean = ModePrimary, epoch, map[string]*sender{}, nil, false, false
	e.name = n.disk.Name
	n.w.log("%s: primary under epoch %d with %d rows", n.instance, epoch, len(e.log))
	n.w.checkPromoted(n)
}

func (e *engine) turnRebuild(n *node, want Want) bool {
	source := n.w.node(want.Source.Instance)
	if e.mode != ModeDown {
		e.stop(true)
		return false
	}
	e.rewindFailed = false
	if !e.reaches(n, source) || source.engine.name != want.Source.Name || n.w.chance(30) {
		return false
	}
	if want.Mode == ModeRewind && n.w.chance(20) {
		e.rewindFailed = true
		return true
	}
	e.sourceName = want.Source.Name
	log := source.engine.log
	if want.Mode == ModeClone {
		if len(log) == 0 {
			n.w.fail("%s is cloned from %s, which is empty", n.instance, source.instance)
		}
		e.log, e.consistent, e.replayed, e.name = slices.Clone(log), len(log), 0, n.disk.Name
		return true
	}
	common := 0
	for common < len(e.log) && common < len(log) && e.log[common] == log[common] {
		common++
	}
	e.log, e.consistent = slices.Clone(e.log[:common]), len(log)
	e.replayed = min(e.replayed, common)
	return true
}
