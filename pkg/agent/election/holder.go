package election

import (
	"maps"
	"slices"
	"time"
)

// The holder: it renews, changes the record, hands over, and stops in time.

// holding is the reign of this instance.
type holding struct {
	epoch int64
	// startedAt is when this process took it up.
	startedAt time.Duration
	// live: the engine may run as primary.
	live bool
	// renewed: something counted as a renewal; renewedAt is when the newest was sent (Now.Fence).
	renewed   bool
	renewedAt time.Duration
	// sent are the renewals that may still be found committed, by stamp.
	sent map[int64]time.Duration
	// writing is the write under way, zero when there is none; triedAt when it was sent (Now.Fence).
	writing int64
	// writes is the record in it.
	writes  Record
	triedAt time.Duration
	// failed: the last try had no answer, or an answer that was no renewal; unanswered: no answer.
	failed, unanswered bool
	promises           round
	epochs             round
	identified         time.Duration
	shrink             shrink
	// primaryAt is when the engine was last seen as primary (Now.Fence).
	primaryAt time.Duration
	crashed   bool
	admit     admission
	leaving   *leaving
}

// round is one round of a question to several.
type round struct {
	id     int64
	sentAt Now
	asked  []string
	yes    map[string]bool
}

func (r *round) complete() bool {
	for _, instance := range r.asked {
		if !r.yes[instance] {
			return false
		}
	}
	return r.id != 0
}

// shrink is a change of the record that the engine must apply first.
type shrink struct {
	set      bool
	wanted   Synchronous
	marked   bool
	position Position
}

// admission is whether clients are let in.
type admission struct {
	marked, done bool
	position     Position
}

// restarts limits restarts in place.
type restarts struct {
	any bool
	at  time.Duration
	// gave is true after epoch was given up.
	gave  bool
	epoch int64
}

// regain takes the Lease up again: the same pod, the same epoch, the same data.
func (m *Machine) regain() {
	r := m.newest()
	same := r.Holder == m.self.Identity || !m.holds(ruleIdentity) && sameInstance(r.Holder, m.self.Identity)
	if m.mustDown || m.spec.Stop || r.Holder == "" || !same || r.Name != m.disk.Name || r.Epoch != m.disk.OwnEpoch ||
		m.disk.Rebuilding || m.disk.Name == "" || m.disk.Releasing && m.holds(ruleUnsettledRelease) || m.lowered() ||
		m.facts.HealthyAt < 0 || m.restarts.gaveUp(r.Epoch) {
		return
	}
	m.hold = &holding{
		epoch: r.Epoch, startedAt: m.now.Mono, sent: map[int64]time.Duration{}, triedAt: -forLong, primaryAt: m.now.Fence,
		identified: -forLong,
	}
}

func (m *Machine) evaluateHolder() {
	h := m.hold
	if m.superseded() {
		m.lose()
		return
	}
	if m.sole() {
		h.renewed, h.renewedAt = true, m.now.Fence
	}
	d := m.durations()
	if h.live && m.now.Fence-h.renewedAt >= d.RenewDeadline && m.holds(ruleDeadline) {
		m.lose()
		return
	}
	m.reclaimMissing()
	m.identify()
	m.failsafe(d)
	m.goLive()
	m.leave()
	if m.hold == nil {
		return
	}
	m.renew(d)
}

// superseded: another holder stands on the Lease, or in what a peer knows, with an epoch that is not below
// this one's. What is below was put there by hand, and is taken back.
func (m *Machine) superseded() bool {
	h := m.hold
	if r := &m.disk.Record; r.Holder != m.self.Identity && r.Epoch >= h.epoch {
		return true
	}
	r := &m.lease.record
	return m.lease.known && m.lease.version != "" && r.Holder != m.self.Identity && (r.Epoch >= h.epoch || !m.holds(ruleLower))
}

// lose ends the reign at once.
func (m *Machine) lose() {
	m.hold, m.mustDown = nil, true
	m.following = source{}
}

// sole: nobody else may be promoted, so there is nothing to renew against.
func (m *Machine) sole() bool {
	for _, c := range m.union() {
		if c.Name != m.disk.Name {
			return false
		}
	}
	return true
}

