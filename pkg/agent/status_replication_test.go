package agent

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/agent/election"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestWhichReplicasServeReads(t *testing.T) {
	const lease = 15 * time.Second
	follows := carriedOut{mode: StartReplica, source: &Source{Instance: "db-0"}, sourceSet: true}
	alone := carriedOut{mode: StartReplica, sourceSet: true}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		is   replication
		want bool
	}{
		"one that is close":                         {replication{done: follows, seen: Replication{Receiving: true, Position: 90, SourcePosition: 100}, receivingAt: now}, true},
		"one that is far behind":                    {replication{done: follows, seen: Replication{Receiving: true, Position: 10, SourcePosition: 200}, receivingAt: now}, false},
		"one that never received anything":          {replication{done: follows}, false},
		"one that never had anybody to follow":      {replication{done: alone}, false},
		"all, when the primary has just died":       {replication{done: follows, receivingAt: ago(5 * time.Second)}, true},
		"all, when its lease ends":                  {replication{done: follows, receivingAt: ago(lease + time.Second)}, true},
		"one that has just found the next primary":  {replication{done: follows, receivingAt: ago(lease + 8*time.Second)}, true},
		"one that alone does not receive any more":  {replication{done: follows, receivingAt: ago(2 * lease)}, false},
		"all, as long as there is nobody to follow": {replication{done: alone, receivingAt: ago(time.Hour)}, true},
		"a primary": {replication{done: carriedOut{mode: StartPrimary}}, true},
	} {
		spec := &dbv1.InstanceReplication{MaxLag: 100, LeaseDuration: metav1.Duration{Duration: lease}}
		if got := c.is.inTouch(now, spec); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Zero would say that a replica has everything.
func TestALagThatIsNotKnownIsNotSaid(t *testing.T) {
	follows := carriedOut{mode: StartReplica, source: &Source{Instance: "db-0"}, sourceSet: true}
	for name, c := range map[string]struct {
		seen Replication
		want int64
	}{
		"close":                               {Replication{Receiving: true, Position: 90, SourcePosition: 100}, 0},
		"behind":                              {Replication{Receiving: true, Position: 90, SourcePosition: 90 + 3<<20}, 4 << 20},
		"not receiving":                       {Replication{Position: 90, SourcePosition: 100}, -1},
		"receiving from who said nothing yet": {Replication{Receiving: true, Position: 90}, -1},
	} {
		r := replication{done: follows, seen: c.seen, seenAt: now}
		var s dbv1.DatabaseInstanceStatus
		r.report(&s)
		switch {
		case c.want < 0 && s.LagBytes != nil:
			t.Errorf("%s: a lag of %d", name, *s.LagBytes)
		case c.want >= 0 && (s.LagBytes == nil || *s.LagBytes != c.want):
			t.Errorf("%s: lag %v, want %d", name, s.LagBytes, c.want)
		}
	}
}

func TestAnInstanceWithoutReplicasDoesNotSpeakOfThem(t *testing.T) {
	for name, c := range map[string]struct {
		replicas []string
		want     string
	}{
		"alone":          {nil, ""},
		"with a replica": {[]string{"r"}, "Keeping the log for the replicas"},
	} {
		o, spec := settledInstance()
		o.repl = &replication{
			Want: election.Want{Mode: election.ModePrimary, Admit: true, Replicas: c.replicas},
			done: carriedOut{mode: StartPrimary, synchronous: &Synchronous{}, admit: new(true)},
		}
		if got := nextStep(o, dbv1.PostgreSQL, spec); got.kind != stepReplicas || got.message != c.want {
			t.Errorf("%s: step %s says %q, want %q", name, got.kind, got.message, c.want)
		}
	}
}

func TestWhatAFailoverLost(t *testing.T) {
	before, other := &Source{Instance: "db-0", DataID: "a", As: "b.3"}, &Source{Instance: "db-2", DataID: "c", As: "b.4"}
	type look struct {
		source *Source
		seen   Replication
	}
	lags := look{before, Replication{Receiving: true, Position: 90, Received: 90, SourcePosition: 150}}
	for name, test := range map[string]struct {
		looks []look
		w     int
		want  int64
	}{
		"what it had not received":         {looks: []look{lags, {nil, Replication{Position: 100, Received: 100}}}, want: 50},
		"a piece that cannot be told":      {looks: []look{lags, {before, Replication{Position: 100, Received: 150}}}},
		"nothing that was acknowledged":    {looks: []look{lags}, w: 1},
		"of who was followed before":       {looks: []look{lags, {other, Replication{Position: 100, Received: 100, SourcePosition: 100}}}},
		"nothing, after a switchover":      {looks: []look{{before, Replication{Position: 100, Received: 100, SourcePosition: 100}}}},
		"nobody knows, after a start":      {looks: []look{{nil, Replication{Position: 100}}}},
		"what a primary writes is its own": {looks: []look{{nil, Replication{Primary: true, Position: 300, SourcePosition: 300}}}},
	} {
		r := replication{done: carriedOut{mode: StartPrimary}, seenAt: now}
		for _, look := range test.looks {
			r.heard.hear(look.source, &look.seen)
		}
		r.Disk = election.Disk{OwnEpoch: 4, Record: election.Record{W: test.w}, Chain: election.Chain{{Number: 3, Name: "a"}, {Number: 4, Name: "b", Begin: 100}}}
		r.lost = r.lostToEpoch()
		var s dbv1.DatabaseInstanceStatus
		r.report(&s)
		if got := s.Replication.LostBytes; test.want == 0 && got != nil || test.want > 0 && (got == nil || *got != test.want) {
			t.Errorf("%s: got %v, want %d", name, got, test.want)
		}
		r.Disk.OwnEpoch = 5
		if r.report(&s); s.Replication.LostBytes != nil {
			t.Errorf("%s: it is told of another epoch", name)
		}
	}
}

// A fenced replica is not said to be of the epoch in which it was the primary long ago.
func TestTheEpochOfAnInstance(t *testing.T) {
	for mode, want := range map[StartMode]int64{"": 7, StartReplica: 7, StartPrimary: 3} {
		r := replication{done: carriedOut{mode: mode}}
		r.Disk.OwnEpoch, r.Disk.Record.Epoch = 3, 7
		for _, r.seenAt = range []time.Time{{}, now} {
			var s dbv1.DatabaseInstanceStatus
			r.report(&s)
			if s.Epoch != want {
				t.Errorf("mode %q, looked at %v: epoch %d, want %d", mode, r.seenAt, s.Epoch, want)
			}
		}
	}
}
