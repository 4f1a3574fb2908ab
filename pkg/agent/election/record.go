package election

import (
	"cmp"
	"slices"
	"time"
)

// Position is a place in the engine's log, in bytes from its beginning.
type Position uint64

// Epoch is one reign: who wrote, and from where on.
type Epoch struct {
	// Number grows with every acquisition of the Lease, and is used once.
	Number int64
	// Name is the data id of the primary.
	Name string
	// Begin is the position at which it began to write.
	Begin Position
}

// Chain is the history of data: its epochs, oldest first. Two timelines of PostgreSQL can carry the same
// number; two epochs cannot.
type Chain []Epoch

// Candidate is data that may be promoted.
type Candidate struct {
	// Name is the data id: an emptied volume has another one.
	Name string
	// Instance is the name of the pod that has it.
	Instance string
}

// Durations are those of the Lease. Everyone uses the ones that are recorded on it.
type Durations struct {
	Lease, RenewDeadline, RenewPeriod, RetryPeriod time.Duration
}

// DefaultDurations are used until others are recorded.
var DefaultDurations = Durations{Lease: 15 * time.Second, RenewDeadline: 10 * time.Second, RenewPeriod: 5 * time.Second, RetryPeriod: time.Second}

// Valid says whether clocks may differ by a tenth without two primaries: a holder's engine is down by
// half of the time between renewDeadline and the end of the Lease.
func (d Durations) Valid() bool {
	return d.RetryPeriod > 0 && d.RenewPeriod >= d.RetryPeriod && d.RenewDeadline > d.RenewPeriod && d.Lease > d.RenewDeadline &&
		d.Lease-d.killed() >= d.Lease/10
}

// killed is when, after the last renewal that counts, the engine is down at the latest.
func (d Durations) killed() time.Duration { return d.RenewDeadline + (d.Lease-d.RenewDeadline)/2 }

// Shorter takes the shorter of each.
func (d Durations) Shorter(other Durations) Durations {
	return Durations{
		Lease: min(d.Lease, other.Lease), RenewDeadline: min(d.RenewDeadline, other.RenewDeadline),
		RenewPeriod: min(d.RenewPeriod, other.RenewPeriod), RetryPeriod: min(d.RetryPeriod, other.RetryPeriod),
	}
}

// Record is what stands on the Lease. Its slices are never changed in place.
type Record struct {
	// Holder is the pod and its UID; empty when the Lease was released or never held.
	Holder string
	// Epoch is the number of acquisitions; zero when it was never held.
	Epoch int64
	// Name is the data id of the holder, or of the last one.
	Name  string
	Chain Chain
	// Candidates may be promoted; the holder's own data is one of them.
	Candidates []Candidate
	// W is how many of the others have every acknowledged commit.
	W int
	// Handover names the data whose instance may claim at once after a release.
	Handover  string
	Durations Durations
	// Stamp grows with every write of an epoch. It tells the holder which of its writes this is, and
	// everyone which of two records of one epoch is the newer one.
	Stamp int64
}

// After says whether r was written after the other one.
func (r *Record) After(other *Record) bool {
	return cmp.Or(cmp.Compare(r.Epoch, other.Epoch), cmp.Compare(r.Stamp, other.Stamp)) > 0
}

// Names are the candidates other than the holder's own data: those that commits wait for.
func (r *Record) Names() []string {
	names := make([]string, 0, len(r.Candidates))
	for i := range r.Candidates {
		if name := r.Candidates[i].Name; name != r.Name {
			names = append(names, name)
		}
	}
	return names
}

// Has says whether that data may be promoted.
func (r *Record) Has(name string) bool {
	for i := range r.Candidates {
		if r.Candidates[i].Name == name {
			return name != ""
		}
	}
	return false
}

// sameContent says whether a renewal has nothing else to say.
func (r *Record) sameContent(other *Record) bool {
	return r.Epoch == other.Epoch && r.W == other.W && r.Holder == other.Holder && r.Name == other.Name &&
		r.Handover == other.Handover && r.Durations == other.Durations &&
		same(r.Chain, other.Chain) && same(r.Candidates, other.Candidates)
}

// same compares slices that are not changed in place: most are the very same one.
func same[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// last is the number of the newest epoch, zero when there is none.
func (c Chain) last() int64 {
	if len(c) == 0 {
		return 0
	}
	return c[len(c)-1].Number
}

// Reached is the part of the chain that data up to this position was really written in.
func (c Chain) Reached(end Position) Chain {
	n := len(c)
	for n > 0 && c[n-1].Begin >= end && (n > 1 || c[0].Begin > end) {
		n--
	}
	return c[:n:n]
}

// Leaves is the position at which data with this chain and end leaves the other chain: what lies beyond
// counts for nothing there. It is false when the two have nothing in common. Either may lack its oldest epochs:
// what led to an epoch is the same wherever that epoch is.
func (c Chain) Leaves(end Position, other Chain) (Position, bool) {
	if len(c) == 0 || len(other) == 0 {
		return 0, false
	}
	if at := slices.Index(other, c[0]); at >= 0 {
		other = other[at:]
	} else if at := slices.Index(c, other[0]); at >= 0 {
		c = c[at:]
	} else {
		return 0, false
	}
	common := 1
	for common < len(c) && common < len(other) && c[common] == other[common] {
		common++
	}
	if common < len(c) {
		end = min(end, c[common].Begin)
	}
	if common < len(other) {
		end = min(end, other[common].Begin)
	}
	return end, true
}

// Way says how data comes to follow a source.
type Way string

// The ways to follow.
const (
	// WayFollow: what it has is a part of what the source has.
	WayFollow Way = "Follow"
	// WayRewind: it has something beyond the point where it leaves the source's history.
	WayRewind Way = "Rewind"
	// WayClone: its history is another one, or there is none.
	WayClone Way = "Clone"
	// wayCatchUp: it was rewound, and is not whole yet.
	wayCatchUp Way = "CatchUp"
)

// Rejoin says how data with this chain and end comes to follow a source with that chain.
func Rejoin(own Chain, end Position, source Chain) Way {
	own = own.Reached(end)
	if len(own) == 0 {
		return WayClone
	}
	at := slices.Index(source, own[len(own)-1])
	switch {
	case at < 0:
		return WayClone
	case at == len(source)-1 || end <= source[at+1].Begin:
		return WayFollow
	default:
		return WayRewind
	}
}
