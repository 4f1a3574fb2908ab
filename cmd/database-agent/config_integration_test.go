//go:build integration

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// ask mounts files and asks for them.
func (f *fixture) ask(files map[string]string) string {
	hash := f.mount(files)
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.ConfigHash = hash })
	return hash
}

func with(base map[string]string, name, content string) map[string]string {
	files := maps.Clone(base)
	files[name] = content
	return files
}

func hasApplied(hash string) func(*dbv1.DatabaseInstanceStatus) bool {
	return func(s *dbv1.DatabaseInstanceStatus) bool { return s.AppliedConfigHash == hash && s.Ready }
}

func configReason(s *dbv1.DatabaseInstanceStatus) string {
	if c := meta.FindStatusCondition(s.Conditions, dbv1.ConditionConfigApplied); c != nil {
		return c.Reason
	}
	return ""
}

func TestReloadableSettingsThereAndBackWithoutARestart(t *testing.T) {
	f := newFixture(t)
	a, b := baseConfig("work_mem = 4MB"), baseConfig("work_mem = 5MB", "log_min_duration_statement = 1000")
	f.provision(a)
	pid := f.postmaster()
	for _, step := range []struct {
		files map[string]string
		want  string
	}{{b, "5MB"}, {a, "4MB"}, {b, "5MB"}} {
		status := f.await("the configuration", hasApplied(f.ask(step.files)))
		if got := f.setting("work_mem"); got != step.want {
			t.Errorf("work_mem is %s, want %s", got, step.want)
		}
		if status.EngineStarts != 1 || len(status.PendingRestart) > 0 || f.postmaster() != pid {
			t.Errorf("a reload restarted the server, or left something: %+v", status)
		}
	}
}

func TestNewConfigurationWaitsForTheKubelet(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	b := baseConfig("work_mem = 7MB")
	old := f.instance().Status.AppliedConfigHash
	hash := hashOf(b)
	generation := f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.ConfigHash = hash })
	status := f.await("word that the files are missing", func(s *dbv1.DatabaseInstanceStatus) bool {
		return configReason(s) == dbv1.ReasonConfigPending && s.ObservedGeneration == generation
	})
	if status.AppliedConfigHash != old || !status.Ready {
		t.Errorf("while it waits, the instance must go on as before: %+v", status)
	}
	f.mount(b)
	f.await("the configuration", hasApplied(hash))
}

func TestSettingThatNeedsARestartWaitsForTheOperation(t *testing.T) {
	f := newFixture(t)
	a, b := baseConfig(), with(baseConfig(), "postgresql.conf", strings.Replace(baseConfig("work_mem = 6MB")["postgresql.conf"], "max_connections = 20", "max_connections = 25", 1))
	f.provision(a)
	hash := f.ask(b)
	status := f.await("a pending restart", func(s *dbv1.DatabaseInstanceStatus) bool {
		return hasApplied(hash)(s) && slices.Contains(s.PendingRestart, "max_connections")
	})
	if f.setting("work_mem") != "6MB" || f.setting("max_connections") != "20" || status.EngineStarts != 1 {
		t.Errorf("want the reloadable setting alone, without a restart: %+v", status)
	}

	// Taken back before the restart, nothing is pending any more.
	back := f.ask(a)
	f.await("nothing pending", func(s *dbv1.DatabaseInstanceStatus) bool { return hasApplied(back)(s) && len(s.PendingRestart) == 0 })

	f.await("it again", hasApplied(f.ask(b)))
	f.restart("restart-1", dbv1.OperationSucceeded)
	status = f.await("readiness", func(s *dbv1.DatabaseInstanceStatus) bool { return s.Ready && len(s.PendingRestart) == 0 })
	if f.setting("max_connections") != "25" || status.EngineStarts != 2 {
		t.Errorf("want the new setting after one restart, got %d starts", status.EngineStarts)
	}

	// One that had no place in the file is added, and taken out again.
	c := with(b, "postgresql.conf", b["postgresql.conf"]+"max_prepared_transactions = 5\n")
	f.await("a setting that was not there", hasApplied(f.ask(c)))
	f.restart("restart-added", dbv1.OperationSucceeded)
	hash = f.ask(b)
	f.await("a pending restart without it", func(s *dbv1.DatabaseInstanceStatus) bool {
		return hasApplied(hash)(s) && slices.Contains(s.PendingRestart, "max_prepared_transactions")
	})
	f.restart("restart-removed", dbv1.OperationSucceeded)
	status = f.await("readiness without it", func(s *dbv1.DatabaseInstanceStatus) bool { return s.Ready && len(s.PendingRestart) == 0 })
	if f.setting("max_prepared_transactions") != "0" || status.EngineStarts != 4 {
		t.Errorf("want the default after one more restart, got %d starts", status.EngineStarts)
	}

	// The same id is not carried out again, not even by the next agent.
	f.terminate()
	f.start()
	f.await("readiness again", settled)
	if status := f.instance().Status; status.EngineStarts != 5 {
		t.Errorf("%d starts, want 5: one for each container and three restarts", status.EngineStarts)
	}
	f.restart("restart-2", dbv1.OperationSucceeded)
}

