// Programs that outlive this one: those of the cluster, each started through the shim.

package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ShimCommand is the (hidden) subcommand of this program that calls Exec with its only argument.
const ShimCommand = "spawn"

// Spec describes a program to be started.
type Spec struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
	// Env is added to the environment of the caller.
	Env []string `json:"env,omitempty"`
	// Netns is the file of the network namespace to run in; none means the caller's.
	Netns string `json:"netns,omitempty"`
	// Cgroups are files cgroup.procs to be joined first, so that all descendants can be found and killed.
	Cgroups []string `json:"cgroups,omitempty"`
	// Record is the file in which the process records itself.
	Record string `json:"record"`
	// Files are inherited as file descriptors 3 and up.
	Files []*os.File `json:"-"`
	// Parent is the process that waits for the record; set by Start.
	Parent int `json:"parent"`
	// Begun is a file descriptor that the program does not inherit: its end tells that the shim has become it, or has ended; set by Start.
	Begun int `json:"begun,omitempty"`
}

// Table starts and stops named processes of one folder.
type Table struct {
	// Records is the folder of the records, Logs that of the output, NAME.log each.
	Records, Logs string
}

// Record returns the record of the named process; it is not alive if that was never started.
func (t Table) Record(name string) (Record, error) { return ReadRecord(t.file(name)) }

// Started returns when the named process was started last.
func (t Table) Started(name string) (time.Time, error) {
	info, err := os.Stat(t.file(name))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s was not started: %w", name, err)
	}
	return info.ModTime(), nil
}

// Start starts a program detached from this one, unless it runs already, and returns when it is recorded and runs.
func (t Table) Start(ctx context.Context, spec Spec) error {
	if r, err := t.Record(spec.Name); err != nil || r.Alive() {
		return err
	}
	spec.Record = t.file(spec.Name)
	if err := os.MkdirAll(t.Logs, 0o750); err != nil {
		return fmt.Errorf("making the log folder: %w", err)
	}
	log, err := os.OpenFile(t.Log(spec.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", spec.Name, err)
	}
	defer func() { _ = log.Close() }()
	begun, shim, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	defer func() { _ = begun.Close() }()
	spec.Begun = firstFile + len(spec.Files)
	spec.Files = append(slices.Clone(spec.Files), shim)
	cmd, err := Command(context.WithoutCancel(ctx), spec)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// The shim dies with the thread that starts it, and a thread may end with what another goroutine does on it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	_ = shim.Close()
	if err != nil {
		return fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	go func() { _ = cmd.Wait() }() // no zombie while we live; afterwards it is init's
	return t.awaitProgram(spec.Name, cmd.Process.Pid, begun)
}

// Log is the file with the output of the named process.
func (t Table) Log(name string) string { return filepath.Join(t.Logs, name+".log") }

// Stop ends the named process and forgets it.
func (t Table) Stop(name string, grace time.Duration) error {
	r, err := t.Record(name)
	if err != nil {
		return err
	}
	if err := r.Stop(grace); err != nil {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	if err := os.Remove(t.file(name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("forgetting %s: %w", name, err)
	}
	return nil
}

func (t Table) file(name string) string { return filepath.Join(t.Records, name+".json") }

// awaitProgram waits until the shim has become its program. While it does, the kernel may show it as a zombie.
func (t Table) awaitProgram(name string, pid int, begun *os.File) error {
	if err := begun.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("waiting for %s: %w", name, err)
	}
	if _, err := io.Copy(io.Discard, begun); err != nil {
		return fmt.Errorf("%s does not start: %w", name, err)
	}
	r, err := t.Record(name)
	if err == nil && (r.PID != pid || !r.Alive()) {
		err = fmt.Errorf("%s did not start, see %s", name, t.Log(name))
	}
	return err
}

// firstFile is the file descriptor of the first of Files.
const firstFile = 3

// Command returns the command that runs the program through the shim. Without a Record it belongs to the caller, and dies with it.
func Command(ctx context.Context, spec Spec) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the path of this program: %w", err)
	}
	spec.Parent = os.Getpid()
	argument, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", spec.Name, err)
	}
	cmd := exec.CommandContext(ctx, self, ShimCommand, string(argument))
	cmd.ExtraFiles = spec.Files
	return cmd, nil
}

// Exec is the shim: it joins the cgroups and the namespace, records the process, and becomes the program. It returns only errors.
//
// Until the record is written the shim dies with its parent: nobody would know of it. All that is done here concerns one thread,
// which is also the one that survives the exec.
func Exec(argument string) error {
	var spec Spec
	if err := json.Unmarshal([]byte(argument), &spec); err != nil {
		return fmt.Errorf("decoding the program to start: %w", err)
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("binding %s to its parent: %w", spec.Name, err)
	}
	if os.Getppid() != spec.Parent {
		return fmt.Errorf("the parent of %s has gone", spec.Name)
	}
	if spec.Begun != 0 {
		unix.CloseOnExec(spec.Begun)
	}
	for _, procs := range spec.Cgroups {
		if err := os.WriteFile(procs, []byte("0"), 0o600); err != nil {
			return fmt.Errorf("joining the cgroup of %s: %w", spec.Name, err)
		}
	}
	if spec.Netns != "" {
		if err := enterNetns(spec.Netns); err != nil {
			return err
		}
	}
	if spec.Record != "" {
		if err := outliveParent(spec.Record); err != nil {
			return err
		}
	}
	return become(&spec)
}

// become makes this process the program. It returns only errors.
func become(spec *Spec) error {
	path, err := exec.LookPath(spec.Args[0])
	if err != nil {
		return fmt.Errorf("finding %s: %w", spec.Name, err)
	}
	if err := syscall.Exec(path, spec.Args, append(os.Environ(), spec.Env...)); err != nil {
		return fmt.Errorf("becoming %s: %w", path, err)
	}
	return nil
}

// outliveParent records the process and ends its bond to the parent, in this order.
func outliveParent(file string) error {
	self, err := Self()
	if err != nil {
		return err
	}
	if err := self.write(file); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("releasing the bond to the parent: %w", err)
	}
	return nil
}

// enterNetns moves the calling thread into a network namespace. Unlike `ip netns exec` it leaves /sys as it is: remounting that
// would hide the cgroups from kubelet and containerd.
func enterNetns(file string) error {
	ns, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("opening a network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace %s: %w", file, err)
	}
	return nil
}
