//go:build integration

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
)

func hashOf(files map[string]string) string { return confighash.ConfigHash(files) }

func TestInitializationThatEndsEarlyBeginsAgain(t *testing.T) {
	for name, end := range map[string]func(*fixture){
		"killed": (*fixture).kill,
		"terminated": func(f *fixture) {
			children := descendantsOf(f.cmd.Process.Pid)
			if took := f.terminate(); took > 10*time.Second {
				t.Errorf("the end took %s", took)
			}
			for _, pid := range children {
				if syscall.Kill(pid, 0) == nil && !isZombie(pid) {
					t.Errorf("process %d of initdb outlives the agent", pid)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) { interruptInitialization(t, end) })
	}
}

// interruptInitialization ends the agent at several moments of initdb, and then lets it finish.
func interruptInitialization(t *testing.T, end func(*fixture)) {
	f := newFixture(t)
	f.declare(dbv1.DatabaseInstanceSpec{Bootstrap: true, ConfigHash: f.mount(baseConfig()), Accounts: []dbv1.InstanceAccount{application("1")}})
	data, unfinished := filepath.Join(f.dir, "volume", "pgdata"), filepath.Join(f.dir, "volume", "pgdata.initdb")
	moments := 0
	for _, moment := range []string{"", "PG_VERSION", "global/pg_control", "pg_hba.conf", "base/4", "base/5"} {
		// What the last round left is removed before this is logged.
		begun := func() int { return strings.Count(f.log.String(), "Making a new database") }
		before := begun()
		f.start()
		f.poll("initdb to reach "+moment, func() bool {
			_, err := os.Stat(filepath.Join(unfinished, moment))
			return err == nil && begun() > before
		}, func() string { return "not there" })
		end(f)
		if _, err := os.Stat(data); err == nil {
			t.Logf("at %q initdb was too fast to be interrupted", moment)
			break
		}
		moments++
	}
	if moments == 0 {
		t.Error("initdb was never interrupted")
	}
	f.start()
	status := f.await("a running engine", func(s *dbv1.DatabaseInstanceStatus) bool { return s.Phase == dbv1.InstanceRunning })
	if _, err := os.Stat(unfinished); err == nil {
		t.Error("the unfinished folder is still there")
	}
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.SystemID, spec.Bootstrap = status.SystemID, false })
	f.await("readiness", settled)
	t.Logf("interrupted at %d moments", moments)
}

func TestKilledPostmasterIsDownBeforeItIsStartedAgain(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	conn := f.mustConnect("first-password")
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	var backend int
	f.must(conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&backend))
	// Busy, so that it does not notice that its postmaster is gone; then it would write.
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "DO $$ DECLARE s bigint := 0; BEGIN FOR i IN 1..2000000000 LOOP s := s + i; END LOOP; INSERT INTO t VALUES (1); END $$")
		done <- err
	}()
	f.poll("the backend to be busy", func() bool {
		other := f.mustConnect("first-password")
		defer other.Close(t.Context())
		var state string
		err := other.QueryRow(t.Context(), "SELECT state FROM pg_stat_activity WHERE pid = $1", backend).Scan(&state)
		return err == nil && state == "active"
	}, func() string { return "idle" })

	begin := time.Now()
	f.must(syscall.Kill(f.postmaster(), syscall.SIGKILL))
	if err := <-done; err == nil {
		t.Error("the orphan finished its transaction")
	}
	t.Logf("the orphan was gone after %s", time.Since(begin))
	status := f.await("the second start", func(s *dbv1.DatabaseInstanceStatus) bool { return s.EngineStarts == 2 && settled(s) })
	t.Logf("ready again after %s", time.Since(begin))
	if status.DataID == "" {
		t.Error("the data id is gone")
	}
	if syscall.Kill(backend, 0) == nil {
		t.Error("the orphan is still there")
	}
	var rows int
	f.must(f.mustConnect("first-password").QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&rows))
	if rows != 0 {
		t.Errorf("%d rows of an unfinished transaction", rows)
	}
}

func TestEngineThatKeepsEndingIsStartedMoreSlowly(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	// The data loses what a start needs.
	broken := filepath.Join(f.dir, "volume", "pgdata", "global", "pg_filenode.map")
	f.must(os.Rename(broken, broken+".away"))
	f.must(syscall.Kill(f.postmaster(), syscall.SIGKILL))
	status := f.await("word of the failure", func(s *dbv1.DatabaseInstanceStatus) bool {
		return s.Phase == dbv1.InstanceFailed && strings.Contains(s.Message, "pg_filenode.map")
	})
	if status.Ready {
		t.Error("an engine that does not start is not ready")
	}
	if code, body := f.get("/livez"); code != 200 {
		t.Errorf("/livez says %d: %s", code, body)
	}
	if code, _ := f.get("/readyz"); code != 503 {
		t.Errorf("/readyz says %d", code)
	}
	f.must(os.Rename(broken+".away", broken))
	f.await("readiness", settled)
}

