// Package postgres gives tests the programs of the PostgreSQL that is installed on this machine, and an account for them.
package postgres

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// EnvRequire lets tests fail where PostgreSQL is missing. `cluster engines` (hack/cluster) installs it.
const EnvRequire = "TEST_REQUIRE_POSTGRES"

// Programs returns the folder of PostgreSQL's programs. Without them the test is skipped, or fails where they must be there.
func Programs(t testing.TB) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if found, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(found)
	}
	if os.Getenv(EnvRequire) != "" {
		t.Fatal("PostgreSQL is not installed")
	}
	t.Skip("PostgreSQL is not installed: there is no initdb in PATH or /usr/lib/postgresql/*/bin")
	return ""
}

// Account is what servers run as when the test is root's, which PostgreSQL refuses; nil means as the test does.
func Account(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatalf("find an unprivileged user: %v", err)
	}
	uid, _ := strconv.ParseUint(account.Uid, 10, 32)
	gid, _ := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
