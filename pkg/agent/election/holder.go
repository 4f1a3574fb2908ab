package election

import (
	"maps"
	"slices"
	"time"
)

// The holder: it renews, and stops in time.

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
	// writes is the record in it, and base the version that it is to follow.
	writes  Record
	base    string
	triedAt time.Duration
	// failed: the last try had no answer, or an answer that was no renewal; unanswered: no answer.
	failed, unanswered bool
	promises           round
	// epochs is the question for a higher epoch; asked: since the renewal on start.
	epochs     round
	asked      bool
	identified time.Duration
	// target is the record with the next change in it.
	target Record
	shrink shrink
	// primaryAt is when the engine was last seen as primary (Now.Fence).
	primaryAt time.Duration
	crashed   bool
	admit     admission
	leaving   *leaving
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
	// gave is true after epoch was given up, at gaveAt.
	gave   bool
	epoch  int64
	gaveAt time.Duration
}

// gaveUp: the epoch was given up because the engine does not come back.
func (r *restarts) gaveUp(epoch int64) bool { return r.gave && r.epoch == epoch }

// failing: the engine was given up not long ago. Others are to have a chance: as the last holder this
// instance has most of the log, and would win again and again.
func (m *Machine) failing() bool {
	return m.restarts.gave && m.now.Mono-m.restarts.gaveAt < 2*m.durations().Lease
}

func (m *Machine) newHold(epoch int64) *holding {
	return &holding{
		epoch: epoch, startedAt: m.now.Mono, sent: map[int64]time.Duration{}, triedAt: -forLong, primaryAt: m.now.Fence,
		identified: -forLong,
	}
}

// own: the newest record says that this instance holds the Lease, under its own epoch.
func (m *Machine) own() bool {
	r := m.newest()
	return r.Holder == m.self.Identity && r.Epoch == m.disk.OwnEpoch && r.Epoch >= m.disk.HighestEpoch
}

// regain takes the Lease up again: the same pod, the same epoch, the same data. Nobody else can have claimed
// meanwhile without another version of the Lease, which a renewal would meet; so there is no need for a
// new epoch.
func (m *Machine) regain() {
	r := m.newest()
	if !m.own() || m.mustDown || m.spec.Stop || r.Name != m.disk.Name || !m.fit() ||
		m.disk.Releasing && m.holds(ruleUnsettledRelease) || m.lowered() || m.stalled() || m.restarts.gaveUp(r.Epoch) {
		return
	}
	m.hold = m.newHold(r.Epoch)
}

