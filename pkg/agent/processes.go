package agent

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// What /proc says of processes.

type atomicString = atomic.Pointer[string]

// process is one line of /proc.
type process struct {
	pid, parent int
	state       byte
}

// readProcesses lists all processes that this one can see.
func readProcesses() ([]process, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	if len(paths) == 0 {
		// We ourselves are always there: nothing means that /proc cannot be read.
		return nil, fmt.Errorf("list processes: /proc is empty")
	}
	procs := make([]process, 0, len(paths))
	for _, path := range paths {
		// A process that ended since the listing cannot be read.
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if p, ok := parseStat(stat); ok {
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// parseStat reads "pid (command) state parent …"; the command may have spaces and parentheses.
func parseStat(stat []byte) (process, bool) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return process{}, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 2 || len(fields[0]) != 1 {
		return process{}, false
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(stat[:begin])))
	if err != nil {
		return process{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return process{pid: pid, parent: parent, state: fields[0][0]}, err == nil
}

// allProcesses is everything in the container but the agent.
func allProcesses() ([]process, error) {
	procs, err := readProcesses()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	others := procs[:0]
	for _, p := range procs {
		if p.pid != self {
			others = append(others, p)
		}
	}
	return others, nil
}

// descendants is everything that descends from the agent, when it shares its machine with others.
func descendants() ([]process, error) {
	procs, err := readProcesses()
	if err != nil {
		return nil, err
	}
	return below(procs, os.Getpid()), nil
}

// below lists the descendants of one process.
func below(procs []process, root int) []process {
	children := make(map[int][]process, len(procs))
	for _, p := range procs {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []process
	for next := []int{root}; len(next) > 0; next = next[1:] {
		for _, child := range children[next[0]] {
			found = append(found, child)
			next = append(next, child.pid)
		}
	}
	return found
}

// notifyChildren tells when a child ended.
func notifyChildren() (<-chan os.Signal, func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	return signals, func() { signal.Stop(signals) }
}
