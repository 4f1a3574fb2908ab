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
	answers map[string]answered
	// standUntil is when this instance asks again, after it stood back for better ones.
	standUntil time.Duration
	stood      bool
	// writing is the write under way, zero when there is none.
	writing int64
	sentAt  Now
	record  Record
}

// answered is a position, which is forgotten when it is not repeated: the data may be gone.
type answered struct {
	Answer
	at time.Duration
}

// round is one round of a question to several.
type round struct {
	id     int64
	sentAt Now
	asked  []string
	yes    []string
	no     []string
}

func (m *Machine) newRound() round { return round{id: m.nextRound(), sentAt: m.now, asked: m.others()} }

func (r *round) answer(a *Answer) {
	to := &r.yes
	if !a.Yes {
		to = &r.no
	}
	if slices.Contains(r.asked, a.Instance) && !slices.Contains(*to, a.Instance) {
		*to = append(*to, a.Instance)
	}
}

// complete: all said yes.
func (r *round) complete() bool { return r.id != 0 && len(r.yes) == len(r.asked) }

// over: everyone answered, or had the time to.
func (m *Machine) over(r *round) bool {
	return len(r.yes)+len(r.no) >= len(r.asked) || m.now.Mono-r.sentAt.Mono >= m.limits.askPause*4/5
}

func (m *Machine) evaluateClaim() {
	if m.claim != nil && (m.claim.version != m.lease.version || m.disk.Name == "") {
		m.claim = nil
	}
	if m.pending() {
		return
	}
	if !m.mayClaim() {
		m.claim = nil
		return
	}
	if m.claim == nil {
		m.claim = &claim{version: m.lease.version, answers: map[string]answered{}}
	}
	switch {
	case m.disk.Fence != m.fenceAt():
		m.disk.Fence = m.fenceAt()
		m.following = source{}
	case !m.known() || m.now.Mono < m.claim.standUntil:
	case m.needsNoAnswers():
		m.sendClaim(m.claimRecord())
	default:
		m.compete()
	}
}

// compete judges what was answered, and asks again while that is not enough.
func (m *Machine) compete() {
	c := m.claim
	if c.round.id != 0 && m.over(&c.round) {
		m.judge()
	}
	if c.writing == 0 {
		m.askPositions()
	}
}

// pending: a claim was sent, and there is still hope for its answer.
func (m *Machine) pending() bool {
	c := m.claim
	if c == nil || c.writing == 0 {
		return false
	}
	if m.now.Mono-c.sentAt.Mono >= 2*m.durations().RetryPeriod {
		c.writing = 0
	}
	return true
}

// mayClaim: it is a candidate with whole data, it saw silence or a release itself, the API answers, and
// nobody has its promise.
func (m *Machine) mayClaim() bool {
	switch {
	case !m.able(), m.disk.Releasing, m.lease.stale:
		return false
	case m.promised() && m.holds(ruleNoClaimUnderPromise):
		return false
	case m.unclaimed():
	case m.disk.HighestEpoch == 0, !m.forced() && !m.newest().Has(m.disk.Name) && m.holds(ruleCandidates):
		return false
	}
	return m.fresh() && (m.waited() || !m.holds(ruleSilence) && m.lease.known)
}

// able: it could run as primary, and is not to leave that to others. To whom the Lease is handed over there are no others:
// it streams, so its engine runs again.
func (m *Machine) able() bool { return m.capable() && (!m.failing() || m.named()) }

// capable: it has data that it could run with, and nothing keeps it from that.
func (m *Machine) capable() bool {
	return m.fit() && !m.mustDown && !m.spec.Stop && !m.stalled()
}

// named: the Lease was released to it.
func (m *Machine) named() bool {
	to := m.lease.record.Handover
	return m.released() && to != "" && to == m.disk.Name
}

// stalled: the volume does not answer.
func (m *Machine) stalled() bool {
	return m.facts.HealthyAt < 0 || m.now.Fence-m.facts.HealthyAt > m.limits.stall && m.holds(ruleStall)
}

// forced: a person accepts the loss, and this text was not used yet.
func (m *Machine) forced() bool { return m.spec.Force != "" && m.spec.Force != m.disk.Forced }

func (m *Machine) fresh() bool {
	return m.lease.known && (m.now.Mono-m.lease.answeredAt <= m.limits.fresh || !m.holds(ruleFresh))
}

func (m *Machine) promised() bool { return m.now.Mono < m.promise.until }

// waited: this instance itself saw silence for leaseDuration, or a release that lets it claim.
func (m *Machine) waited() bool {
	to := m.lease.record.Handover
	return m.released() && (to == "" || to == m.disk.Name || !m.holds(ruleHandoverAlone)) || m.silent()
}

// released: the Lease was released, and it is the newest.
func (m *Machine) released() bool {
	if m.unclaimed() {
		return true
	}
	if m.lowered() && m.holds(ruleMissing) {
		return false
	}
	return m.lease.known && m.lease.record.Holder == ""
}

// silent: no newer version was seen for leaseDuration, by what this version says, and by what is known
// to be newer (where somebody rolled the Lease back).
func (m *Machine) silent() bool {
	lease := cmp.Or(max(m.newest().Durations.Lease, m.lease.record.Durations.Lease), DefaultDurations.Lease)
	return m.lease.known && m.lease.stillAt-m.lease.firstAt >= lease
}

