package election

import (
	"slices"
	"time"
)

// The machine.
//
// Every Step takes one event in (it changes what is known), and then evaluates all that is known from
// the top: the holder's part or everyone else's, and what the engine must be. There is no other memory
// of where it stands: what is due is seen again at every Tick.

const (
	// StallTimeout is how long a query and an fsync may take before the holder no longer renews.
	StallTimeout = 30 * time.Second
	// HandoverLimit is how long a switchover may take before the release.
	HandoverLimit = 30 * time.Second
)

// limits are the times that are not recorded on the Lease.
type limits struct {
	// fresh is how old the last answer of the API may be for a claim, and for a position.
	fresh time.Duration
	// askPause is the time between two rounds of questions.
	askPause time.Duration
	// askOnStart is how long a holder that starts again waits for candidates that know a higher epoch.
	askOnStart time.Duration
	stall      time.Duration
	// restart is how long a holder renews while its engine is started, and restartPause the time within
	// which that is done once.
	restart, restartPause time.Duration
	handover              time.Duration
	// stop is how long an instance that must stop looks for a successor.
	stop time.Duration
	// behind is how long data that counts in an election is not copied anew because the source lacks log for it.
	behind time.Duration
	// chain is how many epochs a chain has at most. Data whose last one is older than that is cloned.
	chain int
}

var defaultLimits = limits{
	fresh: 2 * time.Second, askPause: 500 * time.Millisecond, askOnStart: 300 * time.Millisecond, stall: StallTimeout,
	restart: 10 * time.Second, restartPause: 5 * time.Minute, handover: HandoverLimit, stop: 3 * time.Second, behind: time.Minute, chain: 64,
}

// Self says whose machine it is.
type Self struct {
	Instance string
	// Identity is the pod and its UID.
	Identity string
	// Stamp is larger than any that this identity used before.
	Stamp int64
	// NewName makes a data id.
	NewName func() string
}

// Machine is the election of one instance.
type Machine struct {
	self   Self
	limits limits
	// without are the rules that a mutation test removed.
	without ruleSet
	now     Now
	// spec is what the operator wants; told says whether it said so yet.
	spec  Spec
	told  bool
	facts Facts
	disk  Disk
	kept  Disk
	want  Want
	out   []Action

	lease   lease
	peers   map[string]peer
	promise promise
	// mustDown: the engine must be seen down before anything else.
	mustDown bool
	hold     *holding
	claim    *claim
	// missing are the instances that did not answer, where that is not enough for a claim.
	missing []string
	// following is the source that the engine was given, and rebuild how the data is made fit for it.
	following source
	// aloneUntil is until when the source, which is down, is not followed.
	aloneUntil  time.Duration
	rebuild     Way
	rebuildFrom source
	ran         ran
	// behind: the source lacks the log that comes next, and said so first at behindAt.
	behind   bool
	behindAt time.Duration
	stamp    int64
	round    int64
	scratch  []string
	restarts restarts
}

// lease is what the API said.
type lease struct {
	known   bool
	version string
	record  Record
	// firstAt is when this version was first shown; stillAt the sending of the latest read that still
	// showed it.
	firstAt, stillAt time.Duration
	// answeredAt is the sending of the latest read that was answered.
	answeredAt time.Duration
	// writtenAt: reads sent before are older than what we know.
	writtenAt time.Duration
	readAt    time.Duration
	wroteAt   time.Duration
	// stale: there may be another version.
	stale bool
}

// peer is what is known of another instance.
type peer struct {
	name       string
	answeredAt time.Duration
	// behind: it said, at behindAt, that its source lacks the log that it needs.
	behind   bool
	behindAt time.Duration
}

// promise is what we gave.
type promise struct {
	epoch int64
	until time.Duration
}

// source identifies whom the engine follows: whose data, and its last epoch.
type source struct {
	name  string
	epoch int64
}

// ran is whose data was last seen to run as primary; it was asked for that at askedAt.
type ran struct {
	name        string
	at, askedAt time.Duration
}

const forLong = 24 * 365 * time.Hour

