package election

import (
	"cmp"
	"slices"
	"time"
)

// Claiming.
//
//  1. After silence for leaseDuration, or a release, a candidate takes its own source away, and asks
//     all candidates for their positions at this version of the Lease.
//  2. With w >= 1 it needs the answer of the recorded holder's own data, or those of more than
//     names - w names; then one of them has every acknowledged commit.
//  3. The best claims: by position, priority, name. Others stand back for a moment, and ask again.
//  4. The claim is an update on condition of the version whose silence was timed.

// claim is an attempt at one version of the Lease.
type claim struct {
	version string
	round   round
	answers map[string]Answer
	// standUntil is when this instance asks again, after it stood back for better ones.
	standUntil time.Duration
	stood      bool
	// writing is the write under way; unknown: it had no answer.
	writing int64
	sentAt  Now
	record  Record
}

func (m *Machine) evaluateClaim() {
	if m.claim != nil && (m.claim.version != m.lease.version || m.disk.Name == "") {
		m.claim = nil
	}
	if m.claim != nil && m.claim.writing != 0 {
		if m.now.Mono-m.claim.sentAt.Mono >= 2*m.durations().RetryPeriod {
			m.claim.writing = 0
		}
		return
	}
	if !m.mayClaim() {
		m.claim = nil
		return
	}
	if m.claim == nil {
		m.claim = &claim{version: m.lease.version, answers: map[string]Answer{}}
	}
	if m.disk.Fence != m.fenceAt() {
		m.disk.Fence = m.fenceAt()
		return
	}
	if !m.known() || m.now.Mono < m.claim.standUntil {
		return
	}
	if m.needsNoAnswers() {
		m.sendClaim(m.claimRecord())
		return
	}
	m.askPositions()
	m.judge()
}

// fenceAt is the version at which an instance that answers takes its source away; a missing Lease has one, too.
func (m *Machine) fenceAt() string {
	if m.lease.version == "" {
		return "missing"
	}
	return m.lease.version
}

// mayClaim: it is a candidate with whole data, it saw silence or a release itself, the API answers, and
// nobody has its promise.
func (m *Machine) mayClaim() bool {
	switch {
	case m.disk.Name == "", m.disk.Rebuilding, m.rebuild != "", m.mustDown, m.spec.Stop, m.disk.Releasing:
		return false
	case m.facts.HealthyAt < 0 || m.now.Mono-m.facts.HealthyAt > StallTimeout && m.holds(ruleStall):
		return false
	case m.promised() && m.holds(ruleNoClaimUnderPromise):
		return false
	case !m.unclaimed() && m.spec.Force == "" && !m.newest().Has(m.disk.Name) && m.holds(ruleCandidates):
		return false
	case m.disk.HighestEpoch == 0 && !m.unclaimed():
		return false
	}
	return m.fresh() && (m.waited() || !m.holds(ruleSilence) && m.lease.known)
}

func (m *Machine) fresh() bool {
	return m.lease.known && (m.now.Mono-m.lease.answeredAt <= apiFresh || !m.holds(ruleFresh))
}

func (m *Machine) promised() bool { return m.now.Mono < m.promise.until }

// waited: this instance itself saw silence for leaseDuration, or a release that lets it claim.
func (m *Machine) waited() bool { return m.releasedTo(m.disk.Name) || m.silent() }

// released: the Lease was released, and it is the newest.
func (m *Machine) released() bool {
	if m.unclaimed() {
		return true
	}
	if m.lowered() && (m.holds(ruleMissing) || m.lease.version != "") {
		return false
	}
	return m.lease.known && m.lease.record.Holder == ""
}

// releasedTo: and that data may claim at once.
func (m *Machine) releasedTo(name string) bool {
	to := m.lease.record.Handover
	return m.released() && (to == "" || to == name || !m.holds(ruleHandoverAlone))
}

// silent: no newer version was seen for leaseDuration.
func (m *Machine) silent() bool {
	return m.lease.known && m.lease.stillAt-m.lease.firstAt >= m.durations().Lease
}

// needsNoAnswers: the first claim of all, the one that a handover names, or a person's.
func (m *Machine) needsNoAnswers() bool {
	return m.unclaimed() || m.released() && m.lease.record.Handover == m.disk.Name && m.lease.record.Handover != "" || m.spec.Force != ""
}

func (m *Machine) askPositions() {
	c := m.claim
	if c.round.id != 0 && m.now.Mono-c.round.sentAt.Mono < askPause {
		return
	}
	if c.round.id != 0 && !c.stood {
		// What came too late for one round counts in the next: nothing changes at this version.
		c.stood = c.stood || m.newest().W == 0
	}
	c.round = round{id: m.nextRound(), sentAt: m.now, asked: m.others(), yes: map[string]bool{}}
	m.ask(c.round.asked, Question{Kind: AskPosition, Round: c.round.id, Version: c.version})
}

