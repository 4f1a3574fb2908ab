//go:build integration

package driver

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/platform-io/database-operator/pkg/agent"
)

func TestStorage(t *testing.T) {
	a := newPrimary(t)
	a.do(call{Method: "TestStorage"})
	a.stop(agent.StopFast)
	a.do(call{Method: "TestStorage"})
	// A server whose processes stand still is noticed.
	a.start(agent.StartPrimary)
	a.freeze(a.process("checkpointer"))
	a.do(call{Method: "TestStorage"})
	postmaster := a.postmaster()
	a.freeze(postmaster)
	if _, err := a.try(call{Method: "TestStorage", Timeout: time.Second}); err == nil {
		t.Error("a frozen server passes")
	}
	a.thaw(postmaster)
	a.do(call{Method: "TestStorage"})
}

// Clients that take every connection make no broken server of it; one that is stuck is noticed all the same.
func TestStorageWhileThereAreNoConnectionsLeft(t *testing.T) {
	a := newPrimary(t)
	a.do(call{Method: "TestStorage"})
	full := false
	for range 100 {
		conn, err := a.connect("")
		if err != nil {
			full = strings.Contains(err.Error(), codeTooManyConnections)
			break
		}
		t.Cleanup(func() { closeConn(conn) })
	}
	if !full {
		t.Fatal("there is a connection left")
	}
	a.do(call{Method: "TestStorage"})
	a.do(call{Method: "TestStorage"})
	backend := 0
	for _, pid := range descendantsOf(a.cmd.Process.Pid) {
		content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(content), "postgres: orders: postgres postgres [local]") {
			backend++
			a.freeze(pid)
		}
	}
	if backend == 0 {
		t.Fatal("there are no sessions")
	}
	if _, err := a.try(call{Method: "TestStorage", Timeout: time.Second}); err == nil {
		t.Error("a session that stands still passes")
	}
}
