package election

import (
	"maps"
	"reflect"
	"slices"
	"time"
)

// The machine.
//
// Every Step takes one event in (it changes what is known), and then evaluates all that is known from
// the top: the holder's part or everyone else's, and what the engine must be. There is no other memory
// of where it stands: what is due is seen again at every Tick.

const (
	// apiFresh is how old the last answer of the API may be for a claim, and for a position.
	apiFresh = 2 * time.Second
	// askPause is the time between two rounds of questions.
	askPause = 500 * time.Millisecond
	// askOnStart is how long a holder that starts again waits for candidates that know a higher epoch.
	askOnStart = 300 * time.Millisecond
	// StallTimeout is how long a query and an fsync may take before the holder no longer renews.
	StallTimeout = 30 * time.Second
	// restartLimit is how long a holder renews while its engine is started, and restartPause the time
	// within which that is done once.
	restartLimit = 10 * time.Second
	restartPause = 5 * time.Minute
	// HandoverLimit is how long a switchover may take before the release.
	HandoverLimit = 30 * time.Second
	// stopLimit is how long an instance that must stop looks for a successor.
	stopLimit = 3 * time.Second
)

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
	self Self
	// without is the rule that a mutation test removed.
	without rule
	now     Now
	spec    Spec
	facts   Facts
	disk    Disk
	kept    Disk
	want    Want
	out     []Action

	lease   lease
	peers   map[string]peer
	promise promise
	// mustDown: the engine must be seen down before anything else.
	mustDown bool
	hold     *holding
	claim    *claim
	// following is the source that the engine was given, and rebuild how the data is made fit for it.
	following   source
	rebuild     Way
	rebuildFrom source
	stamp       int64
	round       int64
	restarts    restarts
	outcome     HandoverOutcome
}

// lease is what the API said.
type lease struct {
	known   bool
	version string
	record  Record
	// firstAt is when this version was first shown; stillAt the sending of the latest read that still
	// showed it.
	firstAt, stillAt time.Duration
	answeredAt       time.Duration
	// writtenAt: reads sent before are older than what we know.
	writtenAt time.Duration
	readAt    time.Duration
	wroteAt   time.Duration
	// stale: a write found another version.
	stale bool
}

// peer is what is known of another instance.
type peer struct {
	name       string
	answeredAt time.Duration
	askedAt    time.Duration
}

// promise is what we gave.
type promise struct {
	holder string
	epoch  int64
	until  time.Duration
}

// source identifies whom the engine follows: whose data, and its last epoch.
type source struct {
	name  string
	epoch int64
}

// New makes a machine from what an earlier one kept. Now is its first reading of the clocks.
func New(self Self, disk Disk, now Now) *Machine {
	m := &Machine{self: self, now: now, disk: disk, kept: disk, stamp: self.Stamp, peers: map[string]peer{}}
	m.facts = Facts{Mode: ModeDown, HealthyAt: -1}
	m.want = Want{Seq: 1, Mode: ModeDown}
	m.lease.record = disk.Record
	m.lease.readAt, m.lease.writtenAt, m.lease.answeredAt = -forLong, -forLong, -forLong
	return m
}

const forLong = 24 * 365 * time.Hour

// Want is what the engine must be.
func (m *Machine) Want() Want { return m.want }

// Step takes an event, and returns what is to be done.
func (m *Machine) Step(now Now, e Event) []Action {
	m.now, m.out = now, nil
	m.apply(e)
	m.evaluate()
	if asked, ok := e.(Asked); ok {
		m.reply(asked)
	}
	m.setWant(m.wanted())
	if !reflect.DeepEqual(m.disk, m.kept) {
		m.kept = m.disk.clone()
		m.out = append([]Action{Persist{Disk: m.kept}}, m.out...)
	}
	return m.out
}

func (d Disk) clone() Disk {
	d.Chain, d.Unsettled = slices.Clone(d.Chain), slices.Clone(d.Unsettled)
	return d
}

func (m *Machine) do(a Action) { m.out = append(m.out, a) }

