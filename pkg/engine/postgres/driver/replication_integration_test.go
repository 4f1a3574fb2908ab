//go:build integration

package driver

import (
	"testing"

	"github.com/platform-io/database-operator/pkg/agent"
)

func TestReplicasFollowAndKnowTheirPosition(t *testing.T) {
	a := newPrimary(t)
	b, c := newReplica(t, "b", a), newReplica(t, "c", a)
	a.exec("INSERT INTO rows SELECT generate_series(1, 1000), repeat('x', 500)")
	b.caughtUp(a)
	c.caughtUp(a)
	if got := c.value("SELECT count(*) FROM rows"); got != "1000" {
		t.Errorf("the replica has %s rows", got)
	}
	r := a.replication()
	if !r.Primary || r.Timeline != 1 || len(r.Standbys) != 2 {
		t.Fatalf("the primary is %+v", r)
	}
	for i, name := range []string{b.dataID, c.dataID} {
		s := r.Standbys[i]
		if s.DataID != name || !s.Streaming || s.RepliedAt.IsZero() || s.Flushed == 0 || s.Flushed > r.Position {
			t.Errorf("standby %+v of a primary at %d", s, r.Position)
		}
	}
	if r := b.replication(); r.Primary || r.Settled || !r.Receiving || r.ReplayPaused || r.Timeline != 1 {
		t.Errorf("the replica is %+v", r)
	}

	// After a clean stop the replicas are where the log ends.
	a.do(call{Method: "Checkpoint"})
	a.stop(agent.StopFast)
	end := a.do(call{Method: "EndOfLog"}).Position
	if got := b.unfollow(); got != end {
		t.Errorf("the replica is at %s, and the log ends at %s", formatPosition(got), formatPosition(end))
	}
}
