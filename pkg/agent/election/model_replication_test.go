package election

import "slices"

// Replication: what receivers and senders do by themselves, whatever the agents want by now.

// configured: it has a source to connect to.
func (e *engine) configured() bool { return e.from != nil }

// reaches: the source runs, and the network carries in both directions.
func (e *engine) reaches(from *node) bool {
	w := e.n.w
	return from != nil && from != e.n && !from.frozen && from.engine.mode == ModePrimary && !from.engine.orphan &&
		!w.cut[e.n.index][from.index] && !w.cut[from.index][e.n.index]
}

// connect is what a receiver does by itself, again and again. It does not ask whose data that is; only the
// timeline is looked at, which is another one after a promotion.
func (e *engine) connect() {
	if e.from == nil {
		return
	}
	e.from.watchdog()
	if !e.reaches(e.from) {
		return
	}
	s := &e.from.engine
	if !s.tip.has(e.tip) {
		if s.name == e.source.name && s.epoch == e.source.epoch {
			e.n.w.fail("one history", "%s follows %s, whose history is another one", e.n.instance, e.from.instance)
		}
		return
	}
	if e.logGone = int(e.tip.position()) < s.kept && s.name == e.source.name; int(e.tip.position()) < s.kept {
		return
	}
	e.link = &sender{from: e.from, to: e.n, name: e.name, epoch: e.says, connected: true, flushed: int(e.tip.position()), sync: s.sync, heardAt: e.n.w.now}
	senders := []*sender{e.link}
	for _, o := range s.senders {
		if o.to == e.n {
			o.connected = false
		} else {
			senders = append(senders, o)
		}
	}
	s.senders = senders
}

func (e *engine) disconnect() {
	if e.link != nil {
		e.link.connected = false
	}
	e.link = nil
}

// move carries rows to the replicas, their acknowledgements back, and replays.
func (e *engine) move() {
	n := e.n
	if n.frozen || n.stalled {
		return
	}
	switch e.mode {
	case ModeReplica:
		if e.link == nil {
			e.connect()
		}
		e.receive()
		held := e.configured() && n.w.now < e.heldUntil
		if behind := int(e.tip.position()) - e.replayed; behind > 0 && !held && n.w.chance(60) {
			e.replayed += 1 + n.w.rng.IntN(behind)
		}
	case ModePrimary:
		e.serve()
	default:
	}
}

// serve applies settings, here and there, and sends rows.
func (e *engine) serve() {
	n := e.n
	if !e.sync.equal(e.file) && n.w.chance(50) {
		waited := e.sync.W > 0
		e.sync = e.file
		if waited && e.sync.W == 0 {
			// Backends are let go when the setting is emptied.
			e.acknowledgeUpTo(int(e.tip.position()), 0)
		}
	}
	for _, s := range e.senders {
		if n.w.chance(50) {
			s.sync = e.sync
		}
		if s.to.engine.receive(); n.w.now-s.heardAt > senderTimeout {
			s.connected = false
		}
	}
	e.senders = slices.DeleteFunc(e.senders, func(s *sender) bool { return !s.connected })
}

// receive takes rows from the source, writes them, and says so.
func (e *engine) receive() {
	s := e.link
	if s == nil || e.n.frozen || e.n.stalled || e.n.w.chance(25) {
		return
	}
	if e.n.watchdog(); e.mode != ModeReplica {
		return
	}
	s.from.watchdog()
	if !s.connected {
		e.disconnect()
		return
	}
	if !e.reaches(s.from) {
		return
	}
	p := &s.from.engine
	if more := int(p.tip.position() - e.tip.position()); more > 0 {
		e.tip = p.tip.at(int(e.tip.position()) + 1 + e.n.w.rng.IntN(more))
	}
	s.flushed, s.heardAt = int(e.tip.position()), e.n.w.now
	e.n.w.checkFlush(s)
	p.release(s)
}
