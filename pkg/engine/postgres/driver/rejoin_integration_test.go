//go:build integration

package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/platform-io/database-operator/pkg/agent"
)

// mustAgree compares the rows of two servers.
func mustAgree(t *testing.T, a, b *pod) {
	t.Helper()
	const sum = "SELECT md5(string_agg(id || filler, ',' ORDER BY id)) || ' of ' || count(*) FROM rows"
	if left, right := a.value(sum), b.value(sum); left != right {
		t.Errorf("%s has %s, %s has %s", a.name, left, b.name, right)
	}
}

func (p *pod) promote() {
	p.t.Helper()
	p.do(call{Method: "Follow"})
	p.do(call{Method: "Promote"})
	if r := p.replication(); !r.Primary {
		p.t.Fatalf("it is %+v", r)
	}
}

func TestPromotion(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.insert(1)
	b.caughtUp(a)
	reader := b.mustConnect("app")
	a.stop(agent.StopFast)
	b.do(call{Method: "Follow"})
	begin := time.Now()
	b.do(call{Method: "Promote"})
	t.Logf("promoted after %v", time.Since(begin))
	b.insert(2)
	if _, err := reader.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a session that began before the promotion goes on")
	}
	if r := b.replication(); !r.Primary || r.Timeline != 2 {
		t.Errorf("it is %+v", r)
	}
	// Once more does no harm: clients that came since are not dropped.
	writer := b.mustConnect("app")
	b.do(call{Method: "Promote"})
	if _, err := writer.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the second call ended a client's session: %v", err)
	}
	// It stopped before b was promoted, so it just follows.
	a.start(agent.StartReplica)
	a.follow(b)
	a.caughtUp(b)
	mustAgree(t, a, b)
}

// A primary that is asked for on data that never was promoted starts as a replica: it would share
// its timeline with the primary that it comes from.
func TestDataOfAReplicaIsPromotedAndNotJustStarted(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	b.stop(agent.StopFast)
	for _, mode := range []agent.StopMode{agent.StopFast, agent.StopKill} {
		b.start(agent.StartPrimary)
		if r := b.replication(); r.Primary || r.Receiving {
			t.Fatalf("it is %+v", r)
		}
		b.stop(mode)
	}
	b.start(agent.StartPrimary)
	b.do(call{Method: "Promote"})
	if r := b.replication(); !r.Primary || r.Timeline != 2 {
		t.Errorf("it is %+v", r)
	}
	b.stop(agent.StopKill)
	b.start(agent.StartPrimary)
	if r := b.replication(); !r.Primary || r.Timeline != 2 {
		t.Errorf("it is %+v", r)
	}
}

func TestRewind(t *testing.T) {
	tests := map[string]agent.StopMode{"after a clean stop": agent.StopFast, "after a crash": agent.StopKill}
	for name, mode := range tests {
		t.Run(name, func(t *testing.T) {
			a := newPrimary(t)
			b := newReplica(t, "b", a)
			a.exec("INSERT INTO rows SELECT generate_series(1, 1000), 'common'")
			b.caughtUp(a)
			b.promote()
			a.exec("UPDATE rows SET filler = 'of a' WHERE id <= 500")
			a.exec("INSERT INTO rows SELECT generate_series(2001, 5000), 'of a'")
			b.exec("UPDATE rows SET filler = 'of b' WHERE id > 300")
			b.exec("INSERT INTO rows SELECT generate_series(2001, 2100), 'of b'")
			a.stop(mode)
			begin := time.Now()
			// In some versions pg_rewind sees no need before the first checkpoint; the agent makes one
			// after a promotion.
			time.AfterFunc(time.Second, func() { _, _ = b.try(call{Method: "Checkpoint"}) })
			a.do(call{Method: "Rewind", Source: b.source()})
			t.Logf("rewound after %v", time.Since(begin))
			// What was rewound may need more log before it answers.
			a.do(call{Method: "Follow", Source: b.source()})
			a.start(agent.StartReplica)
			a.follow(b)
			a.caughtUp(b)
			mustAgree(t, a, b)
			b.insert(7000)
			a.caughtUp(b)
			mustAgree(t, a, b)
			// Once more changes nothing: there is nothing to undo.
			a.stop(agent.StopFast)
			if _, err := a.try(call{Method: "Rewind", Source: b.source()}); err == nil || !strings.Contains(err.Error(), "same timeline") {
				t.Errorf("got %v", err)
			}
			a.start(agent.StartReplica)
			a.follow(b)
		})
	}
}