func (m *Machine) evaluateHolder() {
	h := m.hold
	if m.superseded() {
		m.lose()
		return
	}
	if !h.live && m.lowered() {
		// Only who runs takes back what was deleted or rolled back; the others wait.
		m.hold = nil
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
	h.target = m.target()
	m.reclaimMissing()
	m.identify()
	m.failsafe(d)
	m.goLive(d)
	m.leave()
	if m.hold != nil {
		m.renew(d)
	}
}

// superseded: another holder stands on the Lease, or in what a peer knows, with an epoch that is not below
// this one's; or there is a higher epoch. What is below was put there by hand, and is taken back.
func (m *Machine) superseded() bool {
	h := m.hold
	if r := &m.disk.Record; r.Holder != m.self.Identity && r.Epoch >= h.epoch {
		return true
	}
	if r := &m.lease.record; m.lease.known && m.lease.version != "" && r.Holder != m.self.Identity && !m.lowered() {
		return true
	}
	lower := m.lease.known && m.lease.version != "" && m.lease.record.Holder != m.self.Identity
	return m.disk.HighestEpoch > h.epoch || lower && !m.holds(ruleLower)
}

// lose ends the reign at once.
func (m *Machine) lose() {
	m.hold, m.mustDown = nil, true
	m.following = source{}
}

// sole: nobody else may be promoted, so there is nothing to renew against.
func (m *Machine) sole() bool {
	sole := true
	m.eachCandidate(func(c Candidate) bool {
		sole = c.Name == m.disk.Name
		return sole
	})
	return sole
}

// healthy: the volume and the engine answer, or are allowed not to for a moment. A holder that does not run
// yet has no engine that could.
func (m *Machine) healthy() bool {
	h := m.hold
	if !h.live || m.facts.Mode == ModePrimary {
		h.primaryAt = m.now.Fence
	}
	limit := m.limits.restart
	if h.leaving != nil {
		limit += m.limits.handover
	}
	return !m.holds(ruleStall) || m.now.Fence-h.primaryAt <= limit && !m.stalled()
}

// renew sends the next renewal when it is due, with what is to change.
func (m *Machine) renew(d Durations) {
	h, l := m.hold, &m.lease
	if !m.healthy() || !l.known || l.version == "" || l.record.Epoch != h.epoch || l.record.Holder != m.self.Identity {
		return
	}
	next := m.nextRecord()
	if !m.due(&next, d) {
		return
	}
	if m.sole() && len(next.Candidates) > 1 {
		// Nobody else may claim before this is committed: until then the deadline need not count.
		h.renewedAt = m.now.Fence
	}
	m.send(next)
}

// due: the last try is over, and it is time for the next one, or there is something new to say.
func (m *Machine) due(next *Record, d Durations) bool {
	h := m.hold
	since := m.now.Fence - h.triedAt
	switch {
	case h.writing != 0 && since < 2*d.RetryPeriod:
		return false
	case !h.renewed:
		return true
	case since < d.RetryPeriod:
		return false
	case !next.sameContent(&m.lease.record):
		return true
	default:
		return !m.sole() && (h.failed || since >= d.RenewPeriod)
	}
}

// send writes a record that counts as a renewal.
func (m *Machine) send(r Record) {
	h := m.hold
	h.triedAt, h.base, h.writes = m.now.Fence, m.lease.version, m.write(r)
	h.writing = h.writes.Stamp
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
	since := m.now.Fence - h.promises.sentAt.Fence
	if !m.unanswered(d) || !m.healthy() || m.disk.Releasing || h.promises.id != 0 && since < m.limits.askPause {
		return
	}
	if !h.live {
		// A promise keeps its giver from claiming. Who does not run yet asks for none that cannot be of use,
		// nor again and again: the others would wait for it for ever.
		if len(h.promises.no) > 0 && since < 2*d.Lease || !m.reachesAll() {
			return
		}
		h.epochs = round{}
	}
	h.promises = m.newRound()
	m.ask(h.promises.asked, Question{Kind: AskPromise, Round: h.promises.id, Holder: m.self.Identity, Epoch: h.epoch, Lease: d.Lease})
	m.countPromises()
}

// unanswered: the API did not answer the last renewal, or has not in time; or it never did.
func (m *Machine) unanswered(d Durations) bool {
	h := m.hold
	return h.unanswered || h.writing != 0 && m.now.Fence-h.triedAt >= d.RetryPeriod ||
		!m.lease.known && m.now.Mono-h.startedAt >= d.RetryPeriod
}

// reachesAll: all candidates answered the question for a higher epoch, which is asked until they do.
func (m *Machine) reachesAll() bool {
	e := &m.hold.epochs
	if e.id != 0 && !e.complete() && m.now.Mono-e.sentAt.Mono >= m.limits.askPause {
		m.askEpochs()
	}
	return e.complete()
}

func (m *Machine) askEpochs() {
	e := &m.hold.epochs
	*e = m.newRound()
	m.ask(e.asked, Question{Kind: AskEpoch, Round: e.id})
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
func (m *Machine) goLive(d Durations) {
	h := m.hold
	if h.live {
		if m.spec.Force != "" {
			m.disk.Forced = m.spec.Force
		}
		return
	}
	if h.epochs.id == 0 {
		m.askEpochs()
	}
	if (!h.renewed || m.now.Fence-h.renewedAt >= d.RenewDeadline) && m.holds(ruleRenewOnStart) {
		h.asked = false
		return
	}
	if !m.askedOnStart() && m.holds(ruleAskOnStart) {
		return
	}
	h.live, h.primaryAt = true, m.now.Fence
	if !h.renewed {
		h.renewedAt = m.now.Fence
	}
}

// askedOnStart: all candidates were just asked for a higher epoch, and had the time to answer. What was asked
// before the renewal does when all have answered; else it may have been asked while nobody could hear it.
func (m *Machine) askedOnStart() bool {
	h := m.hold
	age := m.now.Mono - h.epochs.sentAt.Mono
	if h.epochs.complete() && age <= m.limits.fresh {
		return true
	}
	if !h.asked {
		h.asked = true
		m.askEpochs()
		return h.epochs.complete()
	}
	return age >= m.limits.askOnStart
}

// identify asks the members whose data they have.
func (m *Machine) identify() {
	h := m.hold
	if m.now.Mono-h.identified < m.durations().RenewPeriod {
		return
	}
	var unknown []string
	for _, instance := range m.spec.Members {
		name := m.peers[instance].name
		if _, streams := m.facts.Standbys[name]; instance != m.self.Instance && (name == "" || !streams) {
			unknown = append(unknown, instance)
		}
	}
	if len(unknown) > 0 {
		h.identified = m.now.Mono
		m.ask(unknown, Question{Kind: AskIdentity, Round: m.nextRound()})
	}
}

// reclaimMissing takes a Lease again that somebody deleted or rolled back, after it asked all candidates
// whether they know a higher epoch. One that was rolled back to an earlier record of this very epoch is
// simply written again.
func (m *Machine) reclaimMissing() {
	h, d := m.hold, m.durations()
	gone := m.lease.known && (m.lease.version == "" || m.lease.record.Epoch < h.epoch)
	if !gone || !h.live || h.leaving != nil || !m.healthy() || h.writing != 0 && m.now.Fence-h.triedAt < 2*d.RetryPeriod {
		return
	}
	if h.epochs.id == 0 || m.now.Mono-h.epochs.sentAt.Mono > d.RetryPeriod {
		m.askEpochs()
		return
	}
	if !m.over(&h.epochs) {
		return
	}
	r := m.disk.Record
	r.Holder, r.Epoch, r.Handover = m.self.Identity, m.nextEpoch(), ""
	m.disk.AskedEpoch = r.Epoch
	h.epochs = round{}
	m.send(r)
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
	w := Want{Mode: ModePrimary, Epoch: m.disk.Chain.last(), Synchronous: m.synchronous(), Replicas: m.replicas()}
	if !m.holds(ruleSourceEpoch) {
		w.Epoch = 0
	}
	w.Admit = m.admitted(w.Synchronous)
	return w
}

// replicas are the names that the log is kept for.
func (m *Machine) replicas() []string {
	names := m.scratch[:0]
	m.eachCandidate(func(c Candidate) bool {
		names = append(names, c.Name)
		return true
	})
	for _, instance := range m.spec.Members {
		names = append(names, m.peers[instance].name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" || name == m.disk.Name })
	return m.sorted(names, m.want.Replicas)
}

// sorted are the names in order, each once; the very slice from before when that is the same.
func (m *Machine) sorted(names, before []string) []string {
	slices.Sort(names)
	m.scratch = slices.Compact(names)
	if slices.Equal(m.scratch, before) {
		return before
	}
	return slices.Clone(m.scratch)
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
		if m.want.Mode != ModePrimary || !m.whole() {
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
	case m.hold == nil || !m.hold.live || m.sole() || !m.holds(ruleDeadline):
		return 0, false
	}
	return m.hold.renewedAt + m.durations().killed(), true
}