// claimRecord is the newest record among the answers.
func (m *Machine) claimRecord() Record {
	newest := *m.newest()
	for _, a := range m.claim.answers {
		if a.Record.Newer(&newest) {
			newest = a.Record
		}
	}
	return newest
}

// judge claims when enough answered, and this instance is the best of them or stood back long enough.
func (m *Machine) judge() {
	c := m.claim
	record := m.claimRecord()
	answers := []Answer{m.position()}
	for _, a := range c.answers {
		if record.Has(a.Name) && a.Name != m.disk.Name {
			answers = append(answers, a)
		}
	}
	all := c.round.complete() || m.now.Mono-c.round.sentAt.Mono >= askPause-100*time.Millisecond
	if !all || !m.enough(&record, answers) {
		return
	}
	slices.SortFunc(answers, func(a, b Answer) int { return m.rank(&record, b, a) })
	own := slices.IndexFunc(answers, func(a Answer) bool { return a.Name == m.disk.Name })
	equal := m.place(&record, answers[own]) == m.place(&record, answers[0]) || !m.holds(ruleBest)
	switch {
	case own == 0, c.stood && (record.W == 0 || equal):
		m.sendClaim(record)
	case record.W == 0 || equal:
		c.stood, c.standUntil = true, m.now.Mono+time.Duration(own)*askPause
	}
}

// enough: among those who answered is one that has every acknowledged commit.
func (m *Machine) enough(record *Record, answers []Answer) bool {
	if record.W == 0 || !m.holds(ruleQuorum) {
		return true
	}
	names, holders, highest := 0, false, int64(0)
	recorded := record.Names()
	for _, a := range answers {
		highest = max(highest, a.HighestEpoch)
		holders = holders || a.Name == record.Name
		if slices.Contains(recorded, a.Name) {
			names++
		}
	}
	return holders && (highest <= record.Epoch || !m.holds(ruleHolderAlone)) || names > len(recorded)-record.W
}

// place is the position at which an answer leaves the record's chain.
func (m *Machine) place(record *Record, a Answer) Position {
	if !m.holds(ruleChain) {
		return a.Position
	}
	place, _ := a.Chain.Reached(a.Position).Leaves(a.Position, record.Chain)
	return place
}

func (m *Machine) rank(record *Record, a, b Answer) int {
	return cmp.Or(cmp.Compare(m.place(record, a), m.place(record, b)), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
}

// position is this instance's own answer.
func (m *Machine) position() Answer {
	return Answer{
		Instance: m.self.Instance, Name: m.disk.Name, Yes: true, Record: *m.newest(), HighestEpoch: m.disk.HighestEpoch, AskedEpoch: m.disk.AskedEpoch,
		Chain: m.disk.Chain, Position: m.facts.Position, Priority: m.spec.Priority,
	}
}

// sendClaim asks for the Lease.
func (m *Machine) sendClaim(r Record) {
	highest := m.disk.HighestEpoch
	for _, a := range m.claim.answers {
		highest = max(highest, a.HighestEpoch, a.Record.Epoch)
	}
	m.disk.HighestEpoch = highest
	first := m.unclaimed()
	r.Holder, r.Epoch, r.Name, r.Handover = m.self.Identity, m.nextEpoch(), m.disk.Name, ""
	r.Chain = append(slices.Clone(m.disk.Chain.Reached(m.facts.Position)), Epoch{Number: r.Epoch, Name: m.disk.Name, Begin: m.facts.Position})
	if first {
		r.W, r.Durations = 0, DefaultDurations
		if m.spec.Durations.Valid() {
			r.Durations = m.spec.Durations
		}
	}
	if first || !r.Has(m.disk.Name) {
		r.Candidates = append(slices.Clone(r.Candidates), Candidate{Name: m.disk.Name, Instance: m.self.Instance})
	}
	m.disk.AskedEpoch = max(m.disk.AskedEpoch, r.Epoch)
	c := m.claim
	c.sentAt, c.record = m.now, r
	c.writing = m.write(r)
}

// won: the claim is committed.
func (m *Machine) won() {
	c := m.claim
	m.claim = nil
	m.disk.OwnEpoch, m.disk.Chain, m.disk.Fence = c.record.Epoch, c.record.Chain, ""
	m.following = source{}
	m.hold = &holding{
		epoch: c.record.Epoch, startedAt: m.now.Mono, live: true, renewed: true, renewedAt: c.sentAt.Fence, triedAt: c.sentAt.Fence,
		sent: map[int64]time.Duration{}, primaryAt: m.now.Fence, identified: -forLong,
	}
	m.restarts = restarts{}
}
