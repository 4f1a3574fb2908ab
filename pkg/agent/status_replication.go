package agent

import (
	"slices"
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// What the status says of replication. It is written when somebody acts on it, so a lag comes in steps,
// and a position, which never stands still, not at all.

// lagStep is the lag that is not worth telling.
const lagStep = 1 << 20

// report fills in the status.
func (r *replication) report(s *dbv1.DatabaseInstanceStatus) {
	s.Epoch = r.Disk.OwnEpoch
	status := &dbv1.InstanceReplicationStatus{}
	switch {
	case r.seenAt.IsZero():
	case r.done.mode == StartPrimary:
		s.Timeline = r.seen.Timeline
		status.Synchronous = r.satisfied()
	case r.done.mode == StartReplica:
		s.Timeline = r.seen.Timeline
		s.Epoch = r.Disk.Record.Epoch
		if r.done.source != nil {
			status.Source = r.done.source.Instance
		}
		status.Streaming = r.seen.Receiving
		status.Synchronous = r.Disk.Record.W > 0 && r.Disk.Record.Has(r.Disk.Name)
		if r.seen.Receiving && r.seen.SourcePosition > 0 {
			s.LagBytes = new(coarse(r.lag()))
		}
	}
	s.Replication = status
}

// satisfied: as many of the synchronous names stream as commits wait for.
func (r *replication) satisfied() bool {
	n := 0
	for _, standby := range r.seen.Standbys {
		if standby.Streaming && slices.Contains(wantedSynchronous(r.Want).Names, standby.DataID) {
			n++
		}
	}
	return n >= r.Want.Synchronous.W
}

// lag is how far a replica's replay is behind what its source has, in bytes.
func (r *replication) lag() int64 {
	return int64(max(r.seen.SourcePosition, r.seen.Position) - r.seen.Position)
}

// coarse rounds a lag up to a power of two of a megabyte, and little to nothing.
func coarse(lag int64) int64 {
	if lag < lagStep {
		return 0
	}
	step := int64(lagStep)
	for step < lag {
		step *= 2
	}
	return step
}

// inTouch: a primary, or a replica that is close to its source, or that has lost it only now. One that
// lost its primary together with everyone else, so that there is nobody to follow, goes on serving reads.
//
// All replicas lose a primary that dies, at the same moment, and find the next one after a leaseDuration and
// what a promotion takes. Reads must not stop for that; so only who misses a source for twice as long is alone
// with it.
func (r *replication) inTouch(now time.Time, spec *dbv1.InstanceReplication) bool {
	switch {
	case r.done.mode != StartReplica || spec == nil:
		return true
	case r.seen.Receiving:
		return r.lag() <= spec.MaxLag
	case r.receivingAt.IsZero():
		return false
	}
	return r.done.source == nil || now.Sub(r.receivingAt) < 2*spec.LeaseDuration.Duration
}
