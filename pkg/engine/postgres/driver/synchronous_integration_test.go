//go:build integration

package driver

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/platform-io/database-operator/pkg/agent"
)

func (p *pod) synchronous(quorum int, names ...string) {
	p.t.Helper()
	p.do(call{Method: "SetSynchronous", Synchronous: agent.Synchronous{Names: names, Quorum: quorum}})
}

// lastRow is the highest id that a writer used.
var lastRow atomic.Int64

// writers commit rows all the time, each in a session of its own, and count what was acknowledged.
type writers struct {
	acknowledged atomic.Int64
	stop         context.CancelFunc
	wg           sync.WaitGroup
}

func (p *pod) write4() *writers {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{stop: cancel}
	for range 4 {
		conn, err := p.connect("app")
		p.must(err)
		w.wg.Go(func() {
			defer closeConn(conn)
			for {
				if _, err := conn.Exec(ctx, "INSERT INTO rows VALUES ($1, 'written')", lastRow.Add(1)); err != nil {
					return
				}
				w.acknowledged.Add(1)
			}
		})
	}
	return w
}

func (w *writers) end() {
	w.stop()
	w.wg.Wait()
}

// commits says whether a commit that begins now is acknowledged in a moment.
func (p *pod) commits() bool {
	p.t.Helper()
	conn := p.mustConnect("app")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := conn.Exec(ctx, "DELETE FROM rows WHERE id = -1; INSERT INTO rows VALUES (-1, 'now')", pgx.QueryExecModeSimpleProtocol)
	return err == nil
}

func TestCommitsWaitForTheNames(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	// Nobody is there yet who could be waited for.
	a.synchronous(1)
	if a.commits() {
		t.Error("a commit does not wait, though it should for one of nobody")
	}
	a.synchronous(1, "elsewhere")
	if a.commits() {
		t.Error("a commit does not wait for a name that is not there")
	}
	a.synchronous(1, b.dataID)
	if !a.commits() {
		t.Error("a commit waits for a name that is there")
	}
	a.synchronous(2, b.dataID)
	if a.commits() {
		t.Error("a commit does not wait for the second of one")
	}
	a.synchronous(0, b.dataID)
	if !a.commits() {
		t.Error("a commit waits for nobody")
	}
	// Set while it is down, it holds for the next start.
	a.stop(agent.StopFast)
	a.synchronous(1, "elsewhere")
	a.start(agent.StartPrimary)
	if a.commits() {
		t.Error("a commit does not wait after the start")
	}
	if got := a.replication().Synchronous; got.Quorum != 1 || got.Names[0] != "elsewhere" {
		t.Errorf("it is told to wait for %+v", got)
	}
}

// Under load the names change to one that gets nothing. From the moment that the call returns, no
// commit that begins may be acknowledged; those that had begun are few, and not counted.
func TestNoCommitIsAcknowledgedByAnOldRule(t *testing.T) {
	a := newPrimary(t)
	b, c := newReplica(t, "b", a), newReplica(t, "c", a)
	rules := []struct {
		quorum int
		names  []string
	}{{0, nil}, {1, []string{b.dataID}}, {1, []string{b.dataID, c.dataID}}}
	for round := range 5 {
		a.eventually("both replicas", func() bool {
			standbys := a.replication().Standbys
			return len(standbys) == 2 && standbys[0].Streaming && standbys[1].Streaming
		})
		frozen := c.receiver()
		c.freeze(frozen)
		for _, from := range rules {
			for _, to := range [][]string{{c.dataID}, {b.dataID, c.dataID}} {
				a.synchronous(from.quorum, from.names...)
				w := a.write4()
				for w.acknowledged.Load() < 20 {
					time.Sleep(time.Millisecond)
				}
				a.synchronous(len(to), to...)
				// Each session may have had one in flight.
				before := w.acknowledged.Load()
				time.Sleep(50 * time.Millisecond)
				if after := w.acknowledged.Load(); after > before+4 {
					t.Fatalf("round %d, from %v to %v: %d commits were acknowledged since; %+v", round, from, to, after-before, a.replication())
				}
				a.synchronous(0)
				w.end()
			}
		}
		c.thaw(frozen)
	}
}