func TestTwoPromotionsOfOneTimelineAreClonedAndNotRewound(t *testing.T) {
	a := newPrimary(t)
	b, c := newReplica(t, "b", a), newReplica(t, "c", a)
	a.insert(1)
	b.caughtUp(a)
	c.caughtUp(a)
	a.stop(agent.StopFast)
	b.promote()
	c.promote()
	b.insert(2)
	c.insert(3)
	b.do(call{Method: "Checkpoint"})
	c.do(call{Method: "Checkpoint"})
	if b.replication().Timeline != c.replication().Timeline {
		t.Fatal("the timelines differ: this test needs them to be the same")
	}
	c.stop(agent.StopFast)
	answer, err := c.try(call{Method: "Rewind", Source: b.source()})
	if err == nil || !answer.CannotRewind {
		t.Fatalf("got %v", err)
	}
	if v := c.do(call{Method: "Inspect"}).Volume; v.State != agent.VolumeReady {
		t.Errorf("the volume is %+v", v)
	}
	c.do(call{Method: "Clone", Source: b.source()})
	c.start(agent.StartReplica)
	c.follow(b)
	mustAgree(t, b, c)
}

func TestRewindThatFailsLeavesAClone(t *testing.T) {
	a := newPrimary(t, "wal_keep_size = 0")
	b := newReplica(t, "b", a)
	b.promote()
	// What was written since they parted is not there any more.
	for range 4 {
		a.exec("INSERT INTO rows SELECT coalesce(max(id), 0) + 1, 'of a' FROM rows")
		a.exec("SELECT pg_switch_wal()")
		a.exec("CHECKPOINT")
	}
	b.do(call{Method: "Checkpoint"})
	a.stop(agent.StopFast)
	segments, _ := filepath.Glob(a.path("volume", "pgdata", "pg_wal", "0000*"))
	for _, path := range segments[:len(segments)-1] {
		a.must(os.Remove(path))
	}
	answer, err := a.try(call{Method: "Rewind", Source: b.source()})
	if err == nil || !answer.CannotRewind {
		t.Fatalf("got %v", err)
	}
	t.Logf("as it should be: %v", err)
	a.do(call{Method: "Clone", Source: b.source()})
	a.start(agent.StartReplica)
	a.follow(b)
	mustAgree(t, a, b)
	mustBeAlone(t, a)
}

// mustBeAlone: nothing of an earlier clone or rewind is left.
func mustBeAlone(t *testing.T, p *pod) {
	t.Helper()
	left, _ := filepath.Glob(p.path("volume", "pgdata*"))
	if len(left) != 1 || filepath.Base(left[0]) != "pgdata" {
		t.Errorf("the volume has %v", left)
	}
}

// killDuring kills the pod while it does a call, and makes a new container.
func (p *pod) killDuring(c call, after time.Duration) {
	p.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.try(c)
	}()
	select {
	case <-done:
	case <-time.After(after):
	}
	p.kill()
	<-done
	p.launch()
}

func TestRewindThatIsKilledLeavesAClone(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	b.promote()
	a.exec("INSERT INTO rows SELECT generate_series(1, 50000), repeat('a', 500)")
	b.exec("INSERT INTO rows SELECT generate_series(1, 50000), repeat('b', 500)")
	b.do(call{Method: "Checkpoint"})
	a.stop(agent.StopKill)
	for after := 100 * time.Millisecond; ; after += 200 * time.Millisecond {
		a.killDuring(call{Method: "Rewind", Source: b.source()}, after)
		v := a.do(call{Method: "Inspect"}).Volume
		t.Logf("killed after %v: %v", after, v.State)
		if v.State == agent.VolumeEmpty {
			break
		}
		if after > 3*time.Second {
			t.Fatal("no kill came in the middle")
		}
	}
	if left, _ := filepath.Glob(a.path("volume", dirRewind, "PG_VERSION")); len(left) != 1 {
		t.Error("the data is gone before there is another")
	}
	a.do(call{Method: "Clone", Source: b.source()})
	a.start(agent.StartReplica)
	a.follow(b)
	a.caughtUp(b)
	mustAgree(t, a, b)
	mustBeAlone(t, a)
}

