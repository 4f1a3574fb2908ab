package election

import "slices"

// What comes from outside: the Lease, the outcome of writes, and questions and answers of peers. All of it
// may be late, doubled, or out of order.

// seeLease learns what the API says. A read that was sent before the known version was first shown may be
// older than that.
func (m *Machine) seeLease(e *LeaseSeen) {
	l := &m.lease
	if e.SentAt < 0 {
		m.seeNews(e)
		return
	}
	if e.SentAt < l.writtenAt || l.known && e.Version != l.version && e.SentAt < l.firstAt {
		return
	}
	l.stale = false
	l.answeredAt = max(l.answeredAt, e.SentAt)
	if !l.known || e.Version != l.version {
		m.show(e.Version, &e.Record)
		return
	}
	if l.version == "" && e.SentAt-l.stillAt > m.limits.fresh+m.durations().RetryPeriod && m.holds(ruleMissingAnew) {
		// One Lease that is missing looks like another: there may have been one in between.
		l.firstAt, l.stillAt = m.now.Mono, m.now.Mono
	}
	l.stillAt = max(l.stillAt, e.SentAt)
}

// seeNews learns a watch's news. They are believed when they follow from what is known; else the API is
// asked.
func (m *Machine) seeNews(e *LeaseSeen) {
	l := &m.lease
	switch {
	case !l.known || e.Version == l.version:
	case e.Version != "" && e.Record.After(&l.record):
		m.show(e.Version, &e.Record)
		if e.Record.Holder == "" {
			// Who wants to claim needs an answer, and not just news.
			l.readAt = -forLong
		}
	default:
		m.doubt()
	}
}

// doubt has the Lease read at once.
func (m *Machine) doubt() {
	if !m.lease.stale {
		m.lease.stale, m.lease.readAt = true, -forLong
	}
}

// show takes a version that was not seen before.
func (m *Machine) show(version string, r *Record) {
	if c := m.claim; c != nil && c.writing != 0 && r.Holder == m.self.Identity && r.Epoch == c.record.Epoch {
		// The claim is committed; its own answer is late.
		m.committed(version, *r)
		m.won()
		return
	}
	m.setLease(version, *r)
	if m.hold != nil && r.Holder == m.self.Identity {
		m.count(r.Stamp)
	}
}

// setLease notes a version that was not seen before.
func (m *Machine) setLease(version string, r Record) {
	l := &m.lease
	if m.holds(ruleTimed) || !l.known || r.Epoch != l.record.Epoch {
		l.firstAt = m.now.Mono
	}
	l.known, l.stale, l.version, l.record, l.stillAt = true, false, version, r, m.now.Mono
	if r.Holder == "" && r.Epoch >= m.promise.epoch {
		// To whom it was given has released the Lease. (One of an earlier epoch, put there by hand, would do no
		// harm either: it begins the silence anew.)
		m.promise.until = 0
	}
}

// seeWritten learns the outcome of a write.
func (m *Machine) seeWritten(e LeaseWritten) {
	if e.Outcome == Conflict {
		m.doubt()
	}
	if c := m.claim; c != nil && c.writing == e.ID {
		c.writing = 0
		if e.Outcome == Committed {
			m.committed(e.Version, c.record)
			m.won()
		}
		return
	}
	h := m.hold
	if h == nil || h.writing != e.ID {
		if e.Outcome == Committed {
			m.doubt()
		}
		return
	}
	h.writing = 0
	switch e.Outcome {
	case Committed:
		if h.base == m.lease.version {
			m.committed(e.Version, h.writes)
		} else {
			// It was overtaken: something else was seen since.
			m.doubt()
		}
		m.count(e.ID)
	case Conflict:
		h.failed, h.unanswered = true, false
	case Unknown:
		h.failed, h.unanswered = true, true
	}
}

// committed notes what we wrote. What we sent before cannot be committed any more.
func (m *Machine) committed(version string, r Record) {
	m.setLease(version, r)
	m.lease.writtenAt = m.now.Mono
	m.disk.Unsettled = nil
	m.disk.HighestEpoch = max(m.disk.HighestEpoch, r.Epoch)
	if !m.disk.Record.sameContent(&r) {
		m.disk.Record = r
	}
}

// learn notes what a peer says of itself and of the Lease.
func (m *Machine) learn(instance, name string, r *Record, highest int64) {
	p := m.peers[instance]
	p.answeredAt = m.now.Mono
	if name != "" {
		p.name = name
	}
	m.peers[instance] = p
	if !m.holds(ruleTell) {
		return
	}
	m.disk.HighestEpoch = max(m.disk.HighestEpoch, highest)
	if r != nil && r.After(&m.disk.Record) && !r.sameContent(&m.disk.Record) {
		m.disk.Record = *r
	}
}

// seeAnswer learns a peer's answer.
func (m *Machine) seeAnswer(e *Answered) {
	q, a := &e.Question, &e.Answer
	m.learn(a.Instance, a.Name, &a.Record, a.HighestEpoch)
	if m.holds(ruleToldAsked) && m.holds(ruleTell) {
		m.disk.AskedEpoch = max(m.disk.AskedEpoch, a.AskedEpoch)
	}
	if q.Kind == AskIdentity {
		p := m.peers[a.Instance]
		p.behind, p.behindAt = a.Unable, m.now.Mono
		m.peers[a.Instance] = p
	}
	switch {
	case q.Kind == AskIdentity && a.Yes:
		m.ran.name, m.ran.at = a.Name, m.now.Mono
	case q.Kind == AskPosition && m.claim != nil && q.Version == m.claim.version:
		m.seePosition(q, a)
	case m.hold != nil:
		m.seeAnswerToHolder(q, a)
	}
}