// restart asks for a restart, and waits for its end.
func (f *fixture) restart(id, phase string) dbv1.DatabaseInstanceStatus {
	f.t.Helper()
	f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		spec.Operation = &dbv1.InstanceOperation{ID: id, Kind: dbv1.OperationRestart}
	})
	return f.await("operation "+id, func(s *dbv1.DatabaseInstanceStatus) bool {
		return s.Operation != nil && s.Operation.ID == id && s.Operation.Phase == phase
	})
}

func TestRefusedConfigurationChangesNothing(t *testing.T) {
	f := newFixture(t)
	good := baseConfig("work_mem = 4MB")
	f.provision(good)
	applied := f.instance().Status.AppliedConfigHash
	for name, test := range map[string]struct {
		files map[string]string
		words []string
	}{
		"unknown name":  {baseConfig("work_mem = 5MB", "no_such_setting = 1"), []string{"no_such_setting", "unrecognized configuration parameter"}},
		"bad value":     {baseConfig("work_mem = 99999999999"), []string{"work_mem", "invalid value"}},
		"out of range":  {baseConfig("max_wal_senders = -5"), []string{"max_wal_senders", "outside the valid range"}},
		"syntax":        {baseConfig("work_mem = = 4"), []string{"syntax error"}},
		"broken access": {with(good, "pg_hba.conf", good["pg_hba.conf"]+"host all all nowhere-sensible trustno\n"), []string{"pg_hba.conf", "trustno"}},
	} {
		f.ask(test.files)
		status := f.await("a refusal: "+name, func(s *dbv1.DatabaseInstanceStatus) bool {
			c := meta.FindStatusCondition(s.Conditions, dbv1.ConditionConfigApplied)
			if c == nil || c.Status != metav1.ConditionFalse || c.Reason != dbv1.ReasonConfigRefused {
				return false
			}
			for _, word := range test.words {
				if !strings.Contains(c.Message, word) {
					return false
				}
			}
			return true
		})
		if status.AppliedConfigHash != applied || !status.Ready || status.EngineStarts != 1 {
			t.Errorf("%s: the instance did not go on as before: %+v", name, status)
		}
		if got := f.setting("work_mem"); got != "4MB" {
			t.Errorf("%s: work_mem is %s", name, got)
		}
	}

	// A container that starts while the mounted files are refused starts with the last good ones.
	f.terminate()
	f.start()
	status := f.await("readiness", settled)
	if status.AppliedConfigHash != applied {
		t.Errorf("it runs with %s, want the last good %s", status.AppliedConfigHash, applied)
	}
	f.await("the good configuration", func(s *dbv1.DatabaseInstanceStatus) bool { return configReason(s) == dbv1.ReasonConfigRefused })
	f.await("the good configuration again", hasApplied(f.ask(baseConfig("work_mem = 8MB"))))
}

