package election

import "slices"

// Changes of the record. The holder alone makes them, one at a time, and in an order in which the engine's
// setting satisfies every record that may be the one that a claim is judged by:
//
//   - a name comes in, or w goes down: record first, then the engine;
//   - a name goes, or w goes up: the engine first, everywhere, until enough of the remaining names have
//     all that was acknowledged before; then the record.

// shrink is a change of the record that the engine must apply first.
type shrink struct {
	set      bool
	wanted   Synchronous
	marked   bool
	position Position
}

// nextRecord is what the next renewal says.
func (m *Machine) nextRecord() Record {
	for _, sent := range slices.Backward(m.disk.Unsettled) {
		if r := sent.Record; r.Epoch == m.hold.epoch && r.Holder == m.self.Identity {
			// The same again, until it is settled: won, or lost to something newer.
			return r
		}
	}
	if h := m.hold; h.live && m.facts.Mode == ModePrimary && m.applied(&h.target) {
		return h.target
	}
	return *m.newest()
}

// target is the record with the next change in it. A name that comes in is first: it may be the one that
// what has to be flushed for another change is waiting for.
func (m *Machine) target() Record {
	r := *m.newest()
	if !m.told || m.disk.Name == "" {
		return r
	}
	if d := m.spec.Durations; d.Valid() && !m.hold.failed {
		// Not while renewals fail: shorter ones would count at once.
		r.Durations = d
	}
	if m.spec.W < r.W {
		r.W = max(m.spec.W, 0)
		return r
	}
	if c, ok := m.joins(&r); ok {
		r.Candidates = append(slices.Clone(r.Candidates), c)
		return r
	}
	if i := m.leaver(&r); i >= 0 {
		r.Candidates = slices.Delete(slices.Clone(r.Candidates), i, i+1)
		return r
	}
	if m.spec.W > r.W && len(r.Candidates)-1 >= m.spec.W {
		r.W = m.spec.W
	}
	return r
}

// leaver is a candidate that goes, where enough others are left; -1 when there is none.
func (m *Machine) leaver(r *Record) int {
	if len(r.Candidates)-2 < r.W && m.holds(ruleNeverBelow) {
		return -1
	}
	return slices.IndexFunc(r.Candidates, func(c Candidate) bool { return c.Name != m.disk.Name && m.leaves(c) })
}

// leaves: the instance is no member any more, has other data now, can only be cloned because log that it needs
// is gone, or was out of reach for leaseDuration while the API shows that its pod is gone or not ready.
func (m *Machine) leaves(c Candidate) bool {
	if !slices.Contains(m.spec.Members, c.Instance) {
		return true
	}
	p := m.peers[c.Instance]
	if p.name != "" && p.name != c.Name {
		return true
	}
	if _, streams := m.facts.Standbys[c.Name]; streams {
		return false
	}
	if p.behind && m.now.Mono-p.behindAt <= 2*m.durations().RenewPeriod {
		return true
	}
	return m.spec.Gone[c.Instance] && m.now.Mono-max(p.answeredAt, m.hold.startedAt) >= m.durations().Lease
}

// joins is a replica that is streaming and close, and no candidate yet. Its instance may have another
// name in the record still: data that is no more can only go when there are enough others.
func (m *Machine) joins(r *Record) (Candidate, bool) {
	for _, instance := range m.spec.Members {
		c := Candidate{Name: m.peers[instance].name, Instance: instance}
		if instance == m.self.Instance || c.Name == "" || r.Has(c.Name) {
			continue
		}
		if flushed, streams := m.facts.Standbys[c.Name]; streams && flushed+m.spec.MaxLag >= m.facts.Position {
			return c, true
		}
	}
	return Candidate{}, false
}

// applied: the engine is such that this record may be written.
func (m *Machine) applied(target *Record) bool {
	s := &m.hold.shrink
	if target.W == 0 || !shrinks(m.newest(), target) {
		*s = shrink{}
		return true
	}
	wanted := m.synchronous()
	if !s.set || !s.wanted.equal(wanted) {
		*s = shrink{set: true, wanted: wanted}
	}
	if !s.marked {
		if m.holds(ruleShrinkApplied) && (!m.whole() || !m.facts.Applied || !m.want.Synchronous.equal(wanted)) {
			return false
		}
		s.marked, s.position = true, m.facts.Position
	}
	return m.flushedBy(wanted.Names, s.position) >= wanted.W || !m.holds(ruleShrinkFlushed)
}

// shrinks: a name goes, or more of them must have every commit.
func shrinks(current, target *Record) bool {
	return target.W > current.W ||
		slices.ContainsFunc(current.Candidates, func(c Candidate) bool { return c.Name != current.Name && !target.Has(c.Name) })
}

// synchronous satisfies the recorded candidates and w, those that are unsettled, and the next ones.
func (m *Machine) synchronous() Synchronous {
	target := &m.hold.target
	names, w := m.scratch[:0], target.W
	for i := range target.Candidates {
		if name := target.Candidates[i].Name; name != target.Name {
			names = append(names, name)
		}
	}
	and := func(r *Record) {
		w = max(w, r.W)
		names = slices.DeleteFunc(names, func(name string) bool { return !r.Has(name) })
	}
	if m.holds(ruleGrow) {
		and(m.newest())
	}
	if m.holds(ruleUnionSetting) {
		for i := range m.disk.Unsettled {
			and(&m.disk.Unsettled[i].Record)
		}
	}
	if w == 0 {
		return Synchronous{}
	}
	return Synchronous{Names: m.sorted(names, m.want.Synchronous.Names), W: w}
}