// New makes a machine from what an earlier one kept. Now is its first reading of the clocks.
func New(self Self, disk Disk, now Now) *Machine {
	m := &Machine{self: self, limits: defaultLimits, now: now, disk: disk, kept: disk, stamp: self.Stamp, peers: map[string]peer{}}
	m.facts = Facts{Mode: ModeDown, HealthyAt: -1}
	m.want = Want{Seq: 1, Mode: ModeDown}
	m.lease.readAt, m.lease.writtenAt, m.lease.answeredAt, m.lease.wroteAt = -forLong, -forLong, -forLong, -forLong
	if h := &m.disk.Handover; h.State == HandoverRunning && !m.disk.Releasing {
		h.State, h.Message = HandoverAborted, "the agent was started again meanwhile"
	}
	return m
}

// Want is what the engine must be.
func (m *Machine) Want() Want { return m.want }

// Step takes an event, and returns what is to be done.
func (m *Machine) Step(now Now, e Event) []Action {
	m.now, m.out = now, nil
	m.apply(e)
	m.evaluate()
	if asked, ok := e.(Asked); ok {
		m.reply(&asked)
	}
	m.setWant(m.wanted())
	if !m.disk.equal(&m.kept) {
		m.kept = m.disk
		m.out = append([]Action{Persist{Disk: m.kept}}, m.out...)
	}
	return m.out
}

func (d *Disk) equal(o *Disk) bool {
	return d.plain() == o.plain() && same(d.Chain, o.Chain) && d.Record.sameContent(&o.Record) &&
		slices.EqualFunc(d.Unsettled, o.Unsettled, func(a, b Sent) bool { return a.Base == b.Base && a.Record.sameContent(&b.Record) })
}

// plainDisk is what of a Disk can be compared as it is.
type plainDisk struct {
	highest, asked, own, stamp int64
	rebuilding, releasing      bool
	name, fence, forced        string
	handover                   HandoverOutcome
}

func (d *Disk) plain() plainDisk {
	return plainDisk{
		highest: d.HighestEpoch, asked: d.AskedEpoch, own: d.OwnEpoch, stamp: d.Record.Stamp, rebuilding: d.Rebuilding, releasing: d.Releasing,
		name: d.Name, fence: d.Fence, forced: d.Forced, handover: d.Handover,
	}
}

func (m *Machine) do(a Action) { m.out = append(m.out, a) }

func (m *Machine) apply(e Event) {
	switch e := e.(type) {
	case Tick:
	case LeaseSeen:
		m.seeLease(&e)
	case LeaseWritten:
		m.seeWritten(e)
	case Asked:
		m.learn(e.Question.From, "", nil, 0)
	case Answered:
		m.seeAnswer(&e)
	case EngineSeen:
		m.seeEngine(&e.Facts)
	case SpecSeen:
		m.spec, m.told = e.Spec, true
	case DataMade:
		m.disk.Name, m.disk.Chain, m.disk.Rebuilding = e.Name, nil, false
	case DataLost:
		m.loseData()
	}
}

func (m *Machine) evaluate() {
	if m.mustDown && m.isDown() {
		m.mustDown = false
	}
	m.settle()
	if m.hold == nil {
		m.regain()
	}
	if m.hold != nil {
		m.evaluateHolder()
	}
	if m.hold == nil {
		m.evaluateOther()
	}
	m.read()
}

// isDown: the engine is down, and was looked at after it was last asked to be.
func (m *Machine) isDown() bool {
	return m.facts.Mode == ModeDown && m.whole() && m.want.Mode == ModeDown
}

// whole: the engine is what it was last asked to be.
func (m *Machine) whole() bool { return m.facts.Seq == m.want.Seq }

// seeEngine learns the facts.
func (m *Machine) seeEngine(f *Facts) {
	if h := m.hold; f.Crashed > m.facts.Crashed && h != nil && h.live {
		h.crashed, h.admit = true, admission{}
	}
	m.facts = *f
}

// loseData forgets the name with the data: what is empty must not be taken for what it was.
func (m *Machine) loseData() {
	if m.holds(ruleLostName) {
		m.disk.Name, m.disk.Chain, m.disk.Rebuilding, m.rebuild = "", nil, false, ""
		m.following = source{}
	}
}

// setWant gives every change a number of its own.
func (m *Machine) setWant(w Want) {
	w.Seq, w.Name = m.want.Seq, m.disk.Name
	if !w.equal(&m.want) {
		w.Seq++
		m.want = w
	}
}

