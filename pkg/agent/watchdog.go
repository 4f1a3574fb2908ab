package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/elector"
)

// The watchdog, as the agent sees it.
//
// A primary must be down when its time is over, also when the agent does not run any more (it was
// stopped, it deadlocked, its threads hang in the kernel). A second process sees to that: the agent
// keeps the deadline in memory that both share, and the watchdog kills the engine when it has passed.
//
// The agent starts it, and again whenever it ends or stands still. It ends with the agent: its standard
// input is a pipe that nobody writes to, and that is closed then. It is no part of the engine, so the
// sweep after the engine's end leaves it alone.

const (
	// watchdogLook is the pause between two looks at the watchdog.
	watchdogLook = 250 * time.Millisecond
	// After so many looks without a beat in between it is not healthy, or is started anew. Looks are
	// counted, not time: when both were frozen, it has as many turns as the agent.
	looksHealthy, looksAlive = 4, 8
)

// What the shared page has, as 64-bit words.
const (
	// pageBeats grows with each turn of the watchdog.
	pageBeats = iota
	// pageBoot and pageWall are the deadline. Each is written at once, and both have been parts of
	// deadlines that the agent set: that they are not written together does no harm.
	pageBoot
	pageWall
	// pageKills counts the deadlines that passed.
	pageKills
	pageWords
)

// page is memory that two processes share.
type page []atomic.Int64

// mapPage maps the memory of a file.
func mapPage(file *os.File) (page, error) {
	size := pageWords * int(unsafe.Sizeof(atomic.Int64{}))
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of the watchdog: %w", err)
	}
	//nolint:gosec // the mapping begins at a page, and is never unmapped
	return unsafe.Slice((*atomic.Int64)(unsafe.Pointer(unsafe.SliceData(memory))), pageWords), nil
}

func (p page) deadline() elector.Deadline {
	return elector.Deadline{Boot: time.Duration(p[pageBoot].Load()), Wall: time.Duration(p[pageWall].Load())}
}

// Watchdog is a second process that ends the engine when the agent does not.
type Watchdog struct {
	supervisor *Supervisor
	program    []string
	memory     *os.File
	page       page
	healthy    atomic.Bool
}

// NewWatchdog makes one that is not started yet. The program runs RunWatchdog, with the memory as its file 3.
func NewWatchdog(supervisor *Supervisor, program ...string) (*Watchdog, error) {
	fd, err := unix.MemfdCreate("watchdog", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make the memory of the watchdog: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "watchdog")
	if err := memory.Truncate(int64(os.Getpagesize())); err != nil {
		return nil, fmt.Errorf("make the memory of the watchdog: %w", err)
	}
	page, err := mapPage(memory)
	if err != nil {
		return nil, err
	}
	if os.Getpid() == 1 {
		program = append(slices.Clip(program), "--"+WatchdogContainerFlag)
	}
	return &Watchdog{supervisor: supervisor, program: program, memory: memory, page: page}, nil
}

// Set sets the deadline; the zero one for none.
func (w *Watchdog) Set(d elector.Deadline) {
	w.page[pageBoot].Store(int64(d.Boot))
	w.page[pageWall].Store(int64(d.Wall))
}

// Healthy says whether it watches. Before it does, no engine may become primary.
func (w *Watchdog) Healthy() bool { return w.healthy.Load() }

// Kills is how many deadlines passed.
func (w *Watchdog) Kills() int64 { return w.page[pageKills].Load() }

// Run keeps the process running until the context ends.
func (w *Watchdog) Run(ctx context.Context) {
	logger := klog.LoggerWithName(klog.FromContext(ctx), "watchdog")
	for {
		err := w.run(ctx)
		w.healthy.Store(false)
		if ctx.Err() != nil {
			return
		}
		logger.Error(err, "The watchdog ended; it is started again")
		if !pause(ctx, watchdogLook) {
			return
		}
	}
}

// run starts the process, and returns when it has ended.
func (w *Watchdog) run(ctx context.Context) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the watchdog: %w", err)
	}
	defer writer.Close()
	//nolint:noctx // it is killed below, and waited for
	cmd := exec.Command(w.program[0], w.program[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = reader, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{w.memory}
	ownGroup(cmd)
	err = w.supervisor.startSpared(cmd)
	_ = reader.Close()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		w.supervisor.forget(cmd.Process.Pid)
	}()
	still := w.look(ctx, ended)
	_ = cmd.Process.Kill()
	err = <-ended
	if still {
		return errors.New("it stood still")
	}
	return err
}

// look watches the watchdog until it has ended, stands still, or is not needed any more. It says
// whether it stands still.
func (w *Watchdog) look(ctx context.Context, ended chan error) bool {
	ticker := time.NewTicker(watchdogLook)
	defer ticker.Stop()
	// What an earlier process left is no beat of this one.
	last, looks := w.page[pageBeats].Load(), looksHealthy
	for looks < looksHealthy+looksAlive {
		select {
		case <-ctx.Done():
			return false
		case err := <-ended:
			ended <- err
			return false
		case <-ticker.C:
		}
		looks++
		if beats := w.page[pageBeats].Load(); beats != last {
			last, looks = beats, 0
		}
		w.healthy.Store(looks < looksHealthy)
	}
	return true
}
