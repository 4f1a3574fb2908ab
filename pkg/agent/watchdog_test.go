package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/elector"
)

// The watchdog is tested with real processes: this program starts itself as a small agent, which starts
// itself as its watchdog, and a busy engine that ignores signals.

const roleVariable = "AGENT_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "agent":
		err = smallAgent()
	case "watchdog":
		err = RunWatchdog(context.Background(), os.NewFile(3, "watchdog"), os.Stdin, slices.Contains(os.Args, "--"+WatchdogContainerFlag))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// testReign is for how long the small agent may go on without renewing.
const testReign = time.Second

// smallAgent renews ten times a second. It says "watching", "running", and after the engine ended "down",
// with the number of kills, and whether the watchdog is still the same. Of two lines that it is told, the
// first ends the engine, and the second starts another one.
func smallAgent() error {
	if os.Getpid() == 1 {
		if err := mountProc(); err != nil {
			return err
		}
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	s, err := NewSupervisor(klog.Background())
	if err != nil {
		return err
	}
	go s.Run(ctx)
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(roleVariable, "watchdog"); err != nil {
		return err
	}
	w, err := NewWatchdog(s, program)
	if err != nil {
		return err
	}
	go w.Run(ctx)
	for !w.Healthy() {
		time.Sleep(10 * time.Millisecond)
	}
	say := func(format string, arguments ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", arguments...) }
	say("watching")
	go func() {
		for ctx.Err() == nil {
			r := elector.SystemClock{}.Read()
			w.Set(elector.Deadline{Boot: r.Boot + testReign, Wall: r.Wall + testReign})
			time.Sleep(100 * time.Millisecond)
		}
	}()
	input := bufio.NewScanner(os.Stdin)
	for {
		before := s.sparedOne()
		p, err := s.Start(exec.Command("sh", "-c", `trap "" TERM INT; setsid sh -c 'while :; do :; done' & (sleep 1000; true) & while :; do :; done`), ProcessOptions{Parser: &lines{}})
		if err != nil {
			return err
		}
		say("running")
		go func() {
			<-p.Done()
			say("down %d %v", w.Kills(), s.sparedOne() == before && before != 0)
		}()
		if !input.Scan() {
			return nil
		}
		p.Stop(StopKill)
		<-p.Done()
		if !input.Scan() {
			return nil
		}
	}
}

func (s *Supervisor) sparedOne() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid := range s.spared {
		return pid
	}
	return 0
}

// mountProc gives a PID namespace a /proc of its own.
func mountProc() error {
	return errors.Join(
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
	)
}

// guarded is a small agent, as the test sees it.
type guarded struct {
	t      *testing.T
	pid    int
	input  io.WriteCloser
	output *bufio.Scanner
}

func startGuarded(t *testing.T, container bool) *guarded {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleVariable+"=agent")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if container {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
	}
	g := &guarded{t: t}
	if g.input, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	g.output = bufio.NewScanner(output)
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("a PID namespace can only be made by root")
	} else if err != nil {
		t.Fatal(err)
	}
	g.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(g.pid, syscall.SIGCONT)
		left := g.below()
		_ = cmd.Process.Kill()
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = cmd.Wait()
	})
	g.expect("watching")
	g.expect("running")
	g.await("the engine", 4, 10*time.Second)
	return g
}

func (g *guarded) expect(want string) {
	g.t.Helper()
	if !g.output.Scan() || g.output.Text() != want {
		g.t.Fatalf("the agent says %q, not %q", g.output.Text(), want)
	}
}

// below are the processes below the agent that can still run.
func (g *guarded) below() []int {
	g.t.Helper()
	procs, err := readProcesses()
	if err != nil {
		g.t.Fatal(err)
	}
	var found []int
	for _, p := range below(procs, g.pid) {
		if p.state != 'Z' {
			found = append(found, p.pid)
		}
	}
	return found
}

// canRun is false for a zombie, too: whose child it is, reaps it when it likes.
func canRun(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	p, ok := parseStat(stat)
	return err == nil && ok && p.state != 'Z' && p.state != 'X'
}

