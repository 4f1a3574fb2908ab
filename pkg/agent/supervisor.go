package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// Processes.
//
// The agent is PID 1: orphans become its children, and it must reap them, but never a process that
// os/exec waits for. So every process is started through the Supervisor, which knows those, and the
// reaper takes only zombies that it does not know. (Elsewhere than in a container the agent asks
// to be the reaper of its subtree.)
//
// An engine has ended when its first process ended and then every other process of the container but
// the watchdog was killed and reaped: a PostgreSQL backend that outlives its postmaster can still
// commit and acknowledge, and a zombie still counts as alive for the next postmaster.

// sweepPause is how long the sweep waits for killed processes before it looks again.
const sweepPause = 5 * time.Millisecond

// Supervisor starts and ends processes.
type Supervisor struct {
	logger klog.Logger
	// procs lists the processes that are ours to end.
	procs func() ([]process, error)

	// mu is held while a process is started, and while zombies are reaped: in between, a child
	// that ended at once could be taken for an orphan.
	mu    sync.Mutex
	known map[int]struct{}
	// spared are those of them that the sweep leaves alone.
	spared map[int]struct{}
}

// NewSupervisor makes this process the reaper of its orphans.
func NewSupervisor(logger klog.Logger) (*Supervisor, error) {
	s := &Supervisor{logger: klog.LoggerWithName(logger, "supervisor"), known: map[int]struct{}{}, spared: map[int]struct{}{}}
	if os.Getpid() == 1 {
		s.procs = allProcesses
		return s, nil
	}
	s.procs = descendants
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the reaper of orphans: %w", err)
	}
	return s, nil
}

// Run reaps orphans until the context ends.
func (s *Supervisor) Run(ctx context.Context) {
	signals, stop := notifyChildren()
	defer stop()
	for {
		s.reap()
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
	}
}

// Command runs a command to its end. When its context ends, its whole process group is killed.
func (s *Supervisor) Command(cmd *exec.Cmd) error {
	ownGroup(cmd)
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := s.start(cmd); err != nil {
		return err
	}
	defer s.forget(cmd.Process.Pid)
	return cmd.Wait()
}

// ProcessOptions say how to treat an engine that is a child process.
type ProcessOptions struct {
	// Signals has the signal of each soft way to stop it.
	Signals map[StopMode]syscall.Signal
	// Parser understands its output.
	Parser LogParser
	// Log takes the parsed output.
	Log func(LogEntry)
}

// Start starts an engine as a child process, in a process group of its own.
func (s *Supervisor) Start(cmd *exec.Cmd, options ProcessOptions) (*Process, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the output of %s: %w", cmd.Path, err)
	}
	defer writer.Close()
	ownGroup(cmd)
	// A file, not an io.Writer: Wait would otherwise wait for orphans that hold the pipe.
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := s.start(cmd); err != nil {
		_ = reader.Close()
		return nil, err
	}
	p := &Process{supervisor: s, cmd: cmd, signals: options.Signals, done: make(chan struct{})}
	pump := newPump(options.Parser, func(e LogEntry) {
		switch {
		case e.Fatal:
			p.lastWords.Store(&e.Message)
		case e.Serves:
			p.lastWords.Store(nil)
		}
		if options.Log != nil {
			options.Log(e)
		}
	})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		pump.run(reader)
	}()
	go p.wait(reader, drained)
	return p, nil
}

func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

func (s *Supervisor) start(cmd *exec.Cmd) error { return s.startAs(cmd, s.known) }

// startSpared starts a process that is no part of the engine.
func (s *Supervisor) startSpared(cmd *exec.Cmd) error { return s.startAs(cmd, s.known, s.spared) }

func (s *Supervisor) startAs(cmd *exec.Cmd, kinds ...map[int]struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	for _, kind := range kinds {
		kind[cmd.Process.Pid] = struct{}{}
	}
	return nil
}

// spares is asked after a process was listed: one that was listed while it was started is known then.
func (s *Supervisor) spares(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, spared := s.spared[pid]
	return spared
}

func (s *Supervisor) forget(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, pid)
	delete(s.spared, pid)
}

// reap takes every zombie among our children that nobody waits for.
func (s *Supervisor) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The peek costs one call when there is nothing to do, which is nearly always.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.Signo == 0 {
		return
	}
	procs, err := readProcesses()
	if err != nil {
		s.logger.Error(err, "Could not look for orphans")
		return
	}
	for _, p := range procs {
		if _, waited := s.known[p.pid]; waited || p.state != 'Z' || p.parent != os.Getpid() {
			continue
		}
		_, err := unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		s.logger.V(4).Info("Reaped an orphan", "pid", p.pid, "err", err)
	}
}

// sweep kills every other process that is ours, and returns when none is left. It does not give
// up: as long as one lives, the engine is not down.
func (s *Supervisor) sweep() {
	for round := 0; ; round++ {
		left, err := s.killAll()
		switch {
		case err != nil:
			s.logger.Error(err, "Could not list the processes that may have outlived the engine")
		case left == 0:
			return
		}
		if round%200 == 199 {
			s.logger.Info("Processes outlive SIGKILL; the engine is not started before they are gone", "processes", left)
		}
		time.Sleep(sweepPause)
		s.reap()
	}
}

func (s *Supervisor) killAll() (int, error) {
	procs, err := s.procs()
	if err != nil {
		return 0, err
	}
	left := 0
	for _, p := range procs {
		// A zombie of another parent (of kubectl exec) cannot return to user mode, and is not
		// ours to reap.
		if p.state == 'Z' && p.parent != os.Getpid() || s.spares(p.pid) {
			continue
		}
		// One that we may not signal runs as another user (a debugging container that shares our
		// processes): it is nothing that the engine left.
		if p.state != 'Z' && errors.Is(unix.Kill(p.pid, unix.SIGKILL), unix.EPERM) {
			continue
		}
		left++
	}
	return left, nil
}

// Process is an engine that is a child process.
type Process struct {
	supervisor *Supervisor
	cmd        *exec.Cmd
	signals    map[StopMode]syscall.Signal
	lastWords  atomicString
	done       chan struct{}
	err        error
}

// wait waits for the end of the child, then for the end of everything that it left.
func (p *Process) wait(output *os.File, drained <-chan struct{}) {
	err := p.cmd.Wait()
	p.supervisor.forget(p.cmd.Process.Pid)
	p.supervisor.sweep()
	// All writers are gone, so what is in the pipe is the rest.
	<-drained
	_ = output.Close()
	p.err = p.describe(err)
	close(p.done)
}

func (p *Process) describe(err error) error {
	words := p.lastWords.Load()
	switch {
	case err == nil:
		return nil
	case words == nil:
		return err
	}
	return fmt.Errorf("%s (%w)", *words, err)
}

// Stop implements Engine.
func (p *Process) Stop(mode StopMode) {
	signal, ok := p.signals[mode]
	if !ok {
		signal = syscall.SIGKILL
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.supervisor.logger.Error(err, "Could not signal the engine", "signal", signal)
	}
}

// Done implements Engine.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err implements Engine.
func (p *Process) Err() error {
	<-p.done
	return p.err
}
