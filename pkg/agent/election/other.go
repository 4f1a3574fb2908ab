package election

// Everyone but the holder: follow, or claim.

func (m *Machine) evaluateOther() {
	m.releaseAgain()
	if m.disk.Fence != "" && m.lease.known && m.disk.Fence != m.fenceAt() {
		// Something newer, or a later renewal.
		m.disk.Fence = ""
	}
	m.follow()
	m.evaluateClaim()
}

// known: the position is what the data has, and nothing can be added to it: there is no source, and
// replay stands still; or the engine was stopped cleanly.
func (m *Machine) known() bool {
	if !m.whole() || m.want.Source != nil || m.want.Mode != m.facts.Mode {
		return false
	}
	if m.facts.Mode != ModeReplica && m.facts.Mode != ModeDown {
		return false
	}
	return m.facts.Settled || !m.holds(ruleSettled)
}

// follow makes the data fit to follow the holder, and then follows.
func (m *Machine) follow() {
	if m.leader() == nil {
		m.following = source{}
		return
	}
	record := m.newest()
	next := m.sourceOf(record)
	if m.following == next || m.mustDown || m.spec.Stop || m.unclaimed() {
		return
	}
	switch {
	case m.rebuild != "":
		m.rebuilding(record, next)
	case m.disk.Name == "" || m.disk.Rebuilding:
		m.beginClone(record, next)
	case m.following != source{}:
		// Another holder: the old source is taken away first.
		m.following = source{}
	case m.known() && m.want.Mode == ModeReplica:
		m.rejoin(record, next)
	}
}

func (m *Machine) rejoin(record *Record, next source) {
	way := WayFollow
	if m.holds(ruleRejoin) {
		way = Rejoin(m.disk.Chain, m.facts.Position, record.Chain)
	}
	switch way {
	case WayFollow:
		m.disk.Chain = record.Chain
		m.following = next
	case WayRewind:
		m.disk.Rebuilding, m.rebuild, m.rebuildFrom = true, WayRewind, next
	case WayClone:
		m.beginClone(record, next)
	}
}

// beginClone gives the new data its name before there is data.
func (m *Machine) beginClone(_ *Record, next source) {
	if m.disk.Name == "" || m.holds(ruleNewName) {
		m.disk.Name = m.self.NewName()
	}
	m.disk.Rebuilding, m.rebuild, m.rebuildFrom = true, WayClone, next
	m.disk.Chain = nil
}

// rebuilding follows a rewind or a clone to its end.
func (m *Machine) rebuilding(record *Record, next source) {
	switch {
	case m.rebuildFrom != next, m.rebuild == WayRewind && m.facts.RewindFailed && m.whole():
		// What was begun with another source, or could not be rewound, is copied anew.
		m.beginClone(record, next)
	case m.whole() && (m.want.Mode == ModeClone || m.want.Mode == ModeRewind):
		m.disk.Rebuilding, m.rebuild = false, ""
		m.disk.Chain, m.following = record.Chain, next
	}
}

// read asks the API for the Lease when what it says is unknown, or overdue, or about to change.
func (m *Machine) read() {
	d := m.durations()
	if m.now.Mono-m.lease.readAt < d.RetryPeriod {
		return
	}
	l := &m.lease
	due := !l.known || len(m.disk.Unsettled) > 0 || l.stale
	if m.hold != nil {
		due = due || l.version == "" || l.record.Epoch < m.hold.epoch || m.hold.failed
	} else {
		due = due || l.record.Holder == "" || l.version == "" || m.now.Mono-l.firstAt >= d.RenewPeriod+d.RetryPeriod
	}
	if due {
		l.readAt = m.now.Mono
		m.do(ReadLease{})
	}
}
