//go:build integration

package driver

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/platform-io/database-operator/pkg/agent"
)

// write inserts a row at the primary.
func (p *pod) insert(id int) {
	p.t.Helper()
	p.exec("INSERT INTO rows VALUES ($1, repeat('x', 1000))", id)
}

// mustNotReceive proves that what the primary writes does not get to a replica any more.
func mustNotReceive(t *testing.T, primary, replica *pod) {
	t.Helper()
	received := replica.value("pg_last_wal_receive_lsn()")
	primary.insert(int(time.Now().UnixNano()))
	for range 30 {
		time.Sleep(50 * time.Millisecond)
		if standbys := primary.replication().Standbys; len(standbys) > 0 {
			t.Fatalf("the source still has %+v", standbys)
		}
	}
	if now := replica.value("pg_last_wal_receive_lsn()"); now != received {
		t.Errorf("received up to %s, then %s", received, now)
	}
}

func TestSourceIsTakenAway(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.insert(1)
	b.caughtUp(a)
	b.do(call{Method: "Follow"})
	mustNotReceive(t, a, b)
	b.eventually("a settled position", func() bool { return b.replication().Settled })

	// Also after a restart, in which nobody gives it a source.
	b.stop(agent.StopFast)
	b.relaunch()
	b.start(agent.StartReplica)
	mustNotReceive(t, a, b)
	if got, before := b.unfollow(), b.value("SELECT count(*) FROM rows"); got == 0 || before != "1" {
		t.Errorf("it is at %d, with %s rows", got, before)
	}

	// And it comes back.
	b.follow(a)
	b.caughtUp(a)
	b.do(call{Method: "Follow"})
	b.do(call{Method: "Follow"})
}

