package election

import (
	"slices"
	"time"
)

// The invariants. They are checked against the truth: what an observer of everything knows.

// truth is what the model knows, and no instance.
type truth struct {
	// reign is who won the Lease last; used are the epochs, and by whom.
	reign *node
	used  map[int64]string
	// putBack are the epochs that somebody took back from the Lease before they were seen.
	putBack map[int64]claimPut
	// durable are the rows that must never be lost; acknowledged counts all that clients were told of.
	durable      []*row
	acknowledged int
	// gone are names whose data was taken away.
	gone map[string]bool
	// released is the highest epoch whose holder released the Lease; handedOver the last row of a
	// holder that handed over.
	released   int64
	handedOver *row
	// disturbedAt is when something else than the API went wrong, or was mended.
	disturbedAt time.Duration
	// forced: a person accepted the loss of rows.
	forced bool
}

// promised is the promise that a node gave last; until is of the model's time.
type promised struct {
	epoch int64
	until time.Duration
}

// claimPut is a claim that was put back, by whom it was, and when that was.
type claimPut struct {
	by *node
	at time.Duration
}

// answeredAt is the position that a node told last, and at which version of the Lease.
type answeredAt struct {
	name     string
	version  int
	position Position
}

func newTruth() truth {
	return truth{used: map[int64]string{}, putBack: map[int64]claimPut{}, gone: map[string]bool{}}
}

// atLeast is the shortest that an instance's clock may take for a duration.
func atLeast(d time.Duration) time.Duration { return d * 9 / 10 }

// acknowledge notes a commit that a client was told of.
func (w *world) acknowledge(n *node, r *row, quorum int) {
	if r.quorum >= 0 {
		return
	}
	w.truth.acknowledged++
	w.checkAlone(n, "acknowledges")
	// What the record does not ask for yet, a claim need not find.
	last := &w.api.last
	r.quorum = min(quorum, last.W)
	if r.quorum > 0 {
		w.truth.durable = append(w.truth.durable, r)
		if n == w.truth.reign {
			w.checkCopies(n, last, r, "it was acknowledged")
		}
	}
}

// checkAlone: at most one process can acknowledge a write.
func (w *world) checkAlone(n *node, does string) {
	if w.truth.reign != n {
		w.fail("one primary", "%s %s, and the Lease was given to %s", n.instance, does, w.truth.reign.instance)
	}
	w.checkOthers(n, does)
}

// checkOthers: nobody else can acknowledge a write, nor can the pod that this one replaced.
func (w *world) checkOthers(n *node, does string) {
	for _, other := range w.nodes {
		if other != n && other.engine.canAcknowledge() {
			w.fail("one primary", "%s %s while %s can acknowledge writes", n.instance, does, other.instance)
		}
		if other.ghostUntil > w.now {
			w.fail("one primary", "%s %s while the pod of %s that was replaced can acknowledge writes", n.instance, does, other.instance)
		}
	}
}

// checkCopies: a durable row is on at least w recorded names.
func (w *world) checkCopies(n *node, r *Record, last *row, when string) {
	copies := 0
	for _, c := range r.Candidates {
		if w.truth.gone[c.Name] {
			return
		}
		for _, other := range w.nodes {
			if c.Name != r.Name && other.engine.name == c.Name && other.engine.tip.has(last) {
				copies++
				break
			}
		}
	}
	if copies < r.W {
		w.fail("rows on w names", "row %d of %s is on %d of %v when %s, and w is %d", last.id, n.instance, copies, r.Names(), when, r.W)
	}
}

// checkCut looks at data of which something was cut off.
func (w *world) checkCut(n *node) {
	reign := w.truth.reign
	if reign == nil || reign.engine.mode != ModePrimary || !w.api.last.Has(n.engine.name) {
		return
	}
	for r := reign.engine.tip; r != nil; r = r.before {
		if r.quorum > 0 {
			w.checkCopies(reign, &w.api.last, r, "data of "+n.instance+" is cut off")
			return
		}
	}
}

// checkAdmitted: what clients can read is as good as acknowledged.
func (w *world) checkAdmitted(n *node) {
	last := &w.api.last
	if n.engine.sync.W == 0 || last.W == 0 || w.truth.reign != n {
		return
	}
	w.endure(n, last)
	w.checkCopies(n, last, n.engine.tip, "it could be read")
}

