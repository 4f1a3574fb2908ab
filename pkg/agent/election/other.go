package election

// Everyone but the holder: follow, or claim.

func (m *Machine) evaluateOther() {
	m.releaseAgain()
	if m.disk.Fence != "" && !m.fenced() {
		// Something newer, or a later renewal.
		m.disk.Fence = ""
	}
	if !m.waited() {
		m.missing = nil
	}
	m.follow()
	m.evaluateClaim()
}

// known: the position is what the data has, and nothing can be added to it: there is no source, and
// replay stands still; or the engine was stopped cleanly.
func (m *Machine) known() bool {
	if !m.whole() || m.want.Mode != m.facts.Mode {
		return false
	}
	if m.want.Source != nil {
		return !m.holds(ruleFence)
	}
	if m.facts.Mode != ModeReplica && m.facts.Mode != ModeDown {
		return false
	}
	return m.facts.Settled || !m.holds(ruleSettled)
}

// follow makes the data fit to follow the holder, and then follows.
func (m *Machine) follow() {
	if m.following == (source{}) || m.facts.Receiving {
		m.behind = false
	}
	if m.leader() == nil {
		m.following = source{}
		return
	}
	record := m.newest()
	next := sourceOf(record)
	switch {
	case m.mustDown, m.spec.Stop, m.foreign(), m.now.Mono < m.aloneUntil:
	case m.following == next:
		m.replace(record, next)
	case m.rebuild != "":
		m.rebuilding(record, next)
	case m.disk.Name == "", m.disk.Rebuilding:
		if m.runs(next) {
			m.beginClone(next)
		}
	case m.following != source{}:
		// Another holder: the old source is taken away first.
		m.following = source{}
	case m.known() && m.want.Mode == ModeReplica:
		m.rejoin(record, next)
	}
}

// replace copies the data anew where the source lacks the log that comes next. While that goes on the data counts for
// nothing. So its name leaves the candidates first, which shows that enough others have what was acknowledged
// with it: the holder sees to that when it hears of it. It is not waited for where too few others are left, or for long.
func (m *Machine) replace(record *Record, next source) {
	if !m.facts.LogGone || !m.whole() || m.want.Mode != ModeReplica || m.want.Source == nil || m.facts.Mode != ModeReplica {
		return
	}
	if !m.behind {
		m.behind, m.behindAt = true, m.now.Mono
	}
	counts := record.Has(m.disk.Name) && len(record.Candidates)-2 >= record.W
	if (!counts || m.now.Mono-m.behindAt >= m.limits.behind) && m.runs(next) {
		m.beginClone(next)
		m.following = source{}
	}
}

func (m *Machine) rejoin(record *Record, next source) {
	way := WayFollow
	if m.holds(ruleRejoin) {
		way = Rejoin(m.disk.Chain, m.facts.Position, record.Chain)
	}
	switch {
	case way == WayFollow:
		m.disk.Chain = record.Chain
		m.following = next
	case !m.runs(next):
	case way == WayRewind:
		m.disk.Rebuilding, m.rebuild, m.rebuildFrom = true, WayRewind, next
	default:
		m.beginClone(next)
	}
}

// runs: the source was just seen to run. Data is not touched before: as long as it is whole it counts in an
// election, and if the source is gone, there may be no better one.
func (m *Machine) runs(next source) bool {
	if m.ran.name == next.name && m.now.Mono-m.ran.at <= m.limits.fresh {
		return true
	}
	if leader := m.leader(); leader != nil && m.now.Mono-m.ran.askedAt >= m.limits.askPause {
		m.ran.askedAt = m.now.Mono
		m.ask([]string{leader.Instance}, Question{Kind: AskIdentity, Round: m.nextRound()})
	}
	return false
}

// beginClone gives the new data its name before there is data: what the old name stood for is gone. (As long
// as it is not whole, Rebuilding keeps it from answering and claiming; the name keeps it from being
// counted as what it was.)
func (m *Machine) beginClone(next source) {
	m.disk.Name = m.self.NewName()
	m.disk.Rebuilding, m.rebuild, m.rebuildFrom = true, WayClone, next
	m.disk.Chain = nil
}

// rebuilding follows a rewind or a clone to its end.
func (m *Machine) rebuilding(record *Record, next source) {
	switch {
	case m.rebuildFrom != next, m.rebuild == WayRewind && m.facts.RewindFailed && m.whole():
		// What was begun with another source, or could not be rewound, is copied anew.
		m.beginClone(next)
	case !m.whole():
	case m.want.Mode == ModeRewind:
		// It follows, and nobody waits for it, until it is whole.
		m.rebuild = wayCatchUp
	case m.want.Mode == ModeClone, m.rebuild == wayCatchUp && m.want.Mode == ModeReplica && m.facts.Mode == ModeReplica && !m.facts.Inconsistent:
		m.disk.Rebuilding, m.rebuild = false, ""
		m.disk.Chain, m.following = record.Chain, next
	}
}

// read asks the API for the Lease when what it says is unknown, or overdue, or about to change.
func (m *Machine) read() {
	d := m.durations()
	l := &m.lease
	if m.now.Mono-l.readAt < d.RetryPeriod {
		return
	}
	due := l.record.Holder == "" || m.now.Mono-l.firstAt >= d.RenewPeriod+2*d.RetryPeriod
	if h := m.hold; h != nil {
		due = h.failed || h.leaving != nil && h.leaving.down
	}
	if due || !l.known || l.stale || len(m.disk.Unsettled) > 0 || m.lowered() {
		l.readAt = m.now.Mono
		m.do(ReadLease{})
	}
}