// conflict makes a query of the replica hold up replay.
func conflict(t *testing.T, a, b *pod) *pgx.Conn {
	t.Helper()
	reader := b.mustConnect("app")
	if _, err := reader.Exec(context.Background(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class"); err != nil {
		t.Fatal(err)
	}
	a.exec("DELETE FROM rows")
	a.exec("VACUUM rows")
	b.eventually("a conflict", func() bool { return b.replication().ReplayPaused })
	return reader
}

func TestSourceIsTakenAwayWhileReplayWaits(t *testing.T) {
	settings := "max_standby_streaming_delay = -1"
	tests := map[string]func(t *testing.T, a, b *pod){
		"for a query": func(t *testing.T, a, b *pod) { conflict(t, a, b) },
		"because it was paused": func(_ *testing.T, _, b *pod) {
			b.exec("SELECT pg_wal_replay_pause()")
			b.eventually("the pause", func() bool { return b.replication().ReplayPaused })
		},
	}
	a := newPrimary(t)
	for name, hold := range tests {
		t.Run(name, func(t *testing.T) {
			a.t = t
			a.exec("TRUNCATE rows")
			b := newReplica(t, "b", a, settings)
			a.exec("INSERT INTO rows SELECT generate_series(1, 100)")
			b.caughtUp(a)
			hold(t, a, b)
			a.exec("INSERT INTO rows SELECT generate_series(1001, 1234)")
			end := a.replication().Position
			// It receives what it does not replay, and says so.
			b.eventually("the log to arrive", func() bool {
				s := a.replication().Standbys[0]
				return s.Flushed >= end && 0 < s.Replayed && s.Replayed < end
			})
			if r := b.replication(); r.Settled || r.Position >= end {
				t.Fatalf("it is %+v, and the primary at %d", r, end)
			}
			b.do(call{Method: "Follow"})
			mustNotReceive(t, a, b)
			if got := b.unfollow(); got < end {
				t.Errorf("it is at %d, and had received %d", got, end)
			}
			if got := b.value("SELECT count(*) FROM rows WHERE id > 1000"); got != "234" {
				t.Errorf("it has %s rows", got)
			}
		})
	}
	a.t = t
}

// What a replica says it has is what it has, however the stream was cut: no more after a restart, and
// nothing that was acknowledged is missing.
func TestPositionAfterAPrimaryDied(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.synchronous(1, b.dataID)
	for round := range 6 {
		w := a.write4()
		// Much at once, so that the stream is cut inside of a record.
		bulk, err := a.connect("app")
		a.must(err)
		go func() {
			_, _ = bulk.Exec(context.Background(), "INSERT INTO rows SELECT -n, repeat(md5(n::text), 60) FROM generate_series(1, 1000000) n")
			closeConn(bulk)
		}()
		for target := w.acknowledged.Load() + 200; w.acknowledged.Load() < target; {
			time.Sleep(time.Millisecond)
		}
		if round%2 == 1 {
			// The end of what is flushed is the end of a page now, and not of a commit.
			w.end()
			time.Sleep(400 * time.Millisecond)
		}
		a.kill()
		w.end()
		begin := time.Now()
		position := b.unfollow()
		took := time.Since(begin)
		received := b.value("SELECT pg_last_wal_receive_lsn()")
		if got, _ := strconv.ParseInt(b.value("SELECT count(*) FROM rows WHERE id > 0"), 10, 64); got < w.acknowledged.Load() {
			t.Errorf("of %d rows there are %d", w.acknowledged.Load(), got)
		}
		b.stop(agent.StopFast)
		b.start(agent.StartReplica)
		if again := b.unfollow(); again != position {
			t.Errorf("it was at %s, and is at %s after a restart", formatPosition(position), formatPosition(again))
		}
		t.Logf("round %d: at %s, received %s, known after %v", round, formatPosition(position), received, took)
		a.launch()
		a.start(agent.StartPrimary)
		b.follow(a)
		a.exec("TRUNCATE rows")
		b.caughtUp(a)
	}
}

// The startup process may start a receiver with an address that was taken away: it is frozen here
// before it reads settings, and then finds that its receiver ended.
func TestStartupProcessThatMissedTheChangeCannotReceive(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.insert(1)
	b.caughtUp(a)
	startup := b.process("startup")
	b.freeze(startup)
	b.do(call{Method: "Follow"})
	// Even with the old address in the file: whoever read that is as far as one that missed the change.
	conf := b.path("volume", "agent", "replication", fileServer)
	content, err := os.ReadFile(conf)
	b.must(err)
	b.must(os.WriteFile(conf, []byte(strings.Replace(string(content), "primary_conninfo = ''",
		"primary_conninfo = "+confValue(replicaConninfo(*a.source(), "", b.dataID, b.path("volume", "agent", "replication", filePassword))), 1)), 0o600))
	b.exec("SELECT pg_reload_conf()")
	b.thaw(startup)
	b.eventually("a receiver", func() bool { return strings.Contains(b.logged(), "no password supplied") })
	mustNotReceive(t, a, b)
}

// logged is what the pod wrote.
func (p *pod) logged() string {
	content, err := os.ReadFile(p.path("log"))
	p.must(err)
	return string(content)
}

func TestFollowRefusesOtherData(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	other := *a.source()
	other.DataID = "OTHER"
	for _, c := range []call{{Method: "Follow", Source: &other}} {
		if _, err := b.try(c); err == nil || !strings.Contains(err.Error(), "other data") {
			t.Errorf("%s: %v", c.Method, err)
		}
	}
	if r := b.replication(); !r.Receiving {
		t.Errorf("it lost its source: %+v", r)
	}
	address := func() string {
		var state replicationState
		content, err := os.ReadFile(b.path("volume", "agent", "replication", fileState))
		b.must(errors.Join(err, json.Unmarshal(content, &state)))
		return state.Address
	}
	if got := address(); got != "127.0.0.1" {
		t.Errorf("its source was seen at %q", got)
	}
	// Other data has come to where its source was.
	a.stop(agent.StopFast)
	ours := a.dataID
	a.dataID = other.DataID
	a.start(agent.StartPrimary)
	b.eventually("the address to be forgotten", func() bool { b.replication(); return address() == "" })
	a.stop(agent.StopFast)
	a.dataID = ours
	a.start(agent.StartPrimary)
	b.eventually("the address to be found", func() bool { b.replication(); return address() == "127.0.0.1" })
	b.stop(agent.StopFast)
	for _, method := range []string{"Clone", "Rewind"} {
		if _, err := b.try(call{Method: method, Source: &other}); err == nil || !strings.Contains(err.Error(), "other data") {
			t.Errorf("%s: %v", method, err)
		}
	}
	b.must(os.Remove(b.path("password")))
	for _, method := range []string{"Follow", "Clone", "Rewind"} {
		if _, err := b.try(call{Method: method, Source: a.source()}); err == nil || !strings.Contains(err.Error(), errNoPassword.Error()) {
			t.Errorf("%s without a password: %v", method, err)
		}
	}
	if v := b.do(call{Method: "Inspect"}).Volume; v.State != agent.VolumeReady {
		t.Errorf("the volume is %+v", v)
	}
}

func TestSlots(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	active := func() string {
		return a.value("SELECT string_agg(slot_name || active, ' ' ORDER BY slot_name) FROM pg_replication_slots WHERE NOT temporary")
	}
	a.exec("SELECT pg_create_physical_replication_slot('somebody_else')")
	a.do(call{Method: "SetReplicas", DataIDs: []string{b.dataID, "Gone"}})
	mine, gone, other := slotName(b.dataID), slotName("Gone"), "somebody_else"
	// The replica looks for it by itself.
	b.eventually("the slot to be used", func() bool {
		b.replication()
		return active() == mine+"true "+gone+"false "+other+"false"
	})

	// One in use cannot be dropped, and the caller is told.
	if _, err := a.try(call{Method: "SetReplicas"}); err == nil || !strings.Contains(err.Error(), mine) {
		t.Errorf("got %v", err)
	}
	if got := active(); got != mine+"true "+other+"false" {
		t.Errorf("slots %s", got)
	}
	b.do(call{Method: "Follow"})
	a.do(call{Method: "SetReplicas"})
	if got := active(); got != other+"false" {
		t.Errorf("slots %s", got)
	}
	// Without its slot it streams all the same, also when it had one.
	b.follow(a)
	a.do(call{Method: "SetReplicas", DataIDs: []string{b.dataID}})
	b.follow(a)
	a.eventually("the slot to be used", func() bool { return active() == mine+"true "+other+"false" })
	a.exec("SELECT pg_terminate_backend(active_pid), pg_sleep(0.1), pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE active")
	a.eventually("the slot to be gone", func() bool { return active() == other+"false" })
	b.eventually("the source to stream", func() bool { return b.replication().Receiving })

	// A slot that lost its log is made anew.
	a.do(call{Method: "SetReplicas", DataIDs: []string{b.dataID}})
	b.do(call{Method: "Follow"})
	a.configure("max_slot_wal_keep_size = 1MB", "wal_keep_size = 0", "max_wal_size = 64MB")
	a.do(call{Method: "Reload"})
	a.eventually("a lost slot", func() bool {
		a.exec("SELECT pg_switch_wal()")
		a.exec("CHECKPOINT")
		return a.value("SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", mine) == "lost"
	})
	a.do(call{Method: "SetReplicas", DataIDs: []string{b.dataID}})
	if got := a.value("SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", mine); got != "reserved" {
		t.Errorf("the slot is %s", got)
	}
	// A replica keeps none of its own.
	b.do(call{Method: "SetReplicas", DataIDs: []string{a.dataID}})
	if got := b.value("SELECT count(*) FROM pg_replication_slots"); got != "0" {
		t.Errorf("the replica has %s slots", got)
	}
}

// dropLog makes a primary remove what it keeps no longer.
func (p *pod) dropLog() {
	p.t.Helper()
	for range 3 {
		p.exec("CREATE TABLE IF NOT EXISTS filler (id int)")
		p.exec("INSERT INTO filler VALUES (1)")
		p.exec("SELECT pg_switch_wal()")
		p.exec("CHECKPOINT")
	}
}

// A source that has removed what its replica needs says so, and then a copy helps.
func TestLogThatIsGone(t *testing.T) {
	a := newPrimary(t, "wal_keep_size = 0", "min_wal_size = 32MB")
	b, c := newReplica(t, "b", a), newReplica(t, "c", a)
	b.stop(agent.StopFast)
	a.do(call{Method: "SetReplicas", DataIDs: []string{c.dataID}})
	a.eventually("the slot to be used", func() bool {
		c.replication()
		return a.value("SELECT active FROM pg_replication_slots") == "true"
	})
	a.dropLog()
	b.start(agent.StartReplica)
	b.do(call{Method: "Follow", Source: a.source()})
	b.eventually("it to be told", func() bool { return b.replication().LogGone })
	// A source that is away says nothing, and what was said is forgotten.
	a.stop(agent.StopFast)
	b.eventually("it to be forgotten", func() bool { return !b.replication().LogGone })
	a.start(agent.StartPrimary)
	b.eventually("it to be told again", func() bool { return b.replication().LogGone })
	// Who has the log, or gets it, lacks nothing.
	c.eventually("the source to stream", func() bool { return c.replication().Receiving })
	b.stop(agent.StopFast)
	b.dataID = "ANOTHER"
	b.do(call{Method: "Clone", Source: a.source()})
	b.start(agent.StartReplica)
	b.follow(a)
	if b.replication().LogGone || c.replication().LogGone {
		t.Error("a replica that gets its log lacks some")
	}
}
