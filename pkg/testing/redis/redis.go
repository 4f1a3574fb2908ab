// Package redis tells tests whether a Redis is installed on this machine.
package redis

import (
	"os"
	"os/exec"
	"testing"
)

// EnvRequire lets tests fail where Redis is missing. `cluster engines` (hack/cluster) installs it.
const EnvRequire = "TEST_REQUIRE_REDIS"

// Require skips the test without a server, or fails it where there must be one.
func Require(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv(EnvRequire) != "" {
		t.Fatal("Redis is not installed")
	}
	t.Skip("Redis is not installed: there is no redis-server in PATH")
}