// Settings that let no session in are found by trying one, and never shut the agent out.
func TestConfigurationThatLetsNobodyInIsTakenBack(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	good := f.instance().Status.AppliedConfigHash
	f.ask(baseConfig("session_preload_libraries = 'no_such_library'"))
	status := f.await("a refusal", func(s *dbv1.DatabaseInstanceStatus) bool { return configReason(s) == dbv1.ReasonConfigRefused })
	if status.AppliedConfigHash != good || !status.Ready || status.EngineStarts != 1 {
		t.Errorf("the instance did not go on as before: %+v", status)
	}
	if c := meta.FindStatusCondition(status.Conditions, dbv1.ConditionConfigApplied); !strings.Contains(c.Message, "no_such_library") {
		t.Errorf("the condition does not say why: %q", c.Message)
	}

	// The refusal outlives the container: the next one does not even try.
	isRefused := func(s *dbv1.DatabaseInstanceStatus) bool {
		return settled(s) && s.AppliedConfigHash == good && configReason(s) == dbv1.ReasonConfigRefused
	}
	f.terminate()
	f.start()
	if status = f.await("the refusal in the next container", isRefused); status.EngineStarts != 2 {
		t.Errorf("%d starts, want one for each container", status.EngineStarts)
	}
	// Another pod, which may have another image, finds out at its start.
	f.terminate()
	f.must(f.kube.CoreV1().Pods(f.namespace).Delete(t.Context(), instanceName, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	f.makePod()
	f.start()
	if status = f.await("the refusal in the next pod", isRefused); status.EngineStarts != 2 {
		t.Errorf("%d starts in the next pod, want one with each configuration", status.EngineStarts)
	}
	f.await("settings that would stop the agent's queries", hasApplied(f.ask(baseConfig("statement_timeout = 1", "default_transaction_read_only = on", "datestyle = 'SQL, DMY'"))))
	f.await("the good configuration", hasApplied(f.ask(baseConfig())))
}

// Settings that end every session but the agent's can be taken back.
func TestSettingsForSessionsDoNotHoldForTheAgent(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	f.await("the settings", hasApplied(f.ask(baseConfig("idle_session_timeout = 1", "default_transaction_isolation = 'serializable'",
		"default_transaction_read_only = on", "default_transaction_deferrable = on"))))
	// Twice as long as the agent needs to notice that it is shut out.
	for begin := time.Now(); time.Since(begin) < 2*probePeriods; time.Sleep(100 * time.Millisecond) {
		if status := f.instance().Status; !status.Ready {
			t.Fatalf("the agent is shut out: %+v", status)
		}
	}
	f.await("the good configuration", hasApplied(f.ask(baseConfig())))
}

const probePeriods = 3 * time.Second

// Settings with which sessions do not begin in time are as bad as those that refuse them.
func TestConfigurationThatMakesSessionsWaitIsTakenBack(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	good := f.instance().Status.AppliedConfigHash
	for _, setting := range []string{"pre_auth_delay = 20", "post_auth_delay = 20"} {
		f.ask(baseConfig(setting))
		status := f.await("a refusal of "+setting, func(s *dbv1.DatabaseInstanceStatus) bool { return configReason(s) == dbv1.ReasonConfigRefused })
		if status.AppliedConfigHash != good || !status.Ready || status.EngineStarts != 1 {
			t.Errorf("%s: the instance did not go on as before: %+v", setting, status)
		}
		begin := time.Now()
		if f.setting("work_mem"); time.Since(begin) > 10*time.Second {
			t.Errorf("%s: a session began after %s", setting, time.Since(begin))
		}
		f.await("other settings", hasApplied(f.ask(baseConfig("work_mem = 5MB"))))
		f.await("the good ones", hasApplied(f.ask(baseConfig())))
	}
}

// What keeps the agent out from the first start on is corrected by the next one.
func TestFirstConfigurationThatKeepsTheAgentOutIsCorrected(t *testing.T) {
	f := newFixture(t)
	f.mount(baseConfig("pre_auth_delay = 20"))
	f.declare(dbv1.DatabaseInstanceSpec{Bootstrap: true, ConfigHash: hashOf(baseConfig("pre_auth_delay = 20"))})
	f.start()
	f.await("a start", func(s *dbv1.DatabaseInstanceStatus) bool { return s.EngineStarts == 1 })
	hash := f.ask(baseConfig())
	status := f.await("the corrected configuration", func(s *dbv1.DatabaseInstanceStatus) bool { return s.AppliedConfigHash == hash })
	if status.EngineStarts != 2 {
		t.Errorf("%d starts", status.EngineStarts)
	}
}

func TestConfigurationThatDoesNotStartIsTakenBack(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	good := f.instance().Status.AppliedConfigHash
	// Accepted by `postgres -C`; only a start finds that there is no such library.
	f.await("a pending restart", hasApplied(f.ask(baseConfig("shared_preload_libraries = 'no_such_library'"))))
	status := f.restart("restart-1", dbv1.OperationFailed)
	if !strings.Contains(status.Operation.Message, "no_such_library") {
		t.Errorf("the operation does not say why: %q", status.Operation.Message)
	}
	status = f.await("readiness", settled)
	if status.AppliedConfigHash != good || configReason(&status) != dbv1.ReasonConfigRefused {
		t.Errorf("want the last good configuration and a refusal, got %+v", status)
	}

	// So is memory that nobody has. It must not even be tried: with overcommit, the server would start
	// and take the memory of the whole machine.
	f.await("a pending restart", hasApplied(f.ask(with(baseConfig(), "postgresql.conf",
		strings.Replace(baseConfig()["postgresql.conf"], "shared_buffers = 16MB", "shared_buffers = 8000GB", 1)))))
	status = f.restart("restart-2", dbv1.OperationFailed)
	if !strings.Contains(status.Operation.Message, "shared memory") {
		t.Errorf("the operation does not say why: %q", status.Operation.Message)
	}
	f.await("readiness", settled)
}

// connect opens a client's connection.
func (f *fixture) connect(password string) (*pgx.Conn, error) {
	return pgx.Connect(f.t.Context(), fmt.Sprintf("postgres://app:%s@127.0.0.1:%d/orders?sslmode=disable", password, f.port))
}

func (f *fixture) mustConnect(password string) *pgx.Conn {
	f.t.Helper()
	conn, err := f.connect(password)
	f.must(err)
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// setting is a setting of the server, as a client sees it.
func (f *fixture) setting(name string) string {
	f.t.Helper()
	conn := f.mustConnect("first-password")
	var value string
	f.must(conn.QueryRow(f.t.Context(), "SELECT current_setting($1)", name).Scan(&value))
	return value
}
