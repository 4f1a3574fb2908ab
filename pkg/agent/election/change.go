package election

import (
	"reflect"
	"slices"
)

// Changes of the record. The holder alone makes them, one at a time, and in an order in which the engine's
// setting satisfies every record that may be the one that a claim is judged by:
//
//   - a name comes in, or w goes down: record first, then the engine;
//   - a name goes, or w goes up: the engine first, everywhere, until enough of the remaining names have
//     all that was acknowledged before; then the record.

// nextRecord is what the next renewal says.
func (m *Machine) nextRecord() Record {
	if n := len(m.disk.Unsettled); n > 0 && m.disk.Unsettled[n-1].Record.Epoch == m.hold.epoch {
		// The same again, until it is settled: won, or lost to something newer.
		return m.disk.Unsettled[n-1].Record
	}
	current := m.lease.record
	target := m.target()
	if !m.hold.live || m.facts.Mode != ModePrimary || !m.applied(&target) {
		return current
	}
	return target
}

// target is the record with the next change in it.
func (m *Machine) target() Record {
	r := m.lease.record
	r.Handover = ""
	if d := m.spec.Durations; d.Valid() {
		r.Durations = d
	}
	if m.spec.W < r.W {
		r.W = max(m.spec.W, 0)
		return r
	}
	for i, c := range r.Candidates {
		if c.Name != m.disk.Name && m.leaves(c) && (len(r.Candidates)-2 >= r.W || !m.holds(ruleNeverBelow)) {
			r.Candidates = slices.Delete(slices.Clone(r.Candidates), i, i+1)
			return r
		}
	}
	if c, ok := m.joins(&r); ok {
		r.Candidates = append(slices.Clone(r.Candidates), c)
		return r
	}
	if m.spec.W > r.W && len(r.Candidates)-1 >= m.spec.W {
		r.W = m.spec.W
	}
	return r
}

// leaves: the instance is no member any more, has other data now, or was out of reach for leaseDuration
// while the API shows that its pod is gone or not ready.
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
	return m.spec.Gone[c.Instance] && m.now.Mono-max(p.answeredAt, m.hold.startedAt) >= m.durations().Lease
}

// joins is a replica that is streaming and close, and no candidate yet.
func (m *Machine) joins(r *Record) (Candidate, bool) {
	for _, instance := range m.spec.Members {
		c := Candidate{Name: m.peers[instance].name, Instance: instance}
		if c.Name == "" || instance == m.self.Instance ||
			slices.ContainsFunc(r.Candidates, func(other Candidate) bool { return other.Instance == instance || other.Name == c.Name }) {
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
	current := &m.lease.record
	shrinks := target.W > current.W
	for _, name := range current.Names() {
		shrinks = shrinks || !target.Has(name)
	}
	if !shrinks || target.W == 0 {
		m.hold.shrink = shrink{}
		return true
	}
	s := &m.hold.shrink
	wanted := m.synchronous()
	if !s.set || !reflect.DeepEqual(s.wanted, wanted) {
		*s = shrink{set: true, wanted: wanted}
	}
	if !s.marked {
		if !m.holds(ruleShrinkApplied) {
			return true
		}
		if !m.whole() || !m.facts.Applied || !reflect.DeepEqual(m.want.Synchronous, wanted) {
			return false
		}
		s.marked, s.position = true, m.facts.Position
	}
	return m.flushedBy(wanted.Names, s.position) >= wanted.W || !m.holds(ruleShrinkFlushed)
}

// synchronous satisfies the recorded candidates and w, those that are unsettled, and the next ones.
func (m *Machine) synchronous() Synchronous {
	target := m.target()
	if !m.holds(ruleGrow) {
		return synchronousOf(&target)
	}
	s := synchronousOf(m.newest())
	for _, sent := range m.disk.Unsettled {
		s = s.and(synchronousOf(&sent.Record))
	}
	s = s.and(synchronousOf(&target))
	if s.W == 0 {
		s.Names = nil
	}
	return s
}

func synchronousOf(r *Record) Synchronous {
	names := r.Names()
	slices.Sort(names)
	return Synchronous{Names: names, W: r.W}
}

// and satisfies both.
func (s Synchronous) and(other Synchronous) Synchronous {
	var names []string
	for _, name := range s.Names {
		if slices.Contains(other.Names, name) {
			names = append(names, name)
		}
	}
	return Synchronous{Names: names, W: max(s.W, other.W)}
}