func TestStopWithinTheGracePeriodLeavesNothingToRecover(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	conn := f.mustConnect("first-password")
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t AS SELECT generate_series(1, 200000) AS n"); err != nil {
		t.Fatal(err)
	}
	// An idle transaction must not hold up the stop.
	if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (0)", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	took := f.terminate()
	t.Logf("the stop took %s", took)
	if took > 28*time.Second {
		t.Errorf("the stop took %s of 30s", took)
	}
	status := f.instance().Status
	if status.Ready || status.Phase != dbv1.InstanceStopped {
		t.Errorf("the last status is %s, ready %v", status.Phase, status.Ready)
	}
	before := len(f.log.String())
	f.start()
	f.await("readiness", settled)
	log := f.log.String()[before:]
	if strings.Contains(log, "not properly shut down") || !strings.Contains(log, "database system was shut down at") {
		t.Error("the next start had to recover")
	}
	var rows int
	f.must(f.mustConnect("first-password").QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&rows))
	if rows != 200000 {
		t.Errorf("%d rows, want 200000", rows)
	}
}

func TestKilledContainerRecovers(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	if _, err := f.mustConnect("first-password").Exec(t.Context(), "CREATE TABLE t AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(f.dir, "volume", "pgdata", "postmaster.pid")
	f.kill()
	// The number in the old pid file is in use again, by a process of the same user.
	content, err := os.ReadFile(pidFile)
	f.must(err)
	_, rest, _ := strings.Cut(string(content), "\n")
	decoy := f.decoy()
	f.must(os.WriteFile(pidFile, []byte(strconv.Itoa(decoy)+"\n"+rest), 0o600))
	f.start()
	status := f.await("readiness", func(s *dbv1.DatabaseInstanceStatus) bool { return settled(s) && s.EngineStarts == 2 })
	if status.EngineStarts != 2 {
		t.Errorf("%d starts by this pod, want 2", status.EngineStarts)
	}
}

func TestWithoutTheAPIServerTheDatabaseIsServed(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	f.proxy.setCut(true)
	f.setting("work_mem")
	if code, body := f.get("/readyz"); code != 200 {
		t.Errorf("/readyz says %d without the API server: %s", code, body)
	}
	// A crash is mended without it, and so is a new container.
	f.must(syscall.Kill(f.postmaster(), syscall.SIGKILL))
	f.poll("the engine to be back", func() bool {
		code, _ := f.get("/readyz")
		conn, err := f.connect("first-password")
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil && code == 200
	}, func() string { return "away" })
	f.terminate()
	f.start()
	f.poll("a connection", func() bool {
		conn, err := f.connect("first-password")
		if err != nil {
			return false
		}
		code, _ := f.get("/readyz")
		return conn.Close(t.Context()) == nil && code == 200
	}, func() string { return "refused" })
	f.proxy.setCut(false)
	f.await("a report of all that", func(s *dbv1.DatabaseInstanceStatus) bool { return settled(s) && s.EngineStarts == 3 })
}

func TestWrongVolumesAreNeverStarted(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	ours := f.instance().Spec.SystemID
	phase := func(words string) func(*dbv1.DatabaseInstanceStatus) bool {
		return func(s *dbv1.DatabaseInstanceStatus) bool {
			return s.Phase == dbv1.InstanceFailed && !s.Ready && strings.Contains(s.Message, words)
		}
	}
	data := filepath.Join(f.dir, "volume", "pgdata")

	f.terminate()
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.SystemID = "42" })
	f.start()
	f.await("refusal of foreign data", phase("another database"))
	f.terminate()
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.SystemID = ours })

	version, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	f.must(err)
	f.must(os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("9\n"), 0o600))
	f.start()
	status := f.await("refusal of another version", phase("PostgreSQL 9"))
	if status.EngineStarts != 3 && status.EngineStarts != 1 {
		t.Logf("%d starts", status.EngineStarts)
	}
	f.terminate()
	f.must(os.WriteFile(filepath.Join(data, "PG_VERSION"), version, 0o600))

	f.must(os.Rename(filepath.Join(data, "global"), filepath.Join(f.dir, "global")))
	f.start()
	f.await("refusal of damaged data", phase("no whole database"))
	f.terminate()
	f.must(os.Rename(filepath.Join(f.dir, "global"), filepath.Join(data, "global")))

	f.must(os.Rename(data, data+".away"))
	f.start()
	f.await("refusal of an empty volume", phase("volume is empty"))
	if _, err := os.Stat(data); err == nil {
		t.Error("a new database was made in place of the lost one")
	}
	// Given back, it is found without a restart.
	f.must(os.Rename(data+".away", data))
	f.await("readiness", settled)
	if starts := f.instance().Status.EngineStarts; starts != 2 {
		t.Errorf("%d starts, want 2: none on a wrong volume", starts)
	}
}