func TestCloneThatIsKilledLeavesOneOfTheTwo(t *testing.T) {
	a := newPrimary(t)
	a.exec("INSERT INTO rows SELECT generate_series(1, 40000), repeat('a', 500)")
	for _, before := range []string{"nothing", "other data"} {
		t.Run(before, func(t *testing.T) {
			a.t = t
			b := newPod(t, "b")
			if before != "nothing" {
				b.do(call{Method: "Bootstrap"})
			}
			old := b.do(call{Method: "Inspect"}).Volume
			seen := map[string]int{}
			for after := time.Duration(0); seen["new"] < 1; after += 300 * time.Millisecond {
				b.killDuring(call{Method: "Clone", Source: a.source()}, after)
				now := b.do(call{Method: "Inspect"}).Volume
				switch {
				case now == old && seen["new"] == 0:
					seen["old"]++
				case now.State == agent.VolumeReady && now.SystemID != old.SystemID:
					seen["new"]++
					b.start(agent.StartReplica)
					mustAgree(t, a, b)
					b.stop(agent.StopKill)
				default:
					t.Fatalf("the volume is %+v, and was %+v", now, old)
				}
			}
			t.Logf("after the kills it was %v", seen)
			b.do(call{Method: "Clone", Source: a.source()})
			mustBeAlone(t, b)
			b.start(agent.StartReplica)
			b.follow(a)
			b.caughtUp(a)
			mustAgree(t, a, b)
		})
	}
	a.t = t
}

func TestCloneReportsProgressAndRefusesTablespaces(t *testing.T) {
	a := newPrimary(t)
	a.exec("INSERT INTO rows SELECT generate_series(1, 200000), repeat('a', 500)")
	b := newPod(t, "b")
	answer := b.do(call{Method: "Clone", Source: a.source()})
	if len(answer.Progress) == 0 || !strings.Contains(answer.Progress[len(answer.Progress)-1], "% copied") {
		t.Errorf("progress %q", answer.Progress)
	}
	dir := a.path("space")
	a.must(os.Mkdir(dir, 0o700))
	if a.credential != nil {
		a.must(os.Chown(dir, int(a.credential.Uid), int(a.credential.Gid)))
	}
	a.exec(fmt.Sprintf("CREATE TABLESPACE fast LOCATION '%s'", dir))
	if _, err := b.try(call{Method: "Clone", Source: a.source()}); err == nil || !strings.Contains(err.Error(), "tablespace") {
		t.Errorf("got %v", err)
	}
	if v := b.do(call{Method: "Inspect"}).Volume; v.State != agent.VolumeReady {
		t.Errorf("the volume is %+v", v)
	}
}

// A volume that has no room for both gives the old data up first.
func TestCloneMakesRoom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small volume")
	}
	a := newPrimary(t)
	a.exec("INSERT INTO rows SELECT generate_series(1, 100000), repeat('a', 500)")
	b := newPod(t, "b")
	volume := b.path("volume")
	b.must(unix.Mount("tmpfs", volume, "tmpfs", 0, "size=250m"))
	t.Cleanup(func() {
		b.kill()
		_ = unix.Unmount(volume, unix.MNT_DETACH)
	})
	if b.credential != nil {
		b.must(os.Chown(volume, int(b.credential.Uid), int(b.credential.Gid)))
	}
	for round := range 3 {
		answer := b.do(call{Method: "Clone", Source: a.source()})
		removed := strings.Contains(strings.Join(answer.Progress, "\n"), "no room")
		if removed != (round > 0) {
			t.Errorf("round %d: %q", round, answer.Progress)
		}
		b.start(agent.StartReplica)
		mustAgree(t, a, b)
		b.stop(agent.StopFast)
	}
	mustBeAlone(t, b)
}
