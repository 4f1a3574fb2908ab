package election

import (
	"slices"
	"time"
)

// Leaving: a switchover, the stop of the instance, or an engine that does not come back.
//
//  1. The engine stops, while the holder keeps renewing.
//  2. The successor confirms that its data contains the end of the log, written under this epoch.
//  3. The release names it. Before that everything can be taken back; after it nothing can.

// leaving is the end of a reign, on purpose.
type leaving struct {
	// must: it leaves whether or not somebody is there to follow.
	must bool
	kill bool
	// successor is asked to follow, nil when nobody is.
	successor *Candidate
	id        string
	// tried is the successor's name in what was asked for, for the outcome.
	since     Now
	downAt    time.Duration
	down      bool
	askedAt   time.Duration
	round     int64
	confirmed bool
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
func (m *Machine) Handover() HandoverOutcome { return m.outcome }

func (m *Machine) leave() {
	h := m.hold
	if h.leaving == nil {
		m.beginLeaving()
	}
	l := h.leaving
	if l == nil {
		return
	}
	if !h.live && !m.isDown() && m.facts.Mode == ModeDown {
		// It was never started.
		l.down = l.down || m.whole()
	}
	if m.isDown() && !l.down {
		l.down, l.downAt = true, m.now.Mono
	}
	switch {
	case !l.down && !l.must && m.now.Mono-l.since.Mono >= HandoverLimit:
		m.abort("the engine did not stop in time")
	case !l.down:
		if !m.holds(ruleDownFirst) {
			m.release("")
		}
	case l.successor == nil || !m.facts.Settled:
		m.leaveWithout("the engine did not stop cleanly")
	case l.confirmed || !m.holds(ruleConfirm):
		m.release(l.successor.Name)
	case l.must && m.now.Mono-l.downAt >= stopLimit:
		m.release("")
	case !l.must && m.now.Mono-l.since.Mono >= HandoverLimit:
		m.abort("instance " + l.successor.Instance + " did not confirm that it has everything")
	default:
		m.askSuccessor()
	}
}

func (m *Machine) leaveWithout(why string) {
	if m.hold.leaving.must {
		m.release("")
		return
	}
	m.abort(why)
}

// beginLeaving sees whether there is a reason to leave.
func (m *Machine) beginLeaving() {
	h := m.hold
	switch {
	case m.spec.Stop:
		h.leaving = &leaving{must: true, since: m.now, successor: m.successor("")}
		if !h.live {
			h.leaving.successor = nil
		}
	case h.live && m.failed():
		h.leaving = &leaving{must: true, kill: true, since: m.now}
		m.restarts.epoch, m.restarts.gave = h.epoch, true
	case h.live && m.spec.Handover != "" && m.spec.HandoverID != m.outcome.ID:
		m.beginHandover()
	}
}

func (m *Machine) beginHandover() {
	m.outcome = HandoverOutcome{ID: m.spec.HandoverID, State: HandoverRunning}
	to := m.spec.Handover
	if to == m.self.Instance {
		m.outcome.State = HandoverCompleted
		return
	}
	if to == "*" {
		to = ""
	}
	successor := m.successor(to)
	if successor == nil {
		m.outcome.State, m.outcome.Message = HandoverAborted, "no candidate is streaming and close enough"
		return
	}
	m.hold.leaving = &leaving{since: m.now, successor: successor, id: m.spec.HandoverID}
}

// successor is the candidate that has most of the log, or the one of that instance.
func (m *Machine) successor(instance string) *Candidate {
	var best *Candidate
	r := &m.lease.record
	for i := range r.Candidates {
		c := &r.Candidates[i]
		flushed, streams := m.facts.Standbys[c.Name]
		if c.Name == m.disk.Name || !streams || flushed+m.spec.MaxLag < m.facts.Position || instance != "" && c.Instance != instance ||
			!slices.Contains(m.spec.Members, c.Instance) {
			continue
		}
		if best == nil || flushed > m.facts.Standbys[best.Name] {
			best = c
		}
	}
	return best
}

// failed: the engine ended and may not be restarted in place, or does not come back.
func (m *Machine) failed() bool {
	h := m.hold
	if m.facts.Mode == ModePrimary {
		h.primaryAt = m.now.Fence
	}
	if h.crashed {
		h.crashed = false
		if m.restarts.any && m.now.Mono-m.restarts.at < restartPause && m.holds(ruleRestartOnce) && !m.sole() {
			return true
		}
		m.restarts.any, m.restarts.at = true, m.now.Mono
	}
	return m.now.Fence-h.primaryAt > restartLimit && !m.sole()
}

func (m *Machine) askSuccessor() {
	l := m.hold.leaving
	if l.round != 0 && m.now.Mono-l.askedAt < askPause/2 {
		return
	}
	chain := m.disk.Chain
	l.round, l.askedAt = m.nextRound(), m.now.Mono
	m.ask([]string{l.successor.Instance}, Question{
		Kind: AskContains, Round: l.round, Position: m.facts.Position, Epoch: chain[len(chain)-1].Number,
	})
}

// abort starts the engine again; the epoch is unchanged.
func (m *Machine) abort(why string) {
	m.hold.leaving = nil
	m.hold.primaryAt = m.now.Fence
	m.outcome.State, m.outcome.Message = HandoverAborted, why
}

// release gives the Lease away. The engine is down.
func (m *Machine) release(handover string) {
	l := m.hold.leaving
	if !m.lease.known || m.lease.version == "" || m.lease.record.Holder != m.self.Identity {
		// The API does not let us: nothing is renewed any more, and others wait for leaseDuration.
		if l.must {
			m.lose()
		}
		return
	}
	r := m.lease.record
	r.Holder, r.Handover = "", handover
	m.disk.Releasing = true
	m.lease.wroteAt = m.now.Mono
	m.write(r)
	if l.id != "" {
		m.outcome.State = HandoverCompleted
	}
	m.hold, m.following = nil, source{}
	m.mustDown = m.mustDown || l.kill
}

// releaseAgain repeats a release whose outcome is not known.
func (m *Machine) releaseAgain() {
	if !m.disk.Releasing || !m.lease.known || m.now.Mono-m.lease.wroteAt < m.durations().RetryPeriod {
		return
	}
	for _, s := range m.disk.Unsettled {
		if s.Record.Holder == "" && s.Base == m.lease.version {
			m.lease.wroteAt = m.now.Mono
			m.write(s.Record)
			return
		}
	}
}

// gaveUp: the epoch was given up because the engine does not come back.
func (r *restarts) gaveUp(epoch int64) bool { return r.gave && r.epoch == epoch }
