//go:build integration

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/platform-io/database-operator/hack/checker/history"
)

func TestASynchronousStandbyLosesNothing(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	standby := f.newStandby(primary, "db-1")
	primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"db-1\")'")
	primary.value("SELECT pg_reload_conf()")
	primary.await("a synchronous standby", "SELECT bool_or(sync_state = 'quorum') FROM pg_stat_replication")
	f.must(os.WriteFile(f.path("readonly-uri"), []byte(uri(standby.address())), 0o600))

	c := f.startChecker("write", "log", "--interval=5ms", "--readers=1", "--read-interval=20ms")
	c.awaitWrites(history.Acknowledged, 200)
	primary.kill()
	c.awaitWrites(history.Failed, 5)
	standby.promote()
	f.service.point(standby.address())
	c.awaitWrites(history.Acknowledged, 200)
	run := c.stop()
	code, report := f.verify("log")

	if code != 0 || len(report.Failures) != 0 || report.Lost.Count != 0 {
		t.Errorf("exit code %d, failures %q", code, report.Failures)
	}
	if run.Reconnects < 4 || run.Failed < 5 || run.LongestOutage == nil || run.LongestOutage.Open || run.Gap.Length.Duration < 50*time.Millisecond {
		t.Errorf("reconnects %d, failed %d, outage %+v, gap %+v", run.Reconnects, run.Failed, run.LongestOutage, run.Gap)
	}
	if len(report.Terms) != 2 {
		t.Fatalf("terms %+v", report.Terms)
	}
	older, newer := report.Terms[0], report.Terms[1]
	if older.Instance != "db-0" || older.Address != primary.address() || older.Epoch != 1 || older.Acknowledged < 200 || older.Rows < older.Acknowledged {
		t.Errorf("the older term is %+v", older)
	}
	// The control file still has the old timeline: nobody has made a checkpoint.
	if newer.Instance != "db-1" || newer.Address != standby.address() || newer.Epoch != 2 || newer.Acknowledged < 200 || report.ReadFrom.Term != newer.Term {
		t.Errorf("the newer term is %+v, read from %+v", newer, report.ReadFrom)
	}
	if reads := report.Runs[0].Reads; reads == nil || reads.Requests == 0 || reads.Failed == reads.Requests || report.Vanished.Count != 0 {
		t.Errorf("reads %+v, vanished %d", reads, report.Vanished.Count)
	}
}

func TestAnAsynchronousStandbyThatWasCutOffLosesRows(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	standby := f.newStandby(primary, "db-1")
	c := f.startChecker("write", "before.log")
	c.awaitWrites(history.Acknowledged, 50)
	c.stop()
	position := primary.value("SELECT pg_current_wal_lsn()")
	standby.await("everything so far", "SELECT pg_last_wal_replay_lsn() >= '"+position+"'")
	standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
	standby.value("SELECT pg_reload_conf()")
	standby.await("the end of streaming", "SELECT count(*) = 0 FROM pg_stat_wal_receiver")

	c = f.startChecker("write", "after.log")
	c.awaitWrites(history.Acknowledged, 50)
	primary.kill()
	standby.promote()
	f.service.point(standby.address())
	c.awaitWrites(history.Acknowledged, 50)
	c.stop()
	code, report := f.verify("before.log", "after.log")

	// What the old primary acknowledged after the cut, and nothing else, is lost.
	if len(report.Runs) != 2 || len(report.Terms) != 2 {
		t.Fatalf("runs %+v, terms %+v", report.Runs, report.Terms)
	}
	older, newer := report.Terms[0], report.Terms[1]
	want := older.Acknowledged - report.Runs[0].Acknowledged
	if code != exitBad || want < 50 || report.Lost.Count != want || older.Rows != report.Runs[0].Acknowledged || newer.Rows < newer.Acknowledged {
		t.Errorf("exit code %d, %d lost, want %d, terms %+v", code, report.Lost.Count, want, report.Terms)
	}
	for _, e := range report.Lost.Examples {
		if e.Run != report.Runs[1].Run || e.Server == nil || e.Server.Instance != "db-0" || e.Server.Epoch != 1 || e.Server.Position == "" {
			t.Errorf("lost: %+v", e)
		}
	}
	if len(report.Interleavings) != 0 || len(report.Failures) != 1 {
		t.Errorf("failures: %q", report.Failures)
	}
}

func TestTwoPrimariesAreSeen(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	standby := f.newStandby(primary, "db-1")
	service := f.startChecker("write", "service.log")
	service.awaitWrites(history.Acknowledged, 20)
	target := f.startChecker("write", "target.log", "--target", primary.address(), "--workers=1")
	target.awaitWrites(history.Acknowledged, 20)

	standby.promote()
	f.service.point(standby.address())
	// Sessions that are there stay with the old primary.
	primary.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'checker'")
	for range 3 {
		service.awaitWrites(history.Acknowledged, 20)
		target.awaitWrites(history.Acknowledged, 20)
	}
	service.stop()
	target.stop()
	code, report := f.verify("service.log", "target.log")

	if code != exitBad || len(report.Interleavings) != 1 {
		t.Fatalf("exit code %d, interleavings %+v", code, report.Interleavings)
	}
	i := report.Interleavings[0]
	if i.Older.Instance != "db-0" || i.Newer.Instance != "db-1" || i.Newer.Epoch != 2 || i.Late < 20 || !i.Alternating || !i.LateFirst.After(i.NewerFirst) {
		t.Errorf("interleaving %+v", i)
	}
	if report.Lost.Count < 20 || report.Runs[1].Target != primary.address() {
		t.Errorf("%d lost, runs %+v", report.Lost.Count, report.Runs)
	}
}

