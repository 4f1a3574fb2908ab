package election

import "strings"

// What comes from outside: the Lease, the outcome of writes, and questions and answers of peers.

// seeLease learns an answer of the API.
func (m *Machine) seeLease(e LeaseSeen) {
	l := &m.lease
	if e.SentAt >= 0 && e.SentAt < l.writtenAt {
		return
	}
	l.stale = false
	l.answeredAt = max(l.answeredAt, e.SentAt)
	if e.SentAt < 0 {
		l.answeredAt = m.now.Mono
	}
	if l.known && e.Version == l.version {
		l.stillAt = max(l.stillAt, e.SentAt)
		return
	}
	if c := m.claim; c != nil && c.writing != 0 && e.Record.Holder == m.self.Identity && e.Record.Epoch == c.record.Epoch {
		// The claim is committed; its own answer is late.
		m.committed(e.Version, e.Record)
		m.won()
		return
	}
	m.setLease(e.Version, e.Record)
	if h := m.hold; h != nil && e.Record.Holder == m.self.Identity {
		m.count(e.Record.Stamp)
		m.adopt(e.Record.Epoch)
	}
}

// setLease notes a version that was not seen before.
func (m *Machine) setLease(version string, r Record) {
	l := &m.lease
	l.known, l.version, l.record = true, version, r
	l.firstAt, l.stillAt = m.now.Mono, m.now.Mono
	if r.Holder == "" && m.holds(ruleFence) {
		m.promise.until = 0
	}
}

// adopt takes the epoch of a Lease that this holder claimed again while it ran.
func (m *Machine) adopt(epoch int64) {
	if epoch > m.hold.epoch && epoch <= m.disk.AskedEpoch {
		m.hold.epoch, m.disk.OwnEpoch = epoch, epoch
	}
}

// seeWritten learns the outcome of a write.
func (m *Machine) seeWritten(e LeaseWritten) {
	if e.Outcome != Unknown {
		m.lease.answeredAt = m.now.Mono
	}
	if e.Outcome == Conflict {
		m.lease.stale, m.lease.readAt = true, -forLong
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
			m.lease.stale, m.lease.readAt = true, -forLong
		}
		return
	}
	h.writing = 0
	switch e.Outcome {
	case Committed:
		m.committed(e.Version, h.writes)
		m.count(e.ID)
		m.adopt(h.writes.Epoch)
	case Conflict:
		h.failed, h.unanswered = true, false
	case Unknown:
		h.failed, h.unanswered = true, true
	}
}

// committed notes what we wrote.
func (m *Machine) committed(version string, r Record) {
	m.setLease(version, r)
	m.lease.writtenAt = m.now.Mono
	m.disk.Unsettled = nil
	m.disk.HighestEpoch = max(m.disk.HighestEpoch, r.Epoch)
	m.disk.Record = r
	m.disk.Record.Stamp = 0
}

// learn notes what a peer says of itself and of the Lease.
func (m *Machine) learn(instance, name string, r *Record, highest int64) {
	p := m.peers[instance]
	p.answeredAt = m.now.Mono
	if name != "" {
		p.name = name
	}
	m.peers[instance] = p
	m.disk.HighestEpoch = max(m.disk.HighestEpoch, highest)
	if r != nil && r.Newer(&m.disk.Record) {
		m.disk.Record = *r
		m.disk.Record.Stamp = 0
	}
}

// seeAnswer learns a peer's answer.
func (m *Machine) seeAnswer(e Answered) {
	a := e.Answer
	m.learn(a.Instance, a.Name, &a.Record, a.HighestEpoch)
	m.disk.AskedEpoch = max(m.disk.AskedEpoch, a.AskedEpoch)
	if c := m.claim; c != nil && a.Yes && e.Question.Kind == AskPosition && e.Question.Version == c.version {
		c.answers[a.Name] = a
		if e.Question.Round == c.round.id {
			c.round.yes[a.Instance] = true
		}
	}
	h := m.hold
	if h == nil || !a.Yes {
		return
	}
	switch q := e.Question; q.Kind {
	case AskPromise:
		if q.Round == h.promises.id && q.Epoch == h.epoch {
			h.promises.yes[a.Instance] = true
			m.countPromises()
		}
	case AskEpoch:
		if q.Round == h.epochs.id {
			h.epochs.yes[a.Instance] = true
		}
	case AskContains:
		if l := h.leaving; l != nil && q.Round == l.round {
			l.confirmed = true
		}
	case AskIdentity, AskPosition:
	}
}

// reply answers a question.
func (m *Machine) reply(e Asked) {
	a := Answer{Instance: m.self.Instance, Record: *m.newest(), HighestEpoch: m.disk.HighestEpoch, AskedEpoch: m.disk.AskedEpoch, Priority: m.spec.Priority}
	if !m.disk.Rebuilding || m.rebuild == "" && m.following != (source{}) {
		a.Name = m.disk.Name
	}
	switch q := e.Question; q.Kind {
	case AskIdentity, AskEpoch:
		a.Yes = true
	case AskPromise:
		if a.Yes = m.promises(&q); a.Yes {
			m.promise = promise{holder: q.Holder, epoch: q.Epoch, until: max(m.promise.until, m.now.Mono+q.Lease)}
		}
	case AskPosition:
		if m.mayAnswer(&q) {
			a = m.position()
		}
	case AskContains:
		chain := m.disk.Chain
		a.Yes = m.hold == nil && !m.disk.Rebuilding && m.facts.Mode == ModeReplica && m.facts.Position >= q.Position &&
			len(chain) > 0 && chain[len(chain)-1].Number == q.Epoch
	}
	m.do(Reply{Token: e.Token, Answer: a})
}

// claiming: a claim or a release of ours is under way, or its outcome is not known.
func (m *Machine) claiming() bool {
	return m.claim != nil && m.claim.writing != 0 || len(m.disk.Unsettled) > 0
}

// promises: nothing newer is known, no claim is in flight or unknown, and this version is not fenced.
func (m *Machine) promises(q *Question) bool {
	newest := m.newest()
	newer := newest.Epoch > q.Epoch || newest.Epoch == q.Epoch && newest.Holder != q.Holder || m.disk.HighestEpoch > q.Epoch
	fenced := m.disk.Fence != "" && (!m.lease.known || m.disk.Fence == m.fenceAt())
	switch {
	case m.hold != nil, newer && m.holds(ruleNewerPromise):
		return false
	case m.claiming() && m.holds(ruleUnknownClaim):
		return false
	case fenced && m.holds(ruleFencedPromise):
		return false
	}
	return true
}

// mayAnswer: the position is known at that version, and the fence is in place. Where it is not, this puts
// it there, and a later question gets the answer.
func (m *Machine) mayAnswer(q *Question) bool {
	switch {
	case m.hold != nil, m.disk.Name == "", m.disk.Rebuilding, m.rebuild != "", m.mustDown, m.claiming() && m.holds(ruleUnknownClaim):
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
	return m.known() || !m.holds(ruleFence)
}

// sameInstance compares the pods of two identities, without their UIDs.
func sameInstance(a, b string) bool {
	x, _, _ := strings.Cut(a, "/")
	y, _, _ := strings.Cut(b, "/")
	return x == y
}
