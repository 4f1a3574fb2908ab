package election

import (
	"cmp"
	"slices"
	"time"
)

// Leaving: a switchover, the stop of the instance, or an engine that does not come back.
//
//  1. The engine stops, while the holder keeps renewing, and the API is seen to answer.
//  2. The successor confirms that its data contains the end of the log, written under this epoch. One that could not
//     claim says so, and the next is asked.
//  3. The release names it. Before that everything can be taken back; after it nothing can.

// leaving is the end of a reign, on purpose.
type leaving struct {
	// must: it leaves whether or not somebody is there to follow.
	must bool
	kill bool
	// successors are those who may follow, the best first. The first is asked, until it says that it is unable.
	successors []Candidate
	since      time.Duration
	down       bool
	downAt     time.Duration
	askedAt    time.Duration
	round      int64
	confirmed  bool
}

// HandoverOutcome says how the handover that was last asked for went.
type HandoverOutcome struct {
	ID string
	// State is Running, Completed or Aborted.
	State   string
	Message string
}

// The states of a handover.
const (
	HandoverRunning   = "Running"
	HandoverCompleted = "Completed"
	HandoverAborted   = "Aborted"
)

// Handover is how the handover that was last asked for went.
func (m *Machine) Handover() HandoverOutcome { return m.disk.Handover }

func (m *Machine) leave() {
	h := m.hold
	if h.leaving == nil || m.disk.Name == "" && !h.leaving.must {
		m.beginLeaving()
	}
	l := h.leaving
	if l == nil {
		return
	}
	if m.isDown() && !l.down {
		l.down, l.downAt = true, m.now.Mono
	}
	m.goOnLeaving(l)
}

func (m *Machine) goOnLeaving(l *leaving) {
	switch {
	case !l.down && !m.holds(ruleDownFirst):
		m.release("")
	case l.down && m.lease.answeredAt < l.downAt:
		m.askAPI(l)
	case l.must:
		m.leaveNow(l)
	default:
		m.handOver(l)
	}
}

// askAPI waits until the API has answered since the engine is down (read): it may have gone away. A release of which
// nobody knows whether it was committed would keep this instance from running, and nobody else could claim.
func (m *Machine) askAPI(l *leaving) {
	switch {
	case m.now.Mono-l.downAt < m.limits.stop:
	case l.must:
		m.lose()
	default:
		m.abort("the API server does not answer")
	}
}

// leaveNow waits for the engine, and for a moment for a successor.
func (m *Machine) leaveNow(l *leaving) {
	switch {
	case !l.down:
	case m.confirmed(l):
		m.release(l.successors[0].Name)
	case len(l.successors) == 0, !m.facts.Settled, m.now.Mono-l.downAt >= m.limits.stop:
		m.release("")
	default:
		m.askSuccessor()
	}
}

// handOver waits for the engine and for the successor, or takes everything back.
func (m *Machine) handOver(l *leaving) {
	late := m.now.Mono-l.since >= m.limits.handover
	switch {
	case m.lowered():
		m.abort("somebody deleted the Lease or rolled it back")
	case !l.down && late:
		m.abort("the engine did not stop in time")
	case !l.down:
	case len(l.successors) == 0:
		m.abort("no candidate that was asked can take over now")
	case m.confirmed(l):
		m.release(l.successors[0].Name)
	case !m.facts.Settled:
		m.abort("the engine did not stop cleanly")
	case late:
		m.abort("instance " + l.successors[0].Instance + " did not confirm that it has everything")
	default:
		m.askSuccessor()
	}
}

// confirmed: the successor has the end of the log.
func (m *Machine) confirmed(l *leaving) bool {
	return len(l.successors) > 0 && (l.confirmed || !m.holds(ruleConfirm))
}

// beginLeaving sees whether there is a reason to leave.
func (m *Machine) beginLeaving() {
	h := m.hold
	switch {
	case m.disk.Name == "", h.live && m.failed():
		h.leaving = &leaving{must: true, kill: true, since: m.now.Mono}
		m.restarts.epoch, m.restarts.gave, m.restarts.gaveAt = h.epoch, true, m.now.Mono
	case m.spec.Stop:
		h.leaving = &leaving{must: true, since: m.now.Mono}
		if h.live {
			h.leaving.successors = m.successors("")
		}
	case h.live && !h.failed && m.spec.Handover != "" && m.spec.HandoverID != m.disk.Handover.ID:
		m.beginHandover()
	}
}

func (m *Machine) beginHandover() {
	o := &m.disk.Handover
	*o = HandoverOutcome{ID: m.spec.HandoverID, State: HandoverRunning}
	to := m.spec.Handover
	if to == m.self.Instance {
		m.endHandover(true)
		return
	}
	if to == "*" {
		to = ""
	}
	successors := m.successors(to)
	if len(successors) == 0 {
		o.State, o.Message = HandoverAborted, "no candidate is streaming and close enough"
		return
	}
	m.hold.leaving = &leaving{since: m.now.Mono, successors: successors}
}