func (w *Want) equal(o *Want) bool {
	return w.Mode == o.Mode && w.Name == o.Name && w.Kill == o.Kill && w.Epoch == o.Epoch && w.Admit == o.Admit &&
		(w.Source == o.Source || w.Source != nil && o.Source != nil && *w.Source == *o.Source) &&
		w.Synchronous.equal(o.Synchronous) && same(w.Replicas, o.Replicas)
}

func (s Synchronous) equal(o Synchronous) bool { return s.W == o.W && same(s.Names, o.Names) }

// wanted is what the engine must be.
func (m *Machine) wanted() Want {
	switch {
	case m.mustDown:
		return Want{Mode: ModeDown, Kill: true}
	case m.hold != nil:
		return m.wantedOfHolder()
	case m.spec.Stop, m.disk.Name == "" && m.rebuild == "", m.foreign():
		return Want{Mode: ModeDown}
	case m.unclaimed() && m.facts.Mode == ModeDown && m.facts.Settled:
		// A new database needs no replay before its first claim.
		return Want{Mode: ModeDown}
	case m.disk.Rebuilding:
		return m.wantedOfRebuild()
	}
	if leader := m.leader(); leader != nil && m.following == sourceOf(m.newest()) {
		return Want{Mode: ModeReplica, Source: leader, Epoch: m.sourceEpoch()}
	}
	return Want{Mode: ModeReplica}
}

// wantedOfRebuild is what the engine must be while its data is made fit to follow.
func (m *Machine) wantedOfRebuild() Want {
	leader := m.leader()
	switch {
	case leader == nil:
	case m.rebuild == WayRewind:
		return Want{Mode: ModeRewind, Source: leader, Epoch: m.rebuildFrom.epoch}
	case m.rebuild == WayClone:
		return Want{Mode: ModeClone, Source: leader, Epoch: m.rebuildFrom.epoch}
	case m.rebuild == wayCatchUp:
		return Want{Mode: ModeReplica, Source: leader}
	}
	return Want{Mode: ModeDown}
}

// sourceEpoch is what a replica introduces itself with.
func (m *Machine) sourceEpoch() int64 {
	if !m.holds(ruleSourceEpoch) {
		return 0
	}
	return m.following.epoch
}

// foreign: the data is of another system.
func (m *Machine) foreign() bool { return m.facts.Foreign && m.holds(ruleForeign) }

// fit: there is data, it is ours, and it is whole.
func (m *Machine) fit() bool {
	return m.disk.Name != "" && !m.disk.Rebuilding && m.rebuild == "" && !m.foreign()
}

// newest is the newest record that is known.
func (m *Machine) newest() *Record {
	if l := &m.lease; l.known && l.version != "" && !m.disk.Record.After(&l.record) {
		return &l.record
	}
	return &m.disk.Record
}

// lowered: the Lease is missing, or below what was seen: somebody deleted it or rolled it back.
func (m *Machine) lowered() bool {
	l := &m.lease
	if !l.known {
		return false
	}
	return l.version == "" && m.disk.HighestEpoch > 0 || l.record.Epoch < m.disk.HighestEpoch ||
		m.disk.Record.After(&l.record) && !m.disk.Record.sameContent(&l.record)
}

// settle notes what the Lease settled, and the highest epoch.
func (m *Machine) settle() {
	if l := &m.lease; l.known {
		m.disk.HighestEpoch = max(m.disk.HighestEpoch, l.record.Epoch)
		// One that is missing or was rolled back does not tell what stood on it before: candidates that were
		// recorded then bind still.
		lowered := m.lowered()
		if !lowered {
			if !m.disk.Record.sameContent(&l.record) {
				m.disk.Record = l.record
			}
			m.settleSent()
		}
		if m.disk.Releasing && !slices.ContainsFunc(m.disk.Unsettled, func(s Sent) bool { return s.Record.Holder == "" && s.Base == l.version }) {
			m.disk.Releasing = false
			m.endHandover(!lowered && (l.record.Epoch > m.disk.OwnEpoch || l.record.Holder == ""))
		}
	}
	m.disk.HighestEpoch = max(m.disk.HighestEpoch, m.disk.Record.Epoch, m.disk.OwnEpoch)
	m.adopt()
}

