package agent

import (
	"bufio"
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2/ktesting"
)

// lines is a parser for which every line is a message, those that begin with FATAL are fatal, and READY tells that it serves.
type lines struct{ held []LogEntry }

func (l *lines) Line(line string) []LogEntry {
	complete := l.held
	l.held = []LogEntry{{Message: line, Fatal: strings.HasPrefix(line, "FATAL"), Serves: line == "READY"}}
	return complete
}

func (l *lines) Flush() []LogEntry {
	complete := l.held
	l.held = nil
	return complete
}

func newTestSupervisor(t *testing.T) *Supervisor {
	t.Helper()
	logger, _ := ktesting.NewTestContext(t)
	s, err := NewSupervisor(logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return s
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestEngineIsDownOnlyWhenItsOrphansAre(t *testing.T) {
	s := newTestSupervisor(t)
	seen := make(chan string, 4)
	// The child starts a process in another session, which ignores signals, and tells its number.
	p, err := s.Start(exec.CommandContext(t.Context(), "sh", "-c", `setsid sh -c 'trap "" TERM INT; echo $$; sleep 1000' & wait`), ProcessOptions{
		Parser: &lines{}, Log: func(e LogEntry) { seen <- e.Message },
	})
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(<-seen)
	if err != nil {
		t.Fatal(err)
	}
	p.Stop(StopKill)
	<-p.Done()
	if alive(orphan) {
		t.Error("the orphan is still there, or a zombie")
	}
	if p.Err() == nil {
		t.Error("a killed engine ended well")
	}
}

func TestWordsBeforeItServedAreNotTheLast(t *testing.T) {
	s := newTestSupervisor(t)
	p, err := s.Start(exec.CommandContext(t.Context(), "sh", "-c", "echo 'FATAL or not'; echo READY; echo bye; exit 3"), ProcessOptions{Parser: &lines{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Err(); err == nil || strings.Contains(err.Error(), "FATAL") {
		t.Errorf("it ended with %v", err)
	}
}

func TestEngineTellsItsLastWords(t *testing.T) {
	s := newTestSupervisor(t)
	p, err := s.Start(exec.CommandContext(t.Context(), "sh", "-c", "echo 'FATAL first'; echo 'FATAL no memory' >&2; echo bye; exit 3"), ProcessOptions{Parser: &lines{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Err(); got == nil || got.Error() != "FATAL no memory (exit status 3)" {
		t.Errorf("got %v", got)
	}
}

func TestStopSendsTheSignalOfItsMode(t *testing.T) {
	s := newTestSupervisor(t)
	started := make(chan string, 4)
	p, err := s.Start(exec.CommandContext(t.Context(), "sh", "-c", "trap 'exit 0' INT; echo ready; while :; do sleep 0.01; done"), ProcessOptions{
		Signals: map[StopMode]syscall.Signal{StopFast: syscall.SIGINT}, Parser: &lines{}, Log: func(e LogEntry) { started <- e.Message },
	})
	if err != nil {
		t.Fatal(err)
	}
	<-started
	p.Stop(StopFast)
	if err := p.Err(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	// Nothing happens when it is gone already.
	p.Stop(StopKill)
}

func TestCommandsAreNotReapedByTheReaper(t *testing.T) {
	s := newTestSupervisor(t)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			// Each leaves an orphan behind, so that the reaper is busy.
			if err := s.Command(exec.CommandContext(t.Context(), "sh", "-c", "(sleep 0.02 &) ; exit 0")); err != nil {
				t.Errorf("a command failed: %v", err)
			}
		})
	}
	group.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for {
		left, err := descendants()
		if err != nil || len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("orphans that nobody reaped: %v", left)
		}
		s.reap()
	}
}

func TestCommandIsKilledWithItsGroup(t *testing.T) {
	s := newTestSupervisor(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "sh", "-c", "echo $$; sleep 1000 & wait")
	reader, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Command(cmd); err == nil {
			t.Error("a command that was cancelled ended well")
		}
	})
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	leader, _ := strconv.Atoi(strings.TrimSpace(line))
	cancel()
	group.Wait()
	if alive(-leader) {
		deadline := time.Now().Add(10 * time.Second)
		for alive(-leader) && time.Now().Before(deadline) {
			s.reap()
		}
		if alive(-leader) {
			t.Error("the group is still there")
		}
	}
}

func TestParseStat(t *testing.T) {
	for line, want := range map[string]process{
		"42 (postgres) S 1 42 42 0":         {pid: 42, parent: 1, state: 'S'},
		"7 (a) b (c)) Z 3 1":                {pid: 7, parent: 3, state: 'Z'},
		"9 (postgres: x y(1) idle) R 42 1 ": {pid: 9, parent: 42, state: 'R'},
	} {
		if got, ok := parseStat([]byte(line)); !ok || got != want {
			t.Errorf("%q: got %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "42", "42 (x", "42 (x)", "42 (x) S", "x (y) S 1"} {
		if got, ok := parseStat([]byte(line)); ok {
			t.Errorf("%q: got %+v", line, got)
		}
	}
}

func TestBelowFindsGrandchildren(t *testing.T) {
	procs := []process{{pid: 1}, {pid: 5, parent: 1}, {pid: 9, parent: 7}, {pid: 7, parent: 5}, {pid: 6, parent: 1}}
	got := below(procs, 5)
	slices.SortFunc(got, func(a, b process) int { return a.pid - b.pid })
	if want := []process{{pid: 7, parent: 5}, {pid: 9, parent: 7}}; !cmp.Equal(got, want, cmp.AllowUnexported(process{})) {
		t.Errorf("got %+v", got)
	}
}