func TestAnOrderlyHandoverIsNotTwoPrimaries(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	standby := f.newStandby(primary, "db-1")
	service := f.startChecker("write", "service.log")
	service.awaitWrites(history.Acknowledged, 20)
	target := f.startChecker("write", "target.log", "--target", primary.address())
	target.awaitWrites(history.Acknowledged, 20)
	_ = primary.cmd.Process.Signal(syscall.SIGINT) // a fast stop gives the standby everything
	f.must(primary.cmd.Wait())
	primary.cmd = nil
	standby.promote()
	f.service.point(standby.address())
	service.awaitWrites(history.Acknowledged, 20)
	service.stop()
	isolated := target.stop()
	code, report := f.verify("service.log", "target.log")

	if code != 0 || len(report.Terms) != 2 || isolated.Failed == 0 {
		t.Errorf("exit code %d, failures %q, terms %+v, failed at the target %d", code, report.Failures, report.Terms, isolated.Failed)
	}
	if !report.Terms[0].Last.Before(*report.Terms[1].First) {
		t.Errorf("terms %+v", report.Terms)
	}
}

// A commit that waits for a standby is not acknowledged, whether the wait is cancelled or the client gives up.
func TestACancelledWaitIsNoAcknowledgement(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	warm := f.startChecker("write", "log", "--workers=1")
	warm.awaitWrites(history.Acknowledged, 5)
	warm.stop()
	primary.execute("ALTER SYSTEM SET synchronous_standby_names = '\"nobody\"'")
	primary.value("SELECT pg_reload_conf()")
	primary.await("the new setting", "SELECT current_setting('synchronous_standby_names') = '\"nobody\"'")

	c := f.startChecker("write", "log", "--workers=3", "--request-timeout=300ms")
	c.awaitWrites(history.Unknown, 6)
	content, err := os.ReadFile(primary.log())
	f.must(err)
	if strings.Contains(string(content), "canceling wait") {
		t.Errorf("the checker has a wait cancelled:\n%s", content)
	}
	for range 20 {
		primary.value("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		time.Sleep(50 * time.Millisecond)
	}
	run := c.stop()
	if run.Acknowledged != 0 || run.Reserved == 0 || run.Reasons["commit: warning"] != run.Reserved || run.Reasons["commit: timeout"] < 6 {
		t.Errorf("acknowledged %d, reserved %d, reasons %v", run.Acknowledged, run.Reserved, run.Reasons)
	}
	code, report := f.verify("log")
	if code != 0 || report.Acknowledged < 5 || report.UnknownPresent < run.Reserved {
		t.Errorf("exit code %d, failures %q, acknowledged %d, unknown and there %d", code, report.Failures, report.Acknowledged, report.UnknownPresent)
	}
}

func TestAFrozenServerDoesNotHangTheChecker(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	c := f.startChecker("write", "log", "--request-timeout=500ms", "--connect-timeout=300ms")
	c.awaitWrites(history.Acknowledged, 20)
	primary.signal(syscall.SIGSTOP)
	c.awaitWrites(history.Failed, 8) // every worker has given up its request, and then attempts to connect
	primary.signal(syscall.SIGCONT)
	c.awaitWrites(history.Acknowledged, 20)
	run := c.stop()
	if run.LongestOutage == nil || run.LongestOutage.Length.Duration < 500*time.Millisecond || run.LongestOutage.Open || run.Reasons["connect: timeout"] < 4 {
		t.Errorf("outage %+v, reasons %v", run.LongestOutage, run.Reasons)
	}
	if code, report := f.verify("log"); code != 0 {
		t.Errorf("exit code %d, failures %q", code, report.Failures)
	}
}

func TestAKilledCheckerLosesNothing(t *testing.T) {
	f := newFixture(t)
	f.newPrimary()
	c := f.startChecker("write", "log", "--interval=1ms", "--workers=8")
	c.awaitWrites(history.Acknowledged, 200)
	f.must(c.cmd.Process.Kill())
	_ = c.cmd.Wait()
	code, report := f.verify("log")
	// What was in flight is there and in no log, or it is not there.
	if code != 0 || report.Acknowledged < 200 || report.Unrecorded > 8 || report.Runs[0].Complete {
		t.Errorf("exit code %d, failures %q, acknowledged %d, unrecorded %d", code, report.Failures, report.Acknowledged, report.Unrecorded)
	}
}

func TestVerifyCannotTellWithoutAPrimary(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	standby := f.newStandby(primary, "db-1")
	c := f.startChecker("write", "log")
	c.awaitWrites(history.Acknowledged, 20)
	c.stop()
	f.service.point(standby.address()) // it has the rows, but it is no primary
	if code, _ := f.verify("log"); code != exitCannotTell {
		t.Errorf("exit code %d", code)
	}
}

func TestSessionsThatAreHeld(t *testing.T) {
	f := newFixture(t)
	primary := f.newPrimary()
	c := f.startChecker("hold", "log", "--sessions=3")
	primary.await("the sessions", "SELECT count(*) = 3 FROM pg_stat_activity WHERE application_name = 'checker' AND state = 'idle'")
	primary.value("SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE application_name = 'checker'")
	primary.await("the end of one", "SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'checker'")
	run := c.stop()
	if s := run.Sessions; s == nil || s.Opened != 3 || s.Ended != 1 || s.Answer != 2 || s.Dead != 0 || s.Refused != 0 {
		t.Errorf("sessions %+v", s)
	}
	if run.Requests != 0 {
		t.Errorf("requests %d", run.Requests)
	}
}