// receiver is the WAL receiver, which streams.
func (p *pod) receiver() int {
	p.t.Helper()
	pid := 0
	p.eventually("a receiver", func() bool {
		pid, _ = strconv.Atoi(p.value("SELECT coalesce((SELECT pid FROM pg_stat_wal_receiver WHERE status = 'streaming'), 0)"))
		return pid != 0 && pid == p.process("walreceiver")
	})
	return pid
}

func TestFrozenSenderDoesNotBlockTheChange(t *testing.T) {
	a := newPrimary(t)
	b, c := newReplica(t, "b", a), newReplica(t, "c", a)
	a.synchronous(1, b.dataID)
	sender := a.process("walsender db_replication")
	a.freeze(sender)
	begin := time.Now()
	a.synchronous(2, b.dataID, c.dataID)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the change took %v", took)
	}
	if a.commits() {
		t.Error("a commit is acknowledged though one of two cannot say a word")
	}
	a.thaw(sender)
	a.eventually("a commit", a.commits)
}

// A sender that stands still elsewhere than in its wait may yet end waits by the old rule: the change
// does not return before it is gone.
func TestSenderThatIsNotSeenWaitingIsEnded(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.synchronous(1, b.dataID)
	sender := a.process("walsender db_replication")
	w := a.write4()
	defer w.end()
	a.eventually("the sender to stand still in the middle of something", func() bool {
		a.freeze(sender)
		if a.value("SELECT wait_event FROM pg_stat_activity WHERE pid = $1", sender) == "" {
			return true
		}
		a.thaw(sender)
		return false
	})
	change := call{Method: "SetSynchronous", Timeout: 4 * time.Second, Synchronous: agent.Synchronous{Names: []string{b.dataID, "elsewhere"}, Quorum: 2}}
	if _, err := a.try(change); err == nil || !strings.Contains(err.Error(), "WAL senders") {
		t.Errorf("got %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := a.try(change)
		done <- err
	}()
	a.thaw(sender)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a.process("walsender db_replication") == sender {
		t.Error("the sender lives")
	}
	// It comes back by itself, and is not ended for being busy.
	b.receiver()
	a.synchronous(1, b.dataID)
	again := a.process("walsender db_replication")
	for range 10 {
		a.synchronous(2, b.dataID, "elsewhere")
		a.synchronous(1, b.dataID)
	}
	if now := a.process("walsender db_replication"); now != again {
		t.Errorf("a sender was ended that has much to do: %d became %d", again, now)
	}
}

// A replica that comes back while its earlier connection is not noticed to be dead is one, and not two.
func TestReplicaThatComesBackCountsOnce(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.synchronous(2, b.dataID, "elsewhere")
	sender := a.process("walsender db_replication")
	a.freeze(sender)
	b.must(unix.Kill(b.receiver(), unix.SIGTERM))
	a.eventually("a second connection", func() bool {
		return a.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "2"
	})
	a.eventually("the first one to be asked to end", func() bool {
		if r := a.replication(); len(r.Standbys) != 1 {
			t.Fatalf("the standbys are %+v", r.Standbys)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", sender))
		a.must(err)
		_, pending, _ := strings.Cut(string(status), "ShdPnd:")
		pending, _, _ = strings.Cut(pending, "\n")
		signals, err := strconv.ParseUint(strings.TrimSpace(pending), 16, 64)
		a.must(err)
		return signals&(1<<(unix.SIGTERM-1)) != 0
	})
	b.receiver()
}

// Commits begin to wait when the checkpointer says so.
func TestChangeWaitsForTheCheckpointer(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	checkpointer := a.process("checkpointer")
	a.freeze(checkpointer)
	change := call{Method: "SetSynchronous", Timeout: 2 * time.Second, Synchronous: agent.Synchronous{Names: []string{b.dataID}, Quorum: 1}}
	if _, err := a.try(change); err == nil {
		t.Error("the change returns, and commits do not wait yet")
	}
	// A second call knows no more than the first one did.
	if _, err := a.try(change); err == nil {
		t.Error("the change returns at the second call, and commits do not wait yet")
	}
	a.thaw(checkpointer)
	a.synchronous(1, b.dataID)
	if !a.commits() {
		t.Error("a commit does not end")
	}
}

// A change to nobody that is cut short may be in force all the same: later it is seen again that commits wait.
func TestChangeToNobodyThatIsCutShort(t *testing.T) {
	a := newPrimary(t)
	change := func(quorum int) error {
		_, err := a.try(call{Method: "SetSynchronous", Timeout: 2 * time.Second, Synchronous: agent.Synchronous{Names: []string{"elsewhere"}, Quorum: quorum}})
		return err
	}
	a.must(change(1))
	postmaster := a.postmaster()
	a.freeze(postmaster)
	if err := change(0); err == nil {
		t.Fatal("a server that stands still took the change")
	}
	a.thaw(postmaster)
	a.do(call{Method: "Reload"})
	a.eventually("a commit that waits for nobody", a.commits)
	checkpointer := a.process("checkpointer")
	a.freeze(checkpointer)
	if err := change(1); err == nil {
		t.Error("the change returns, and commits do not wait yet")
	}
	a.thaw(checkpointer)
	a.must(change(1))
	if a.commits() {
		t.Error("a commit does not wait")
	}
}

// Nobody is let in before commits are known to wait.
func TestDoorOpensWhenCommitsWait(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	a.do(call{Method: "AdmitClients", Admit: false})
	a.stop(agent.StopFast)
	a.synchronous(1, "elsewhere")
	a.start(agent.StartPrimary)
	checkpointer := a.process("checkpointer")
	a.freeze(checkpointer)
	a.exec("SELECT 1")
	if _, err := a.try(call{Method: "AdmitClients", Admit: true, Timeout: time.Second}); err == nil {
		// The checkpointer may have told everybody before it was frozen; then commits wait.
		if a.commits() {
			t.Error("clients are let in while commits do not wait")
		}
	}
	a.thaw(checkpointer)
	a.do(call{Method: "AdmitClients", Admit: true})
	if a.commits() {
		t.Error("a commit does not wait")
	}
	a.synchronous(1, b.dataID)
	b.follow(a)
	if !a.commits() {
		t.Error("a commit waits though its replica is there")
	}
}

func TestClientsAreKeptOut(t *testing.T) {
	a := newPrimary(t)
	b := newReplica(t, "b", a)
	session := a.mustConnect("app")
	a.do(call{Method: "AdmitClients", Admit: false})
	if _, err := session.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a client's session goes on")
	}
	refused := func() bool {
		conn, err := a.connect("app")
		if err == nil {
			closeConn(conn)
		}
		return err != nil && strings.Contains(err.Error(), "pg_hba.conf")
	}
	if !refused() {
		t.Error("a client gets in")
	}
	a.exec("INSERT INTO rows VALUES (1)")
	b.caughtUp(a)
	// Replicas and their tools get in, also new ones.
	c := newReplica(t, "c", a)
	mustAgree(t, a, c)
	// Also from the first moment of the next start, and with other settings.
	a.stop(agent.StopFast)
	a.start(agent.StartPrimary)
	if !refused() {
		t.Error("a client gets in after a restart")
	}
	a.configure("work_mem = 5MB")
	a.do(call{Method: "Reload"})
	if !refused() {
		t.Error("a client gets in after a reload")
	}
	a.do(call{Method: "AdmitClients", Admit: true})
	a.mustConnect("app")
}

// A client that was about to log in when the door closed is found by the next look.
func TestClientThatSlippedThroughIsEnded(t *testing.T) {
	a := newPrimary(t)
	a.do(call{Method: "AdmitClients", Admit: false})
	a.must(replaceLink(a.path("volume", "agent", "replication", fileHBA), a.path("config", fileHBA)))
	a.exec("SELECT pg_reload_conf()")
	var session *pgx.Conn
	a.eventually("a client to get in", func() bool {
		var err error
		session, err = a.connect("app")
		return err == nil
	})
	defer closeConn(session)
	a.replication()
	a.eventually("its end", func() bool {
		_, err := session.Exec(context.Background(), "SELECT 1")
		return err != nil
	})
}

func TestAlterSystemCannotOverride(t *testing.T) {
	a := newPrimary(t)
	conn := a.mustConnect("")
	for _, name := range []string{"synchronous_standby_names", "primary_conninfo", "restore_command", "primary_slot_name", "work_mem"} {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("ALTER SYSTEM SET %s = '1'", name)); err == nil {
			t.Errorf("ALTER SYSTEM SET %s works", name)
		}
	}
	// What was written by other means goes with the next start.
	a.stop(agent.StopFast)
	auto := "volume/pgdata/" + fileAuto
	a.write(auto, "synchronous_standby_names = 'nobody'\n")
	a.start(agent.StartPrimary)
	if got := a.value("SELECT current_setting('synchronous_standby_names')"); got != "" {
		t.Errorf("it waits for %s", got)
	}
	// And is noticed when somebody writes it while the server runs.
	a.write(auto, "synchronous_standby_names = 'somebody'\n")
	if _, err := a.try(call{Method: "SetSynchronous", Synchronous: agent.Synchronous{Names: []string{"x"}, Quorum: 1}}); err == nil || !strings.Contains(err.Error(), "overrides") {
		t.Errorf("got %v", err)
	}
}

