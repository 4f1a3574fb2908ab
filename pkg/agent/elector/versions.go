package elector

import (
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// versions orders what is seen of the Lease. Reads, writes and the watch come back in any order, and
// a watch may show what is long past. Resource versions are compared as numbers, which they are in
// practice; with any that are not, only reads count.
type versions struct {
	newest uint64
	// raisedAt is when the newest was seen, on the monotonic clock.
	raisedAt time.Duration
	// objects are the last ones, oldest first: a write begins with the one that it replaces.
	objects []*coordinationv1.Lease
}

// kept is how many objects are kept: a write is based on the newest, or one just before it.
const kept = 4

// read says whether an answer to a read that was sent at a time is news. One that was sent before
// something newer was seen, and shows something older, was overtaken. One that was sent afterwards and
// shows something older means that somebody restored the Lease.
func (v *versions) read(lease *coordinationv1.Lease, sentAt, now time.Duration) bool {
	number, ok := numberOf(lease)
	if !ok {
		v.keep(lease)
		return true
	}
	if number < v.newest && sentAt <= v.raisedAt {
		return false
	}
	if lease != nil && number != v.newest {
		v.newest, v.raisedAt = number, now
	}
	v.keep(lease)
	return true
}

// watched says whether what a watch shows is newer than all that was seen.
func (v *versions) watched(lease *coordinationv1.Lease, now time.Duration) bool {
	number, ok := numberOf(lease)
	if !ok || number <= v.newest {
		return false
	}
	v.newest, v.raisedAt = number, now
	v.keep(lease)
	return true
}

// wrote notes what a write left.
func (v *versions) wrote(lease *coordinationv1.Lease, now time.Duration) {
	if number, ok := numberOf(lease); ok && number > v.newest {
		v.newest, v.raisedAt = number, now
	}
	v.keep(lease)
}

func (v *versions) keep(lease *coordinationv1.Lease) {
	if lease == nil {
		return
	}
	if v.object(lease.ResourceVersion) != nil {
		return
	}
	v.objects = append(v.objects, lease)
	if len(v.objects) > kept {
		v.objects = v.objects[1:]
	}
}

// object is the Lease at a version, when it is still known.
func (v *versions) object(version string) *coordinationv1.Lease {
	for _, lease := range v.objects {
		if lease.ResourceVersion == version {
			return lease
		}
	}
	return nil
}

// last is the Lease as it was seen last.
func (v *versions) last() *coordinationv1.Lease {
	if len(v.objects) == 0 {
		return nil
	}
	return v.objects[len(v.objects)-1]
}

// numberOf is the version as a number; that of a missing Lease is zero.
func numberOf(lease *coordinationv1.Lease) (uint64, bool) {
	if lease == nil {
		return 0, true
	}
	number, err := strconv.ParseUint(lease.ResourceVersion, 10, 64)
	return number, err == nil
}