// healthy: the volume and the engine answer, or are allowed not to for a moment.
func (m *Machine) healthy() bool {
	h := m.hold
	if h.live && m.facts.Mode == ModePrimary {
		h.primaryAt = m.now.Fence
	}
	if !m.holds(ruleStall) {
		return true
	}
	limit := restartLimit
	if h.leaving != nil {
		limit = HandoverLimit + restartLimit
	}
	if m.now.Fence-h.primaryAt > limit {
		return false
	}
	return m.now.Mono-m.facts.HealthyAt <= StallTimeout
}

// renew sends the next renewal when it is due, with what is to change.
func (m *Machine) renew(d Durations) {
	h := m.hold
	if !m.healthy() || !m.lease.known || m.lease.version == "" || m.lease.record.Epoch != h.epoch || m.lease.record.Holder != m.self.Identity {
		return
	}
	if h.writing != 0 && m.now.Fence-h.triedAt < 2*d.RetryPeriod {
		return
	}
	next := m.nextRecord()
	since := m.now.Fence - h.triedAt
	switch {
	case since < d.RetryPeriod && h.renewed:
		return
	case next.sameContent(&m.lease.record) && (m.sole() && h.renewed || !h.failed && h.renewed && since < d.RenewPeriod):
		return
	}
	if m.sole() && len(next.Candidates) > 1 {
		h.renewedAt = m.now.Fence
	}
	h.triedAt = m.now.Fence
	h.writing, h.writes = m.write(next), next
	h.sent[h.writing] = m.now.Fence
}

// count notes a renewal that was found committed.
func (m *Machine) count(stamp int64) {
	h := m.hold
	at, ok := h.sent[stamp]
	if !ok {
		return
	}
	if !m.holds(ruleFromSend) {
		at = m.now.Fence
	}
	h.renewed, h.failed, h.unanswered = true, false, false
	h.renewedAt = max(h.renewedAt, at)
	maps.DeleteFunc(h.sent, func(s int64, _ time.Duration) bool { return s <= stamp })
}

// failsafe asks all candidates when the API does not answer.
func (m *Machine) failsafe(d Durations) {
	h := m.hold
	silent := h.unanswered || h.writing != 0 && m.now.Fence-h.triedAt >= d.RetryPeriod ||
		!m.lease.known && m.now.Mono-h.startedAt >= d.RetryPeriod
	if !silent || !m.healthy() || m.disk.Releasing {
		return
	}
	if h.promises.id != 0 && m.now.Fence-h.promises.sentAt.Fence < askPause {
		return
	}
	h.promises = round{id: m.nextRound(), sentAt: m.now, asked: m.others(), yes: map[string]bool{}}
	m.ask(h.promises.asked, Question{
		Kind: AskPromise, Round: h.promises.id, Holder: m.self.Identity, Epoch: h.epoch, Lease: m.durations().Lease,
	})
	m.countPromises()
}

func (m *Machine) countPromises() {
	h := m.hold
	if h.promises.complete() || !m.holds(rulePromiseOfAll) && len(h.promises.yes) > 0 {
		h.renewed = true
		h.renewedAt = max(h.renewedAt, h.promises.sentAt.Fence)
	}
}

// goLive lets a holder that started again run as primary: after a renewal that it sent since, and when
// no candidate answered with a higher epoch.
func (m *Machine) goLive() {
	h := m.hold
	if h.live {
		return
	}
	if h.epochs.id == 0 {
		h.epochs = round{id: m.nextRound(), sentAt: m.now, asked: m.others(), yes: map[string]bool{}}
		m.ask(h.epochs.asked, Question{Kind: AskEpoch, Round: h.epochs.id})
	}
	if !h.renewed && m.holds(ruleRenewOnStart) {
		return
	}
	if !h.epochs.complete() && m.now.Mono-h.startedAt < askOnStart && m.holds(ruleAskOnStart) {
		return
	}
	h.live, h.primaryAt = true, m.now.Fence
	if !h.renewed {
		h.renewedAt = m.now.Fence
	}
}

// identify asks the members whose data they have.
func (m *Machine) identify() {
	h := m.hold
	if m.now.Mono-h.identified < m.durations().RenewPeriod {
		return
	}
	var unknown []string
	for _, instance := range m.spec.Members {
		p := m.peers[instance]
		if _, streams := m.facts.Standbys[p.name]; instance != m.self.Instance && (p.name == "" || !streams) {
			unknown = append(unknown, instance)
		}
	}
	if len(unknown) > 0 {
		h.identified = m.now.Mono
		m.ask(unknown, Question{Kind: AskIdentity, Round: m.nextRound()})
	}
}