func (g *guarded) watchdog() int {
	g.t.Helper()
	for _, pid := range g.below() {
		if environment, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); strings.Contains(string(environment), roleVariable+"=watchdog") &&
			!strings.HasPrefix(commandOf(pid), "sh") {
			return pid
		}
	}
	return 0
}

func commandOf(pid int) string {
	command, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return string(command)
}

// await waits until at least, or with zero at most the watchdog, so many run below the agent.
func (g *guarded) await(what string, count int, limit time.Duration) time.Duration {
	g.t.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		n := len(g.below())
		if count > 0 && n >= count || count == 0 && n <= 1 {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			g.t.Fatalf("%s: after %s there are %d processes below the agent", what, limit, n)
		}
	}
}

func (g *guarded) signal(sig syscall.Signal) {
	g.t.Helper()
	if err := syscall.Kill(g.pid, sig); err != nil {
		g.t.Fatal(err)
	}
}

func testWatchdog(t *testing.T, container bool) {
	t.Helper()
	// Somebody else's process, as large as life.
	bystander := exec.Command("sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	})
	g := startGuarded(t, container)
	watchdog := g.watchdog()

	// An agent that renews is left alone.
	time.Sleep(2 * testReign)
	if got := len(g.below()); got < 4 {
		t.Fatalf("only %d processes are left below an agent that renews", got)
	}
	// One that is stopped is not.
	g.signal(syscall.SIGSTOP)
	took := g.await("stopped", 0, 10*time.Second)
	if took < testReign/2 || took > testReign+time.Second {
		t.Errorf("the engine ended after %s, not within %s", took, testReign)
	}
	if !canRun(bystander.Process.Pid) || !canRun(g.pid) || g.watchdog() != watchdog {
		t.Errorf("the bystander lives: %v, the agent: %v, and the watchdog is %d, not %d", canRun(bystander.Process.Pid), canRun(g.pid), g.watchdog(), watchdog)
	}
	g.signal(syscall.SIGCONT)
	g.expect("down 1 true")

	// The next engine lives, and when it is stopped, the sweep spares the watchdog.
	if _, err := fmt.Fprint(g.input, "end\nstart\n"); err != nil {
		t.Fatal(err)
	}
	g.expect("running")
	g.await("the second engine", 4, 10*time.Second)
	if _, err := fmt.Fprint(g.input, "end\n"); err != nil {
		t.Fatal(err)
	}
	g.expect("down 1 true")

	// A watchdog that ends, or stands still, is followed by another one.
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		before := g.watchdog()
		if err := syscall.Kill(before, sig); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); g.watchdog() == 0 || g.watchdog() == before; time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > 20*time.Second {
				t.Fatalf("after %s the watchdog is not started again", sig)
			}
		}
	}
	// It ends with its agent.
	last := g.watchdog()
	g.signal(syscall.SIGKILL)
	for begin := time.Now(); canRun(last); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the watchdog outlives its agent")
		}
	}
}

func TestWatchdogKillsWhatDescendsFromTheAgent(t *testing.T) { testWatchdog(t, false) }

func TestWatchdogKillsAllOfItsContainer(t *testing.T) { testWatchdog(t, true) }

// It would kill every process of the machine.
func TestWatchdogKnowsWhereItMustNotKillAll(t *testing.T) {
	for _, c := range []struct {
		parent    int
		namespace string
		want      bool
	}{
		{1, "pid:[4026532201]", true},
		{7, "pid:[4026532201]", false},
		{1, "pid:[4026531836]", false},
		{1, "", false},
	} {
		if got := ownsNamespace(c.parent, c.namespace); got != c.want {
			t.Errorf("with parent %d in %q: %v", c.parent, c.namespace, got)
		}
	}
	if namespace, err := os.Readlink("/proc/self/ns/pid"); err != nil || ownsNamespace(os.Getppid(), namespace) {
		t.Errorf("it would kill all beside this test, in %q: %v", namespace, err)
	}
}
