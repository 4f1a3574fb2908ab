//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/types"
)

// process is a process of this machine.
type process struct {
	pid     int
	command string
	// parent is the command of its parent; inside is its number in the container.
	parent string
	inside int
}

// needsLocal skips the test where the processes of pods are not those of this machine.
func (s *scope) needsLocal() {
	s.Helper()
	if !cluster.Local {
		s.Skip("it kills processes of pods, which are processes of this machine only on the local cluster: unset KUBECONFIG")
	}
}

// processes returns the processes of a pod with this name. They are found by the pod's UID, which is in the name of their cgroup.
func processes(pod types.UID, command string) []process {
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup") // fails only for a bad pattern
	var found []process
	for _, file := range files {
		cgroup, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(cgroup), "pod"+string(pod)) {
			continue
		}
		p, err := readProcess(filepath.Dir(file))
		if err == nil && strings.HasPrefix(command, p.command) {
			found = append(found, p)
		}
	}
	return found
}

func readProcess(dir string) (process, error) {
	p := process{command: commandOf(dir)}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err //nolint:wrapcheck // it ended in the meantime
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch fields := strings.Fields(value); name {
		case "PPid":
			p.parent = commandOf(filepath.Join("/proc", fields[0]))
		case "NSpid":
			p.inside, err = strconv.Atoi(fields[len(fields)-1])
		}
		if err != nil {
			return p, fmt.Errorf("reading %s: %w", dir, err)
		}
	}
	p.pid, err = strconv.Atoi(filepath.Base(dir))
	return p, err //nolint:wrapcheck // it says which number
}

func commandOf(dir string) string {
	comm, _ := os.ReadFile(filepath.Join(dir, "comm")) // without one it is no process any more
	return strings.TrimSpace(string(comm))
}

// kill kills the processes of a pod with this name and returns how many there were.
func (s *scope) kill(pod types.UID, command string) int {
	s.Helper()
	found := processes(pod, command)
	s.signal(found, syscall.SIGKILL)
	return len(found)
}

func (s *scope) signal(found []process, signal syscall.Signal) {
	s.Helper()
	for _, p := range found {
		if err := syscall.Kill(p.pid, signal); err != nil {
			s.Logf("signal %s to %s (%d): %v", signal, p.command, p.pid, err)
		}
	}
}

// postmaster is the process of PostgreSQL that started the others.
func (s *scope) postmaster(pod types.UID) []process {
	s.Helper()
	found := slices.DeleteFunc(processes(pod, "postgres"), func(p process) bool { return p.parent == "postgres" })
	same(s, "the number of postmasters", len(found), 1)
	return found
}

// agent is the first process of the container.
func (s *scope) agent(pod types.UID) []process {
	s.Helper()
	found := slices.DeleteFunc(processes(pod, agentCommand), func(p process) bool { return p.inside != 1 })
	same(s, "the number of agents", len(found), 1)
	return found
}