// settleSent drops what can no longer be committed.
func (m *Machine) settleSent() {
	r := &m.lease.record
	if !slices.ContainsFunc(m.disk.Unsettled, func(s Sent) bool { return s.Base != m.lease.version }) {
		return
	}
	var left []Sent
	for _, s := range m.disk.Unsettled {
		if s.Base == m.lease.version {
			left = append(left, s)
		} else if r.Holder == m.self.Identity && s.Record.Holder == r.Holder && s.Record.Epoch == r.Epoch && r.Epoch > m.disk.OwnEpoch {
			// A claim whose answer was lost: the Lease says that it was won.
			m.disk.OwnEpoch, m.disk.Chain = r.Epoch, r.Chain
		}
	}
	m.disk.Unsettled = left
}

// adopt takes the epoch of a Lease that this holder claimed again while it ran.
func (m *Machine) adopt() {
	h, r := m.hold, m.newest()
	if h != nil && r.Holder == m.self.Identity && r.Epoch > h.epoch && same(r.Chain, m.disk.Chain) {
		h.epoch, m.disk.OwnEpoch = r.Epoch, r.Epoch
	}
}

// unclaimed: the Lease was never held, and this instance is to be the first.
func (m *Machine) unclaimed() bool {
	return m.spec.Initial && m.disk.HighestEpoch == 0 && m.lease.known && m.lease.record.Epoch == 0
}

// leader is the candidate to follow, nil when there is none. A Lease that somebody deleted or rolled back
// does not take it away: its holder still runs.
func (m *Machine) leader() *Candidate {
	r := m.newest()
	if r.Holder == "" || r.Name == m.disk.Name || r.Epoch < m.disk.HighestEpoch || m.fenced() && m.holds(ruleFence) {
		return nil
	}
	for i := range r.Candidates {
		if c := &r.Candidates[i]; c.Name == r.Name && c.Instance != m.self.Instance {
			return c
		}
	}
	return nil
}

func sourceOf(r *Record) source { return source{name: r.Name, epoch: r.Chain.last()} }

// eachCandidate goes through those who may be promoted by what is recorded and by what may yet be, until
// it is told to stop.
func (m *Machine) eachCandidate(next func(Candidate) bool) {
	records := make([]*Record, 0, 4)
	records = append(records, m.newest())
	if m.holds(ruleUnion) {
		for i := range m.disk.Unsettled {
			records = append(records, &m.disk.Unsettled[i].Record)
		}
	}
	for _, r := range records {
		for _, c := range r.Candidates {
			if !next(c) {
				return
			}
		}
	}
}

// others are the instances of the candidates, but this one.
func (m *Machine) others() []string {
	var instances []string
	m.eachCandidate(func(c Candidate) bool {
		if c.Instance != m.self.Instance {
			instances = append(instances, c.Instance)
		}
		return true
	})
	slices.Sort(instances)
	return slices.Compact(instances)
}

// durations are the recorded ones, the shorter while a change is unsettled.
func (m *Machine) durations() Durations {
	d := m.newest().Durations
	if d.Lease == 0 {
		d = DefaultDurations
	}
	for i := range m.disk.Unsettled {
		if sent := m.disk.Unsettled[i].Record.Durations; sent.Lease > 0 && m.holds(ruleShorter) {
			d = d.Shorter(sent)
		}
	}
	return d
}

func (m *Machine) ask(instances []string, q Question) {
	q.From = m.self.Instance
	for _, instance := range instances {
		m.do(Ask{Instance: instance, Question: q})
	}
}

func (m *Machine) nextRound() int64 {
	m.round++
	return m.round
}

// write sends a record, and keeps it first when it says something new. It returns the record as it was sent.
func (m *Machine) write(r Record) Record {
	m.stamp = max(m.now.Wall, m.stamp+1, m.lease.record.Stamp+1, m.disk.Record.Stamp+1)
	r.Stamp = m.stamp
	if !r.sameContent(&m.lease.record) || m.lease.version == "" {
		m.keepSent(r)
	}
	m.do(WriteLease{ID: r.Stamp, Base: m.lease.version, Record: r})
	return r
}

func (m *Machine) keepSent(r Record) {
	known := func(s Sent) bool { return s.Base == m.lease.version && s.Record.sameContent(&r) }
	if !slices.ContainsFunc(m.disk.Unsettled, known) && m.holds(ruleKeepSent) {
		m.disk.Unsettled = append(slices.Clone(m.disk.Unsettled), Sent{Base: m.lease.version, Record: r})
	}
}
