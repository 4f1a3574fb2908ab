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
	if r.done.mode != StartPrimary {
		// One that is down, too, is as far as it knows, and not where it was the primary last.
		s.Epoch = max(s.Epoch, r.Disk.Record.Epoch)
	}
	status := &dbv1.InstanceReplicationStatus{}
	switch {
	case r.seenAt.IsZero():
	case r.done.mode == StartPrimary:
		s.Timeline = r.seen.Timeline
		status.Synchronous = r.satisfied()
		if r.lost.bytes > 0 && r.lost.epoch == r.Disk.OwnEpoch {
			status.LostBytes = new(r.lost.bytes)
		}
	case r.done.mode == StartReplica:
		s.Timeline = r.seen.Timeline
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

// heard is what a replica knows of the log of the source that it had last.
type heard struct {
	source Source
	// end is where that log ended as it last said, received up to where it was received.
	end, received Position
}

// hear takes note of a look at the engine.
func (h *heard) hear(source *Source, seen *Replication) {
	if seen.Primary {
		return
	}
	if source != nil && *source != h.source {
		*h = heard{source: *source}
	}
	h.received = max(h.received, seen.Received)
	if source != nil {
		h.end = max(h.end, seen.SourcePosition)
	}
}

// lost is what an epoch began without.
type lost struct {
	epoch, bytes int64
}

// lostToEpoch is what this instance, which has just been promoted, lacks at least of its predecessor's log. What it
// has received and cannot replay is a piece of something that was never committed. With synchronous replicas nothing
// of what it lacks was acknowledged.
func (r *replication) lostToEpoch() lost {
	l := lost{epoch: r.Disk.OwnEpoch}
	chain := r.Disk.Chain
	if r.Disk.Record.W > 0 || len(chain) == 0 || chain[len(chain)-1].Number != l.epoch {
		return l
	}
	has := max(Position(chain[len(chain)-1].Begin), r.heard.received)
	l.bytes = int64(max(r.heard.end, has) - has)
	return l
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
