//go:build integration

package main

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// decoy is a process of the agent's user that does nothing.
func (f *fixture) decoy() int {
	f.t.Helper()
	cmd := exec.Command("tail", "-f", "/dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: f.credential}
	f.must(cmd.Start())
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func accountStatus(s *dbv1.DatabaseInstanceStatus, name string) dbv1.InstanceAccountStatus {
	for _, account := range s.Accounts {
		if account.Username == name {
			return account
		}
	}
	return dbv1.InstanceAccountStatus{}
}

func TestPasswordIsChangedWithItsVersion(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	f.setPassword(`second'"\$pässword`)
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.Accounts[0].PasswordVersion = "2" })
	f.await("the second password", func(s *dbv1.DatabaseInstanceStatus) bool {
		a := accountStatus(s, "app")
		return a.PasswordVersion == "2" && a.Applied && a.Verified
	})
	if _, err := f.connect("first-password"); err == nil {
		t.Error("the first password still logs in")
	}
	if strings.Contains(f.log.String(), "second'") {
		t.Error("the log has the password")
	}

	// A password that is set by hand is set right by the next container.
	f.setPassword("third-password")
	f.terminate()
	f.start()
	f.await("the third password", func(s *dbv1.DatabaseInstanceStatus) bool {
		_, err := f.connect("third-password")
		return err == nil && settled(s)
	})
}

func TestAccountsThatCannotBeMadeAreReported(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		missing := application("1")
		missing.Username, missing.PasswordRef.Key = "other", "no-such-key"
		reserved := application("1")
		reserved.Username = "pg_mine"
		spec.Accounts = append(spec.Accounts, missing, reserved,
			dbv1.InstanceAccount{Username: "postgres", Roles: []string{"superuser"}, State: dbv1.AccountPresent})
	})
	status := f.await("reports of both", func(s *dbv1.DatabaseInstanceStatus) bool {
		return strings.Contains(accountStatus(s, "other").Message, "no-such-key") && strings.Contains(accountStatus(s, "pg_mine").Message, "pg_") &&
			accountStatus(s, "postgres").Verified
	})
	if !status.Ready || !accountStatus(&status, "app").Verified {
		t.Errorf("the others do not suffer: %+v", status)
	}
}

func TestAbsentAccountsLoseTheirLogin(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		idle := application("1")
		idle.Username, idle.Database, idle.Roles = `Odd "name"`, "", []string{"monitoring"}
		spec.Accounts = append(spec.Accounts, idle)
	})
	f.await("both accounts", func(s *dbv1.DatabaseInstanceStatus) bool { return settled(s) && len(s.Accounts) == 2 })
	generation := f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		for i := range spec.Accounts {
			spec.Accounts[i].State = dbv1.AccountAbsent
		}
	})
	f.await("the accounts to be gone", func(s *dbv1.DatabaseInstanceStatus) bool { return settled(s) && s.ObservedGeneration == generation })
	var refused *pgconn.PgError
	if _, err := f.connect("first-password"); !errors.As(err, &refused) || !strings.HasPrefix(refused.Code, "28") {
		t.Errorf("the login of an absent account ends with %v", err)
	}
	generation = f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		spec.Accounts = []dbv1.InstanceAccount{application("1")}
	})
	f.await("the account again", func(s *dbv1.DatabaseInstanceStatus) bool { return settled(s) && s.ObservedGeneration == generation })
	conn := f.mustConnect("first-password")
	var left int
	f.must(conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname = 'Odd "name"'`).Scan(&left))
	if left != 0 {
		t.Error("an account that owns nothing is still there")
	}
}

func TestRoleLabelIsPutBack(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	pods := f.kube.CoreV1().Pods(f.namespace)
	patch := `{"metadata":{"labels":{"` + naming.LabelRole + `":null}}}`
	_, err := pods.Patch(t.Context(), instanceName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	f.must(err)
	f.poll("the label", func() bool {
		pod, err := pods.Get(t.Context(), instanceName, metav1.GetOptions{})
		return err == nil && pod.Labels[naming.LabelRole] == "primary"
	}, func() string { return "missing" })
}

func TestSettledInstanceWritesNothing(t *testing.T) {
	f := newFixture(t)
	f.provision(baseConfig())
	// The observation of the last change is written within a second or two.
	f.await("the condition", func(s *dbv1.DatabaseInstanceStatus) bool { return configReason(s) == dbv1.ReasonAsExpected })
	before := ""
	f.poll("the status to stay the same over ten looks at the volume", settledFor(f, &before), func() string { return before })
}

// settledFor says whether the object's version stayed the same for twelve looks of the health poll.
func settledFor(f *fixture, version *string) func() bool {
	same := 0
	return func() bool {
		now := f.instance().ResourceVersion
		if now != *version {
			*version, same = now, 0
			return false
		}
		same++
		return same >= 20*12
	}
}