// endure marks all rows of a log as durable.
func (w *world) endure(n *node, r *Record) {
	for row := n.engine.tip; row != nil; row = row.before {
		if row.quorum < 1 {
			w.truth.durable = append(w.truth.durable, row)
		}
		row.quorum = r.W
	}
}

// checkDurable: this data has every durable row.
func (w *world) checkDurable(n *node, does string) {
	has := make(map[*row]bool, n.engine.tip.position())
	for r := n.engine.tip; r != nil; r = r.before {
		has[r] = true
	}
	for _, r := range w.truth.durable {
		if r.quorum > 0 && !has[r] {
			w.fail("no row lost", "%s %s without row %d, which was acknowledged", n.instance, does, r.id)
			return
		}
	}
}

// checkPromoted looks at what is about to take writes.
func (w *world) checkPromoted(n *node) {
	e := &n.engine
	switch {
	case e.tip == nil || e.foreign:
		w.fail("nothing empty or foreign", "%s is promoted with data that is empty or foreign", n.instance)
	case e.name != n.want.Name || int(e.tip.position()) < e.consistent:
		w.fail("data", "%s is promoted with data that is not whole", n.instance)
	}
	w.checkAlone(n, "is promoted")
	w.checkDurable(n, "is promoted")
	if h := n.machine.hold; e.crashed && e.crashedIn == h && !n.machine.sole() {
		if n.restarted == h && w.now-n.restartedAt < atLeast(modelLimits.restartPause) {
			w.fail("one restart in place", "%s is restarted in place, and was %s before", n.instance, w.now-n.restartedAt)
		}
		n.restarted, n.restartedAt = h, w.now
	}
}

// checkFlush: nothing is acknowledged by a name after it answered a position request at that version.
func (w *world) checkFlush(s *sender) {
	n := s.to
	if a := &n.answered; a.name == s.name && a.version == w.api.version && n.engine.tip.position() > a.position &&
		slices.Contains(s.sync.Names, s.name) && s.epoch == s.from.engine.introduced {
		w.fail("fence", "%s tells %s that it has row %d, after it told that its position is %d", n.instance, s.from.instance, n.engine.tip.id, a.position)
	}
}

// checkAnswer looks at what a node tells another one.
func (w *world) checkAnswer(n *node, q *Question, a *Answer, asked time.Duration) {
	switch {
	case q.Kind == AskPromise && a.Yes:
		n.promised = promised{epoch: max(n.promised.epoch, q.Epoch), until: max(n.promised.until, asked+atLeast(q.Lease))}
	case q.Kind == AskPosition && a.Yes:
		if n.promises() {
			w.fail("promise", "%s tells its position while its promise of epoch %d holds", n.instance, n.promised.epoch)
		}
		version, r := w.api.shown()
		if version != q.Version {
			return
		}
		n.answered = answeredAt{name: a.Name, version: w.api.version, position: a.Position}
		if !w.freed(&r) && !w.stood(n, &r, n.bootedAt) {
			w.fail("own silence", "%s tells its position before it can have seen silence", n.instance)
		}
	}
}

// promises: its promise holds still, by the true time.
func (n *node) promises() bool {
	return n.promised.until > n.w.now && n.w.truth.released < n.promised.epoch && !n.fast
}

// freed: the Lease was released, by its holder.
func (w *world) freed(r *Record) bool { return !w.api.tampered && r.Holder == "" }

// stood: the Lease is as it is for so long that a process of this node can have seen silence.
func (w *world) stood(n *node, r *Record, booted time.Duration) bool {
	lease := r.Durations.Lease
	if !w.api.exists {
		lease = w.api.last.Durations.Lease
	}
	return n.fast || w.now-max(w.api.since, booted) >= atLeast(lease)
}

// checkSent looks at what is sent to the Lease: nobody renews without an engine, beyond the bounds.
func (w *world) checkSent(n *node, a *WriteLease) {
	h := n.machine.hold
	if h == nil || !h.live || a.Record.Holder != n.identity() || a.Record.Epoch != h.epoch {
		return
	}
	if n.engine.works() {
		n.workedAt = w.now
	}
	// A volume that hung and then an engine that ended are two things.
	bound := modelLimits.stall + modelLimits.restart
	if n.leavingAt > 0 && w.now-n.leavingAt <= modelLimits.restart+time.Second {
		bound = modelLimits.handover + modelLimits.restart
	}
	if idle := w.now - max(n.workedAt, n.startingAt); idle > bound*11/10+2*time.Second {
		w.fail("no renewal without an engine", "%s renews, and its engine does not take writes for %s", n.instance, idle)
	}
}