func (m *Machine) seePosition(q *Question, a *Answer) {
	c := m.claim
	if a.Yes {
		c.answers[a.Name] = answered{Answer: *a, at: m.now.Mono}
	}
	if q.Round == c.round.id {
		c.round.answer(a)
	}
}

func (m *Machine) seeAnswerToHolder(q *Question, a *Answer) {
	h := m.hold
	switch {
	case q.Kind == AskPromise && q.Round == h.promises.id && q.Epoch == h.epoch:
		h.promises.answer(a)
		m.countPromises()
	case q.Kind == AskEpoch && q.Round == h.epochs.id:
		h.epochs.answer(a)
	case q.Kind == AskContains && h.leaving != nil && q.Round == h.leaving.round:
		h.leaving.hears(a)
	}
}

// reply answers a question.
func (m *Machine) reply(e *Asked) {
	q := &e.Question
	a := Answer{Instance: m.self.Instance, Record: *m.newest(), HighestEpoch: m.disk.HighestEpoch, AskedEpoch: m.disk.AskedEpoch, Priority: m.spec.Priority}
	if m.fit() {
		a.Name = m.disk.Name
	}
	switch q.Kind {
	case AskIdentity:
		a.Yes = m.hold != nil && m.hold.live && m.facts.Mode == ModePrimary
		a.Unable = m.behind
	case AskEpoch:
		a.Yes = true
	case AskPromise:
		if a.Yes = m.promises(q); a.Yes {
			m.promise = promise{epoch: max(m.promise.epoch, q.Epoch), until: max(m.promise.until, m.now.Mono+q.Lease)}
		}
	case AskPosition:
		if m.mayAnswer(q) {
			a = m.position()
		}
	case AskContains:
		a.Unable = !m.capable()
		a.Yes = !a.Unable && m.contains(q)
		m.standAlone(q)
	}
	m.do(Reply{Token: e.Token, Answer: a})
}

// standAlone takes the source away from one who is asked whether it has everything: the source is down then, and
// sends no more. Without a source nothing holds replay up, like a query that reads, and a claim need not wait for
// this. When nothing comes of it, it is followed again soon.
func (m *Machine) standAlone(q *Question) {
	if leader := m.leader(); m.hold == nil && leader != nil && leader.Instance == q.From && m.disk.Chain.last() == q.Epoch {
		m.following, m.aloneUntil = source{}, m.now.Mono+2*m.limits.askPause
	}
}

// contains: this data has everything up to that position, written under that epoch.
func (m *Machine) contains(q *Question) bool {
	return m.hold == nil && m.fit() && m.facts.Mode == ModeReplica && m.facts.Position >= q.Position && m.disk.Chain.last() == q.Epoch
}

// claiming: a claim of ours, or another record, may yet be committed.
func (m *Machine) claiming() bool {
	return m.claim != nil && m.claim.writing != 0 ||
		slices.ContainsFunc(m.disk.Unsettled, func(s Sent) bool { return !m.lease.known || s.Base == m.lease.version })
}

// promises: nothing newer is known, no claim is in flight or unknown, and this version is not fenced.
func (m *Machine) promises(q *Question) bool {
	newest := m.newest()
	newer := newest.Epoch > q.Epoch || newest.Epoch == q.Epoch && newest.Holder != q.Holder || m.disk.HighestEpoch > q.Epoch
	switch {
	case m.hold != nil, newer && m.holds(ruleNewerPromise):
		return false
	case m.claiming() && m.holds(ruleUnknownClaim):
		return false
	case m.fenced() && m.holds(ruleFencedPromise):
		return false
	}
	return true
}

// mayAnswer: the position is known at that version, and the fence is in place. Where it is not, this puts
// it there, and a later question gets the answer. An instance that could not claim by itself does not
// answer: as the best it would keep the others from claiming.
func (m *Machine) mayAnswer(q *Question) bool {
	switch {
	case m.hold != nil, !m.able(), m.claiming() && m.holds(ruleUnknownClaim):
		return false
	case m.lease.version != q.Version || !m.fresh():
		return false
	case m.promised() && m.holds(ruleNoAnswerUnderPromise):
		return false
	case !m.released() && !m.silent() && m.holds(rulePeerSilence):
		return false
	}
	if m.disk.Fence != m.fenceAt() && m.holds(ruleFence) {
		m.disk.Fence = m.fenceAt()
		m.following = source{}
		return false
	}
	return m.known()
}

// fenceAt is the version at which an instance that answers takes its source away; a missing Lease has one, too.
func (m *Machine) fenceAt() string {
	if m.lease.version == "" {
		return "missing"
	}
	return m.lease.version
}

// fenced: the source was taken away at this version, or at one that may still be the newest.
func (m *Machine) fenced() bool {
	return m.disk.Fence != "" && (!m.lease.known || m.disk.Fence == m.fenceAt())
}
