//go:build integration

package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// startAsPID1 starts the agent as the first process of a PID namespace, as in a container, and
// returns its process id as the test sees it.
func (f *fixture) startAsPID1() int {
	f.t.Helper()
	if f.credential == nil {
		f.t.Skip("a PID namespace can only be made by root")
	}
	for _, tool := range []string{"unshare", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			f.t.Skipf("a PID namespace needs a tool: %v", err)
		}
	}
	args := append([]string{
		"--pid", "--fork", "--kill-child", "--mount-proc", "setpriv", "--reuid=" + strconv.Itoa(int(f.credential.Uid)),
		"--regid=" + strconv.Itoa(int(f.credential.Gid)), "--clear-groups", agentBinary(f.t),
	}, f.args()...)
	f.launch(exec.Command("unshare", args...), nil)
	pid := 0
	f.poll("the agent", func() bool {
		for _, child := range childrenOf(f.cmd.Process.Pid) {
			pid = child
		}
		return pid != 0 && strings.Contains(commandOf(pid), "run --engine")
	}, func() string { return "not there" })
	return pid
}

// childrenOf lists the children of a process.
func childrenOf(parent int) []int {
	content, _ := os.ReadFile("/proc/" + strconv.Itoa(parent) + "/task/" + strconv.Itoa(parent) + "/children")
	var children []int
	for field := range strings.FieldsSeq(string(content)) {
		if pid, err := strconv.Atoi(field); err == nil {
			children = append(children, pid)
		}
	}
	return children
}

func commandOf(pid int) string {
	content, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return strings.ReplaceAll(string(content), "\x00", " ")
}

// postmasterBelow finds the server among the agent's descendants.
func postmasterBelow(agent int) int {
	for _, pid := range descendantsOf(agent) {
		if strings.Contains(commandOf(pid), "config_file=") {
			return pid
		}
	}
	return 0
}

// visit starts a process in the agent's namespace, as a child of the test.
func (f *fixture) visit(agent int, credential *syscall.Credential) int {
	f.t.Helper()
	args := []string{"--target", strconv.Itoa(agent), "--pid"}
	if credential != nil {
		args = append(args, "--setuid="+strconv.Itoa(int(credential.Uid)), "--setgid="+strconv.Itoa(int(credential.Gid)))
	}
	cmd := exec.Command("nsenter", append(args, "sleep", "1000")...)
	f.must(cmd.Start())
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pid := 0
	f.poll("a visitor", func() bool {
		for _, child := range childrenOf(cmd.Process.Pid) {
			pid = child
		}
		return pid != 0
	}, func() string { return "not there" })
	return pid
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil && !isZombie(pid) }

func TestAsPID1TheAgentReapsAndStops(t *testing.T) {
	f := newFixture(t)
	f.declare(dbv1.DatabaseInstanceSpec{Bootstrap: true, ConfigHash: f.mount(baseConfig()), Accounts: []dbv1.InstanceAccount{application("1")}})
	agent := f.startAsPID1()
	status := f.await("a system identifier", func(s *dbv1.DatabaseInstanceStatus) bool { return s.SystemID != "" })
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.SystemID, spec.Bootstrap = status.SystemID, false })
	f.await("readiness", settled)

	conn := f.mustConnect("first-password")
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "DO $$ DECLARE s bigint := 0; BEGIN FOR i IN 1..2000000000 LOOP s := s + i; END LOOP; END $$")
		done <- err
	}()
	// What comes from outside is in the container too: kubectl debug as another user, whom the agent may
	// not kill, and kubectl exec as its own, whom it does.
	visitor := f.visit(agent, nil)
	same := f.visit(agent, f.credential)
	f.must(syscall.Kill(postmasterBelow(agent), syscall.SIGKILL))
	f.await("the second start", func(s *dbv1.DatabaseInstanceStatus) bool { return s.EngineStarts == 2 && settled(s) })
	if err := <-done; err == nil {
		t.Error("the orphan finished its work")
	}
	if !alive(visitor) || alive(same) {
		t.Errorf("the process of another user lives: %v; that of its own: %v", alive(visitor), alive(same))
	}
	f.must(syscall.Kill(visitor, syscall.SIGKILL))
	for _, pid := range descendantsOf(agent) {
		if isZombie(pid) {
			t.Errorf("the agent left the zombie %d: %s", pid, commandOf(pid))
		}
	}

	f.must(syscall.Kill(agent, syscall.SIGTERM))
	if err := <-f.exited; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	f.cmd = nil
	if status := f.instance().Status; status.Phase != dbv1.InstanceStopped {
		t.Errorf("the last phase is %s", status.Phase)
	}
}