// checkStop: while nothing but the API is away, nobody stops.
func (w *world) checkStop(n *node) {
	w.log("%s: its reign ends", n.instance)
	if !w.lossy && w.now-w.truth.disturbedAt > 2*modelLimits.handover && !n.machine.disk.Releasing {
		w.fail("no needless stop", "%s stops, though all instances reach each other", n.instance)
	}
}

// checkCommit looks at what is about to stand on the Lease.
func (w *world) checkCommit(n *node, before, after *Record, booted time.Duration) {
	last := &w.api.last
	switch {
	case after.Holder == "":
		w.checkRelease(n, after)
	case after.Epoch == before.Epoch && after.Holder == before.Holder:
		w.checkChange(n, last, after)
	default:
		w.checkClaim(n, before, after, booted)
	}
}

func (w *world) checkRelease(n *node, after *Record) {
	if e := &n.engine; n == w.truth.reign && (e.mode == ModePrimary || n.machine.hold != nil) {
		w.fail("down before the release", "%s releases epoch %d while its engine runs", n.instance, after.Epoch)
	}
	w.truth.released = max(w.truth.released, after.Epoch)
	w.truth.handedOver = nil
	if after.Handover != "" {
		for r := n.engine.tip; r != nil; r = r.before {
			if r.quorum >= 0 {
				w.truth.handedOver = r
				break
			}
		}
	}
}

// checkChange looks at a change of candidates, of w, or of durations.
func (w *world) checkChange(n *node, last, after *Record) {
	if last.sameContent(after) || n != w.truth.reign {
		return
	}
	if after.W == 0 {
		for _, r := range w.truth.durable {
			r.quorum = 0
		}
		w.truth.durable = nil
		return
	}
	if last.W == 0 {
		for r := n.engine.tip; r != nil; r = r.before {
			if r.quorum == 0 {
				r.quorum = after.W
				w.truth.durable = append(w.truth.durable, r)
			}
		}
	}
	for r := n.engine.tip; r != nil; r = r.before {
		if r.quorum > 0 {
			w.checkCopies(n, after, r, "the record changes")
			break
		}
	}
}

func (w *world) checkClaim(n *node, before, after *Record, booted time.Duration) {
	last := &w.api.last
	// A claim that was put back before anyone saw it is known to its sender alone, until that is asked.
	put, unknown := w.truth.putBack[after.Epoch]
	unknown = unknown && (w.lossy || w.now-max(put.at, put.by.awayUntil, n.awayUntil) < 2*time.Second)
	if who, again := w.truth.used[after.Epoch]; again && !unknown {
		w.fail("epochs are used once", "epoch %d of %s is used again by %s", after.Epoch, who, after.Holder)
	}
	w.truth.used[after.Epoch] = after.Holder
	running := n == w.truth.reign && after.Holder == last.Holder && last.Epoch > 0
	if len(last.Candidates) > 0 {
		if !last.Has(after.Name) {
			w.fail("only candidates", "%s claims with data %s, which is no candidate", n.instance, after.Name)
		}
		handed := w.freed(before) && (before.Handover == "" || before.Handover == after.Name)
		takenBack := running && w.api.tampered
		if !handed && !takenBack && !w.stood(n, before, booted) {
			w.fail("own silence", "%s claims before it can have seen silence", n.instance)
		}
	}
	if n.promises() && !running {
		w.fail("promise", "%s claims while its promise of epoch %d holds", n.instance, n.promised.epoch)
	}
	if !running {
		w.checkTakeover(n, before)
	}
	w.truth.reign, n.workedAt = n, w.now
}

// checkTakeover looks at a claim of one who is not the primary already.
func (w *world) checkTakeover(n *node, before *Record) {
	w.checkOthers(n, "claims")
	if w.truth.forced {
		w.truth.durable = nil
	}
	if w.truth.gone[n.machine.disk.Name] || n.engine.name == "" {
		// It lost its data meanwhile; it will not be promoted.
		return
	}
	w.checkDurable(n, "claims")
	if before.Handover == n.disk.Name && w.freed(before) && !n.engine.tip.has(w.truth.handedOver) {
		w.fail("a handover loses nothing", "%s takes over without row %d", n.instance, w.truth.handedOver.id)
	}
}