// endHandover notes whether the Lease was given away.
func (m *Machine) endHandover(done bool) {
	switch o := &m.disk.Handover; {
	case o.State != HandoverRunning:
	case done:
		o.State = HandoverCompleted
	default:
		o.State, o.Message = HandoverAborted, "the Lease was written by another while it was released"
	}
}

// successors are the candidates that stream and are close enough, who has most of the log first; or that of one instance.
// Close is also what they have replayed: nobody takes writes until the one that follows has replayed the rest.
func (m *Machine) successors(instance string) []Candidate {
	var able []Candidate
	for _, c := range m.newest().Candidates {
		flushed, streams := m.facts.Standbys[c.Name]
		if replayed, known := m.facts.Replayed[c.Name]; known {
			flushed = min(flushed, replayed)
		}
		if c.Name != m.disk.Name && streams && flushed+m.spec.MaxLag >= m.facts.Position && (instance == "" || c.Instance == instance) &&
			slices.Contains(m.spec.Members, c.Instance) {
			able = append(able, c)
		}
	}
	slices.SortStableFunc(able, func(a, b Candidate) int { return cmp.Compare(m.facts.Standbys[b.Name], m.facts.Standbys[a.Name]) })
	return able
}

// failed: the engine ended and may not be restarted in place, or does not come back.
func (m *Machine) failed() bool {
	h := m.hold
	if m.facts.Mode == ModePrimary {
		h.primaryAt = m.now.Fence
	}
	if h.crashed {
		h.crashed = false
		if m.restarts.any && m.now.Mono-m.restarts.at < m.limits.restartPause && m.holds(ruleRestartOnce) && !m.sole() {
			return true
		}
		m.restarts.any, m.restarts.at = true, m.now.Mono
	}
	return m.now.Fence-h.primaryAt > m.limits.restart && m.holds(ruleRestartBound) && !m.sole()
}

func (m *Machine) askSuccessor() {
	l := m.hold.leaving
	if l.round != 0 && m.now.Mono-l.askedAt < m.limits.askPause/2 {
		return
	}
	l.round, l.askedAt = m.nextRound(), m.now.Mono
	m.ask([]string{l.successors[0].Instance}, Question{
		Kind: AskContains, Round: l.round, Position: m.facts.Position, Epoch: m.disk.Chain.last(),
	})
}

// hears takes a successor's answer: it has everything, or the next one is asked.
func (l *leaving) hears(a *Answer) {
	switch {
	case a.Yes:
		l.confirmed = true
	case a.Unable && !l.confirmed && len(l.successors) > 0:
		l.successors, l.round = l.successors[1:], 0
	}
}

// abort starts the engine again; the epoch is unchanged.
func (m *Machine) abort(why string) {
	h := m.hold
	h.leaving, h.admit, h.primaryAt = nil, admission{}, m.now.Fence
	m.disk.Handover.State, m.disk.Handover.Message = HandoverAborted, why
}

// release gives the Lease away. The engine is down.
func (m *Machine) release(handover string) {
	h := m.hold
	switch {
	case h.writing != 0 && m.now.Fence-h.triedAt < 2*m.durations().RetryPeriod:
		// A renewal that is committed first would take this one's base away.
	case m.sendRelease(handover):
		m.hold, m.following = nil, source{}
		m.mustDown = m.mustDown || h.leaving.kill
	case h.leaving.must:
		// The API does not let us: nothing is renewed any more, and others wait for leaseDuration.
		m.lose()
	}
}

func (m *Machine) sendRelease(handover string) bool {
	l := &m.lease
	if !l.known || l.version == "" || l.record.Holder != m.self.Identity || l.record.Epoch != m.disk.OwnEpoch {
		return false
	}
	r := *m.newest()
	r.Holder, r.Handover = "", handover
	m.disk.Releasing = true
	l.wroteAt = m.now.Mono
	m.write(r)
	return true
}

// releaseAgain repeats a release whose outcome is not known; and it releases what this instance still
// holds, but cannot take up again.
func (m *Machine) releaseAgain() {
	if m.now.Mono-m.lease.wroteAt < m.durations().RetryPeriod || !m.lease.known {
		return
	}
	if m.disk.Releasing {
		for _, s := range m.disk.Unsettled {
			if s.Record.Holder == "" && s.Base == m.lease.version {
				m.lease.wroteAt = m.now.Mono
				m.write(s.Record)
				return
			}
		}
		return
	}
	if m.own() && m.isDown() && !m.inVain() && (m.spec.Stop || m.restarts.gaveUp(m.disk.OwnEpoch)) {
		m.sendRelease("")
	}
}

// inVain: nobody else could take the Lease of a sole candidate, and the API may be away. A release of which it is not known
// whether it was committed would keep this one, too, from running.
func (m *Machine) inVain() bool { return m.sole() && !m.fresh() }