// reclaimMissing takes a Lease again that somebody deleted or rolled back, after it asked all candidates
// whether they know a higher epoch.
func (m *Machine) reclaimMissing() {
	h := m.hold
	gone := m.lease.known && (m.lease.version == "" || m.lease.record.Epoch < h.epoch)
	if !gone || !h.live || h.leaving != nil || !m.healthy() {
		return
	}
	d := m.durations()
	if h.writing != 0 && m.now.Fence-h.triedAt < 2*d.RetryPeriod {
		return
	}
	if h.epochs.id == 0 || m.now.Mono-h.epochs.sentAt.Mono > d.RetryPeriod {
		h.epochs = round{id: m.nextRound(), sentAt: m.now, asked: m.others(), yes: map[string]bool{}}
		m.ask(h.epochs.asked, Question{Kind: AskEpoch, Round: h.epochs.id})
		return
	}
	if !h.epochs.complete() && m.now.Mono-h.epochs.sentAt.Mono < askPause {
		return
	}
	r := m.disk.Record
	r.Holder, r.Epoch, r.Handover = m.self.Identity, m.nextEpoch(), ""
	m.disk.AskedEpoch = r.Epoch
	h.epochs = round{}
	h.triedAt = m.now.Fence
	h.writing, h.writes = m.write(r), r
	h.sent[h.writing] = m.now.Fence
}

// nextEpoch is one that nobody used.
func (m *Machine) nextEpoch() int64 {
	highest := max(m.disk.HighestEpoch, m.disk.OwnEpoch)
	if m.holds(ruleAsked) {
		highest = max(highest, m.disk.AskedEpoch)
	}
	return highest + 1
}

// wantedOfHolder is what the engine of the holder must be.
func (m *Machine) wantedOfHolder() Want {
	h := m.hold
	switch {
	case h.leaving != nil:
		return Want{Mode: ModeDown, Kill: h.leaving.kill}
	case !h.live && m.want.Mode == ModeReplica:
		return Want{Mode: ModeReplica}
	case !h.live:
		return Want{Mode: ModeDown}
	}
	w := Want{Mode: ModePrimary, Synchronous: m.synchronous(), Replicas: m.replicas()}
	w.Admit = m.admitted(w.Synchronous)
	return w
}

// replicas are the names that the log is kept for.
func (m *Machine) replicas() []string {
	names := map[string]bool{}
	for _, c := range m.union() {
		names[c.Name] = true
	}
	for _, instance := range m.spec.Members {
		names[m.peers[instance].name] = true
	}
	delete(names, "")
	delete(names, m.disk.Name)
	return slices.Sorted(maps.Keys(names))
}

// admitted: the replicas have all that the engine had when it became primary: a commit that was still
// waiting then has become visible, and must not be lost.
func (m *Machine) admitted(wanted Synchronous) bool {
	a := &m.hold.admit
	if m.facts.Mode != ModePrimary {
		*a = admission{}
		return false
	}
	if !a.marked {
		if m.want.Mode != ModePrimary {
			return false
		}
		a.marked, a.position = true, m.facts.Position
	}
	a.done = a.done || m.flushedBy(wanted.Names, a.position) >= wanted.W || !m.holds(ruleAdmit)
	return a.done
}

// flushedBy counts the names that have everything up to a position.
func (m *Machine) flushedBy(names []string, position Position) int {
	n := 0
	for _, name := range names {
		if flushed, ok := m.facts.Standbys[name]; ok && flushed >= position {
			n++
		}
	}
	return n
}

// Deadline is when the engine must be down unless another renewal counts (Now.Fence); false while nothing
// must be renewed. The watchdog kills the engine then, should the agent not run. Once the reign is lost
// it has passed, until the engine was seen down.
func (m *Machine) Deadline() (time.Duration, bool) {
	switch {
	case m.mustDown:
		return 0, true
	case m.hold == nil || !m.hold.live || m.sole():
		return 0, false
	}
	return m.hold.renewedAt + m.durations().killed(), true
}