func TestReplicaStartsWithLowerSettingsThanItsPrimary(t *testing.T) {
	a := newPrimary(t, "max_connections = 40", "max_worker_processes = 12")
	b := newReplica(t, "b", a, "max_connections = 30", "max_worker_processes = 16")
	if got := b.value("SELECT current_setting('max_connections') || ' ' || current_setting('max_worker_processes')"); got != "40 16" {
		t.Errorf("the settings are %s", got)
	}
	// It says that it does not have what was asked for, also without a reload.
	if report := b.do(call{Method: "Probe"}).Report; !slices.Equal(report.PendingRestart, []string{"max_connections"}) ||
		report.Engine.PostgreSQL.HotStandby["max_connections"] != 40 || report.Engine.PostgreSQL.HotStandby["max_worker_processes"] != 16 {
		t.Errorf("%v wait for a restart, and it runs with %v", report.PendingRestart, report.Engine.PostgreSQL.HotStandby)
	}
	if pending := b.do(call{Method: "Reload"}).Pending; !slices.Equal(pending, []string{"max_connections"}) {
		t.Errorf("%v wait for a restart", pending)
	}
	// When the primary has less of it, the replica can have what was asked for.
	a.configure("max_connections = 30", "max_worker_processes = 12")
	a.stop(agent.StopFast)
	a.start(agent.StartPrimary)
	b.caughtUp(a)
	b.stop(agent.StopFast)
	b.start(agent.StartReplica)
	if got := b.value("SELECT current_setting('max_connections')"); got != "30" {
		t.Errorf("max_connections is %s", got)
	}
	if report := b.do(call{Method: "Probe"}).Report; len(report.PendingRestart) > 0 {
		t.Errorf("%v wait for a restart", report.PendingRestart)
	}
	b.follow(a)
}

func TestAccountOfReplication(t *testing.T) {
	a := newPrimary(t)
	rights := func() string {
		return a.value(`SELECT rolreplication || ' ' || rolsuper || ' ' || has_function_privilege(oid, 'pg_read_binary_file(text)', 'EXECUTE')
			FROM pg_roles WHERE rolname = 'app'`)
	}
	for _, test := range []struct {
		want  string
		roles []string
	}{
		{"false false false", []string{"application"}},
		{"true false true", []string{"application", "replication"}},
		{"false false false", []string{"application"}},
	} {
		a.account("app", "app", "orders", test.roles...)
		a.account("app", "app", "orders", test.roles...)
		if got := rights(); got != test.want {
			t.Errorf("%v: rights %s", test.roles, got)
		}
	}
	a.account("idle", "x", "", "replication")
	gone := call{Method: "Account"}
	gone.Account.Username, gone.Account.State = "idle", "Absent"
	a.do(gone)
	if got := a.value("SELECT count(*) FROM pg_roles WHERE rolname = 'idle'"); got != "0" {
		t.Error("the account is still there")
	}
}
