package driver

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/klog/v2/ktesting"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestVerifier(t *testing.T) {
	// Made by PostgreSQL 15: SET password_encryption = 'scram-sha-256'; CREATE ROLE x PASSWORD 'pencil'.
	const stored = "SCRAM-SHA-256$4096:sd1DNBZllx7djz84Aumdkw==$roDX7HjjnGh1eQgbht5bJhcMxeq3YS11wKAfMUNoZiE=:Uhn7Q/rv+L0LYqvTYlyNvOf9KaEbbUW3q5intdYV7H4="
	if !verifies(stored, "pencil") {
		t.Error("the server's verifier is not that of its password")
	}
	if verifies(stored, "pencil ") || verifies(stored, "") {
		t.Error("another password verifies")
	}
	mine, err := newVerifier("pässword")
	if err != nil || !verifies(mine, "pässword") {
		t.Errorf("%q, %v", mine, err)
	}
	if other, _ := newVerifier("pässword"); other == mine {
		t.Error("the salt is not fresh")
	}
	for _, broken := range []string{"", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$4096:!!$a:b", "SCRAM-SHA-256$x:c2FsdA==$a:b", "SCRAM-SHA-256$0:c2FsdA==$a:b"} {
		if verifies(broken, "pencil") {
			t.Errorf("%q verifies", broken)
		}
	}
}

// Made by PostgreSQL 15, as those of all clients that go by SASLprep are.
func TestVerifierOfAPasswordThatIsPrepared(t *testing.T) {
	for password, stored := range map[string]string{
		"summ²erﬁ": "SCRAM-SHA-256$4096:Tw8y4QzakXv1cvmkWWTjlA==$yu7tIL3nrlbWiA7R3eS5UIPRABQzocTCr+1iuBX5gwA=:qfPqpLUjvUf24vWF7ntQCFssWTG4+U4GpUISY4QnF8s=",
		// What Unicode 3.2 does not know is not prepared at all.
		"no\u00a0break 😀": "SCRAM-SHA-256$4096:D1gSgXW/9XAsxfeW6VFVlQ==$DQcuMbcfqBebGyGI+K1qC4H1PDqD73boz6Dl5AHn2Zk=:sb1mKFwqazTf9YsRc0JN2aYMz2hozNtbyRPogv2nZ2I=",
	} {
		if !verifies(stored, password) {
			t.Errorf("the server's verifier is not that of %q", password)
		}
	}
}

func TestPasswordThatTheAgentCannotTryIsRefused(t *testing.T) {
	err := checkAccount(agent.Account{Password: "grave\u0340", InstanceAccount: dbv1.InstanceAccount{
		Username: "app", State: dbv1.AccountPresent, PasswordRef: &dbv1.SecretKeyReference{Name: "orders-accounts", Key: "application.password"},
	}})
	if err == nil || !strings.Contains(err.Error(), "key application.password of Secret orders-accounts") || strings.Contains(err.Error(), "grave") {
		t.Errorf("the refusal names no key, or the password: %v", err)
	}
}

func TestParseMajor(t *testing.T) {
	for version, want := range map[string]string{
		"postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n": "15",
		"postgres (PostgreSQL) 18beta1\n":                        "18",
		"postgres (PostgreSQL) 17\n":                             "17",
	} {
		if got, err := parseMajor(version); err != nil || got != want {
			t.Errorf("%q: got %q, %v", version, got, err)
		}
	}
	for _, version := range []string{"", "postgres", "postgres (PostgreSQL) devel"} {
		if got, err := parseMajor(version); err == nil {
			t.Errorf("%q: got %q", version, got)
		}
	}
}