func (m *Machine) apply(e Event) {
	switch e := e.(type) {
	case Tick:
	case LeaseSeen:
		m.seeLease(e)
	case LeaseWritten:
		m.seeWritten(e)
	case Asked:
		m.learn(e.Question.From, "", nil, 0)
	case Answered:
		m.seeAnswer(e)
	case EngineSeen:
		m.seeEngine(e.Facts)
	case SpecSeen:
		m.spec = e.Spec
	case DataMade:
		m.disk.Name, m.disk.Chain, m.disk.Rebuilding = e.Name, nil, false
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

// setWant gives every change a number of its own.
func (m *Machine) setWant(w Want) {
	w.Seq = m.want.Seq
	if !reflect.DeepEqual(w, m.want) {
		w.Seq++
		m.want = w
	}
}

// wanted is what the engine must be.
func (m *Machine) wanted() Want {
	switch {
	case m.mustDown:
		return Want{Mode: ModeDown, Kill: true}
	case m.hold != nil:
		return m.wantedOfHolder()
	case m.spec.Stop || m.disk.Name == "" && m.rebuild == "", m.unclaimed() && m.facts.Mode == ModeDown && m.facts.Settled:
		// A new database needs no replay before its first claim.
		return Want{Mode: ModeDown}
	}
	leader := m.leader()
	switch {
	case m.rebuild == WayRewind && leader != nil:
		return Want{Mode: ModeRewind, Source: leader}
	case m.rebuild == WayClone && leader != nil:
		return Want{Mode: ModeClone, Source: leader}
	case m.disk.Rebuilding:
		return Want{Mode: ModeDown}
	case leader != nil && m.following == m.sourceOf(m.newest()):
		return Want{Mode: ModeReplica, Source: leader}
	default:
		return Want{Mode: ModeReplica}
	}
}

// newest is the newest record that is known.
func (m *Machine) newest() *Record {
	if m.lease.known && !m.disk.Record.Newer(&m.lease.record) {
		return &m.lease.record
	}
	return &m.disk.Record
}

// settle notes what a newer version of the Lease settled, and the highest epoch.
func (m *Machine) settle() {
	if m.lease.known {
		m.disk.HighestEpoch = max(m.disk.HighestEpoch, m.lease.record.Epoch)
		if !m.disk.Record.Newer(&m.lease.record) && !m.disk.Record.sameContent(&m.lease.record) && !m.lowered() {
			m.disk.Record = m.lease.record
			m.disk.Record.Stamp = 0
		}
		m.settleSent()
	}
	m.disk.HighestEpoch = max(m.disk.HighestEpoch, m.disk.Record.Epoch, m.disk.OwnEpoch)
}

// settleSent drops what can no longer be committed.
func (m *Machine) settleSent() {
	if len(m.disk.Unsettled) == 0 {
		return
	}
	left := slices.DeleteFunc(slices.Clone(m.disk.Unsettled), func(s Sent) bool { return s.Base != m.lease.version })
	if len(left) == len(m.disk.Unsettled) {
		return
	}
	r := &m.lease.record
	for _, s := range m.disk.Unsettled {
		// A claim whose answer was lost: the Lease says that it was won.
		if r.Holder == m.self.Identity && s.Record.Holder == r.Holder && s.Record.Epoch == r.Epoch && r.Epoch > m.disk.OwnEpoch {
			m.disk.OwnEpoch, m.disk.Chain = r.Epoch, r.Chain
		}
	}
	m.disk.Unsettled = left
	if len(left) == 0 {
		m.disk.Unsettled, m.disk.Releasing = nil, false
	}
}

// lowered: the Lease is missing, or below what was seen: somebody deleted it or rolled it back.
func (m *Machine) lowered() bool {
	return m.lease.known && (m.lease.version == "" && m.disk.HighestEpoch > 0 || m.lease.record.Epoch < m.disk.HighestEpoch)
}

// unclaimed: the Lease was never held, and this instance is to be the first.
func (m *Machine) unclaimed() bool {
	return m.spec.Initial && m.disk.HighestEpoch == 0 && m.lease.known && m.lease.record.Epoch == 0
}

// leader is the candidate to follow, nil when there is none.
func (m *Machine) leader() *Candidate {
	r := m.newest()
	fenced := m.disk.Fence != "" && (!m.lease.known || m.disk.Fence == m.fenceAt())
	if r.Holder == "" || r.Name == m.disk.Name && m.rebuild == "" || r.Epoch < m.disk.HighestEpoch || m.lowered() || fenced && m.holds(ruleFence) {
		return nil
	}
	for i := range r.Candidates {
		if r.Candidates[i].Name == r.Name && r.Candidates[i].Instance != m.self.Instance {
			return &r.Candidates[i]
		}
	}
	return nil
}

func (m *Machine) sourceOf(r *Record) source {
	s := source{name: r.Name}
	if n := len(r.Chain); n > 0 {
		s.epoch = r.Chain[n-1].Number
	}
	return s
}

// union is who may be promoted by what is recorded and by what may yet be.
func (m *Machine) union() []Candidate {
	all := slices.Clone(m.newest().Candidates)
	if !m.holds(ruleUnion) {
		return all
	}
	for _, s := range m.disk.Unsettled {
		for _, c := range s.Record.Candidates {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

// others are the instances of the union but this one.
func (m *Machine) others() []string {
	seen := map[string]bool{}
	for _, c := range m.union() {
		if c.Instance != m.self.Instance {
			seen[c.Instance] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// durations are the recorded ones, the shorter while a change is unsettled.
func (m *Machine) durations() Durations {
	d := m.newest().Durations
	if d.Lease == 0 {
		d = DefaultDurations
	}
	for _, s := range m.disk.Unsettled {
		if s.Record.Durations.Lease > 0 && m.holds(ruleShorter) {
			d = d.Shorter(s.Record.Durations)
		}
	}
	return d
}

func (m *Machine) ask(instances []string, q Question) {
	q.From = m.self.Instance
	for _, instance := range instances {
		p := m.peers[instance]
		p.askedAt = m.now.Mono
		m.peers[instance] = p
		m.do(Ask{Instance: instance, Question: q})
	}
}

func (m *Machine) nextRound() int64 {
	m.round++
	return m.round
}

// write sends a record, and keeps it first when it says something new.
func (m *Machine) write(r Record) int64 {
	m.stamp++
	r.Stamp = m.stamp
	if !r.sameContent(&m.lease.record) || m.lease.version == "" {
		m.keepSent(r)
	}
	m.do(WriteLease{ID: m.stamp, Base: m.lease.version, Record: r})
	return m.stamp
}

func (m *Machine) keepSent(r Record) {
	r.Stamp = 0
	for _, s := range m.disk.Unsettled {
		if s.Base == m.lease.version && s.Record.sameContent(&r) {
			return
		}
	}
	m.disk.Unsettled = append(slices.Clone(m.disk.Unsettled), Sent{Base: m.lease.version, Record: r})
}

// seeEngine learns the facts.
func (m *Machine) seeEngine(f Facts) {
	if f.Crashed > m.facts.Crashed && m.hold != nil && m.hold.live {
		m.hold.crashed = true
	}
	m.facts = f
}
