// Programs that end with this one: those of the API server for tests.

package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Child is a program that lives no longer than this one.
type Child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; to be read after done
}

// StartChild starts a program that the kernel kills when this one ends, however that happens. Its output goes to the log file. The
// end of the context does not end it: children are stopped in order.
func StartChild(ctx context.Context, name, logFile string, args ...string) (*Child, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, fmt.Errorf("making the log of %s: %w", name, err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own keeps a Ctrl-C in the terminal from stopping it before what depends on it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c := &Child{name: name, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel's notion of a parent is the thread that forked: it has to stay for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = log.Close() }()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return c, nil
}

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says that the child has ended and how.
func (c *Child) Err() error {
	if c.err == nil {
		return fmt.Errorf("%s ended", c.name)
	}
	return fmt.Errorf("%s ended: %w", c.name, c.err)
}

// Stop asks the child to end, kills it after the grace period, and returns once it is gone.
func (c *Child) Stop(grace time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}