func TestParseRefusal(t *testing.T) {
	file := `"/var/lib/database/agent/config/0011/postgresql.conf"`
	tests := map[string]struct{ text, setting, words string }{
		"unknown name": {
			stamp + ` [1] LOG:  unrecognized configuration parameter "foo" in file ` + file + " line 3\n" +
				stamp + ` [1] FATAL:  configuration file ` + file + " contains errors\n",
			"foo", `unrecognized configuration parameter "foo"`,
		},
		"several, with hints": {
			stamp + ` [1] LOG:  invalid value for parameter "work_mem": "99999999999"` + "\n" + stamp + " [1] HINT:  Value exceeds integer range.\n" +
				stamp + ` [1] LOG:  invalid value for parameter "port": "x"` + "\n" +
				stamp + ` [1] FATAL:  configuration file ` + file + " contains errors\n",
			"work_mem", `invalid value for parameter "work_mem": "99999999999" (Value exceeds integer range.); invalid value for parameter "port": "x"`,
		},
		"at once fatal": {
			stamp + ` [1] FATAL:  parameter "wal_level" cannot be so` + "\n", "wal_level", `parameter "wal_level" cannot be so`,
		},
		"of another kind": {stamp + ` [1] FATAL:  could not open directory` + "\n", "", ""},
		"silent":          {"", "", ""},
	}
	for name, test := range tests {
		got := parseRefusal(test.text)
		switch {
		case test.words == "" && got != nil:
			t.Errorf("%s: got %+v", name, got)
		case test.words != "" && (got == nil || got.Setting != test.setting || got.Words != test.words):
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// volume makes a folder with what a database has in front.
func volume(t *testing.T, version string, control []byte) *Driver {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "pgdata", "global"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"PG_VERSION": []byte(version), "global/pg_control": control} {
		if content == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "pgdata", name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logger, _ := ktesting.NewTestContext(t)
	supervisor, err := agent.NewSupervisor(logger)
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{VolumeDir: dir, Supervisor: supervisor})
}

// fakePostgres puts a program in front of PATH that says a version.
func fakePostgres(t *testing.T, version string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	if err := os.WriteFile(filepath.Join(dir, "postgres"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestInspect(t *testing.T) {
	fakePostgres(t, "7.4")
	control := binary.NativeEndian.AppendUint64(nil, 7711329226190759937)
	tests := map[string]struct {
		driver *Driver
		want   agent.Volume
	}{
		"a database":               {volume(t, "7\n", control), agent.Volume{State: agent.VolumeReady, SystemID: "7711329226190759937"}},
		"of another major version": {volume(t, "8\n", control), agent.Volume{State: agent.VolumeUnusable, Reason: agent.ReasonVersionMismatch}},
		"without a control file":   {volume(t, "7\n", nil), agent.Volume{State: agent.VolumeUnusable, Reason: agent.ReasonDataDamaged}},
		"with half a control file": {volume(t, "7\n", control[:5]), agent.Volume{State: agent.VolumeUnusable, Reason: agent.ReasonDataDamaged}},
		"nothing":                  {New(Options{VolumeDir: t.TempDir()}), agent.Volume{State: agent.VolumeEmpty}},
	}
	for name, test := range tests {
		got, err := test.driver.Inspect(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (got.Message == "") != (test.want.Reason == "") {
			t.Errorf("%s: message %q", name, got.Message)
		}
		got.Message = ""
		if got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestInspectOfAnUnfinishedDatabaseFindsNothing(t *testing.T) {
	d := New(Options{VolumeDir: t.TempDir()})
	if err := os.MkdirAll(filepath.Join(d.newDir(), "global"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.dataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Inspect(t.Context()); err != nil || got.State != agent.VolumeEmpty {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAccountsThatMustNotBe(t *testing.T) {
	account := func(name, database, password string, state dbv1.AccountState, roles ...string) agent.Account {
		return agent.Account{Password: password, InstanceAccount: dbv1.InstanceAccount{Username: name, Database: database, State: state, Roles: roles}}
	}
	for _, good := range []agent.Account{
		account("app", "orders", "x", dbv1.AccountPresent, roleApplication),
		account("app", "orders", "", dbv1.AccountAbsent, roleApplication),
		account("postgres", "", "", dbv1.AccountPresent, roleSuperuser),
	} {
		if err := checkAccount(good); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []agent.Account{
		account("app", "orders", "", dbv1.AccountPresent, roleApplication),
		account("app", "template1", "x", dbv1.AccountPresent, roleApplication),
		account("pg_monitor", "", "x", dbv1.AccountPresent),
		account("postgres", "", "", dbv1.AccountAbsent, roleSuperuser),
		account("postgres", "", "x", dbv1.AccountPresent, roleApplication),
		account("root", "", "x", dbv1.AccountPresent, roleSuperuser),
	} {
		if err := checkAccount(bad); err == nil {
			t.Errorf("%+v is let through", bad)
		}
	}
}

func TestNamesAreQuoted(t *testing.T) {
	if got := quote(`a"; DROP ROLE x; --`); got != `"a""; DROP ROLE x; --"` {
		t.Errorf("got %s", got)
	}
}