// needsNoAnswers: the first claim of all, or the one that a handover names.
func (m *Machine) needsNoAnswers() bool {
	return m.unclaimed() || m.named()
}

func (m *Machine) askPositions() {
	c := m.claim
	if c.round.id != 0 && m.now.Mono-c.round.sentAt.Mono < m.limits.askPause {
		return
	}
	c.round = m.newRound()
	m.ask(c.round.asked, Question{Kind: AskPosition, Round: c.round.id, Version: c.version})
}

// claimRecord is the newest record among the answers: each is learned as it comes.
func (m *Machine) claimRecord() Record {
	if !m.holds(ruleNewestRecord) && m.lease.version != "" {
		return m.lease.record
	}
	return *m.newest()
}

// judge claims when enough answered, and this instance is the best of them or stood back long enough.
func (m *Machine) judge() {
	c := m.claim
	record := m.claimRecord()
	answers := []Answer{m.position()}
	for name, a := range c.answers {
		if record.Has(name) && name != m.disk.Name && m.now.Mono-a.at <= m.limits.fresh {
			answers = append(answers, a.Answer)
		}
	}
	if m.forced() {
		m.sendClaim(record)
		return
	}
	m.missing = nil
	if !m.enough(&record, answers) {
		m.missing = missing(&record, answers)
		return
	}
	slices.SortFunc(answers, func(a, b Answer) int { return m.rank(&record, &b, &a) })
	own := slices.IndexFunc(answers, func(a Answer) bool { return a.Name == m.disk.Name })
	equal := m.place(&record, &answers[own]) == m.place(&record, &answers[0])
	switch {
	case own == 0, c.stood && (record.W == 0 || equal || !m.holds(ruleBest)):
		m.sendClaim(record)
	case !c.stood:
		c.stood, c.standUntil = true, m.now.Mono+time.Duration(own)*m.limits.askPause
	}
}

// missing are the instances that did not answer.
func missing(record *Record, answers []Answer) []string {
	var instances []string
	for _, c := range record.Candidates {
		if !slices.ContainsFunc(answers, func(a Answer) bool { return a.Name == c.Name }) {
			instances = append(instances, c.Instance)
		}
	}
	return instances
}

// Missing are the instances of which some must answer before anyone may be promoted: the others may lack
// commits that were acknowledged. It is empty while nothing is lacking.
func (m *Machine) Missing() []string { return m.missing }

// enough: among those who answered is one that has every acknowledged commit. Nobody knows an epoch above
// the record's: whoever knows a higher one has its record, and that is the one that is judged by.
func (m *Machine) enough(record *Record, answers []Answer) bool {
	if record.W == 0 || !m.holds(ruleQuorum) {
		return true
	}
	names, holders := 0, false
	recorded := record.Names()
	for i := range answers {
		holders = holders || answers[i].Name == record.Name
		if slices.Contains(recorded, answers[i].Name) {
			names++
		}
	}
	return holders || names > len(recorded)-record.W
}

// place is the position at which an answer leaves the record's chain.
func (m *Machine) place(record *Record, a *Answer) Position {
	if !m.holds(ruleChain) {
		return a.Position
	}
	place, _ := a.Chain.Reached(a.Position).Leaves(a.Position, record.Chain)
	return place
}

func (m *Machine) rank(record *Record, a, b *Answer) int {
	return cmp.Or(cmp.Compare(m.place(record, a), m.place(record, b)), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
}

// position is this instance's own answer.
func (m *Machine) position() Answer {
	return Answer{
		Instance: m.self.Instance, Name: m.disk.Name, Yes: true, Record: *m.newest(), HighestEpoch: m.disk.HighestEpoch, AskedEpoch: m.disk.AskedEpoch,
		Chain: m.disk.Chain, Position: m.facts.Position, Priority: m.spec.Priority,
	}
}

// sendClaim asks for the Lease. Its epoch is one that nobody used, and is kept before it is asked for.
func (m *Machine) sendClaim(r Record) {
	first := m.unclaimed()
	r.Holder, r.Epoch, r.Name, r.Handover = m.self.Identity, m.nextEpoch(), m.disk.Name, ""
	chain := append(slices.Clone(m.disk.Chain.Reached(m.facts.Position)), Epoch{Number: r.Epoch, Name: m.disk.Name, Begin: m.facts.Position})
	r.Chain = chain[max(0, len(chain)-m.limits.chain):]
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
	c.sentAt, c.record = m.now, m.write(r)
	c.writing = c.record.Stamp
}

// nextEpoch is one that nobody used.
func (m *Machine) nextEpoch() int64 {
	highest := max(m.disk.HighestEpoch, m.disk.OwnEpoch)
	if m.holds(ruleAsked) {
		highest = max(highest, m.disk.AskedEpoch)
	}
	return highest + 1
}

// won: the claim is committed.
func (m *Machine) won() {
	c := m.claim
	m.claim = nil
	m.disk.OwnEpoch, m.disk.Chain, m.disk.Fence = c.record.Epoch, c.record.Chain, ""
	m.following = source{}
	m.hold = m.newHold(c.record.Epoch)
	m.hold.live, m.hold.renewed, m.hold.renewedAt, m.hold.triedAt = true, true, c.sentAt.Fence, c.sentAt.Fence
	m.restarts, m.missing = restarts{}, nil
}
