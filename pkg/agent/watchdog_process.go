package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/elector"
)

// The watchdog's own process.
//
// It needs nothing but memory and the clocks: no file, no lock, no allocation that matters. When the
// deadline has passed it kills, and does so at every turn until the agent moves the deadline.
//
// Where the agent is PID 1 of a PID namespace of its own, kill(-1) reaches every other process in it,
// at once, and spares PID 1 and the caller: no fork escapes. Anywhere else it would reach all processes
// of the machine. There the descendants of the agent are killed, as /proc shows them.

const (
	// WatchdogContainerFlag is the flag of the watchdog by which the agent says that it is PID 1.
	WatchdogContainerFlag = "container"
	// watchdogTurn is the pause between two looks at the deadline.
	watchdogTurn = 50 * time.Millisecond
	// initialNamespace is the PID namespace of the machine: the kernel gives it that number.
	initialNamespace = "pid:[4026531836]"
)

// RunWatchdog kills the engine whenever the deadline in the shared memory has passed. It returns when the
// agent has ended: when its standard input is closed.
func RunWatchdog(ctx context.Context, memory *os.File, agent io.Reader, container bool) error {
	page, err := mapPage(memory)
	if err != nil {
		return err
	}
	// The container is stopped by a signal to the agent, which may take its time.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	// It may not be permitted, and then nothing is lost: the engine's processes are far larger.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	kill := killerBelow(os.Getppid())
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err == nil && container && ownsNamespace(os.Getppid(), namespace) {
		kill = killAllOthers
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, agent)
	}()
	said := make(chan string, 1)
	defer close(said)
	go tell(ctx, said)
	ticker := time.NewTicker(watchdogTurn)
	defer ticker.Stop()
	for passed := false; ; {
		page[pageBeats].Add(1)
		passed = look(page, passed, kill, said)
		select {
		case <-gone:
			return nil
		case <-ticker.C:
		}
	}
}

// look kills when the deadline has passed; it says whether it has. While it has not, it goes the same way
// with no signal, so that the code is in memory when it is needed, whatever the disk does then.
func look(p page, before bool, kill func(unix.Signal) error, said chan<- string) bool {
	passed := p.deadline().Passed(elector.SystemClock{}.Read())
	if !passed {
		_ = kill(0)
		return false
	}
	err := kill(unix.SIGKILL)
	if before {
		return true
	}
	p[pageKills].Add(1)
	what := "The deadline has passed, and the agent did not end the engine: it was killed"
	if err != nil {
		what = "The deadline has passed, and the engine could not be killed: " + err.Error()
	}
	select {
	case said <- what:
	default:
	}
	return true
}

// tell writes to the log, which may block.
func tell(ctx context.Context, said <-chan string) {
	for what := range said {
		klog.FromContext(ctx).Error(nil, what)
	}
}

// ownsNamespace: the parent is the agent, and PID 1, but not that of the machine.
func ownsNamespace(parent int, namespace string) bool {
	return parent == 1 && strings.HasPrefix(namespace, "pid:[") && namespace != initialNamespace
}

// killAllOthers sends a signal to every process of this namespace but PID 1 and this one.
func killAllOthers(sig unix.Signal) error {
	if err := unix.Kill(-1, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// killerBelow sends a signal to the descendants of the agent but this process. What they fork meanwhile
// is found by the next turn.
func killerBelow(agent int) func(unix.Signal) error {
	return func(sig unix.Signal) error {
		if sig == 0 {
			return nil
		}
		procs, err := readProcesses()
		if err != nil || os.Getppid() != agent {
			return err
		}
		for _, p := range below(procs, agent) {
			if p.pid != os.Getpid() && p.state != 'Z' {
				err = errors.Join(err, unix.Kill(p.pid, sig))
			}
		}
		return err
	}
}
