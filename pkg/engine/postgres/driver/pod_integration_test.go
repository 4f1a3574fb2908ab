//go:build integration

package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// A pod is a process of its own with a driver in it, as an unprivileged user: the end of an engine
// ends every process of its pod, and a pod can be killed at any moment. It is this test's binary,
// which serves calls of the driver over its standard input and output.

const podVariable = "DRIVER_TEST_POD"

func TestMain(m *testing.M) {
	if options := os.Getenv(podVariable); options != "" {
		servePod(options)
		return
	}
	code := m.Run()
	if podBinary != "" {
		_ = os.RemoveAll(filepath.Dir(podBinary))
	}
	os.Exit(code)
}

// Package rpc wants exported types.
type (
	call   = Call
	answer = Answer
)

// Call is a call of one method; the fields that it does not need are empty.
type Call struct {
	Method      string
	Timeout     time.Duration
	Mode        agent.StartMode
	DataID      string
	DataIDs     []string
	Source      *agent.Source
	Synchronous agent.Synchronous
	Admit       bool
	Stop        agent.StopMode
	Account     agent.Account
}

// Answer is what the driver returned.
type Answer struct {
	Error        string
	CannotRewind bool
	Volume       agent.Volume
	Replication  agent.Replication
	Position     agent.Position
	Pending      []string
	Report       agent.Report
	Progress     []string
	Running      bool
}

type podServer struct {
	driver    *Driver
	configDir string
	mu        sync.Mutex
	engine    agent.Engine
}

type podOptions struct {
	VolumeDir, RunDir, PasswordFile, ConfigDir string
	Port                                       int
}

type stdio struct{ io.Reader }

func (stdio) Write(data []byte) (int, error) { return os.Stdout.Write(data) }
func (stdio) Close() error                   { return os.Stdin.Close() }

func servePod(encoded string) {
	var options podOptions
	if err := json.Unmarshal([]byte(encoded), &options); err != nil {
		panic(err)
	}
	supervisor, err := agent.NewSupervisor(klog.Background())
	if err != nil {
		panic(err)
	}
	go supervisor.Run(context.Background())
	driver := New(Options{
		VolumeDir: options.VolumeDir, RunDir: options.RunDir, Port: options.Port, PasswordFile: options.PasswordFile, Supervisor: supervisor,
		Log: func(e agent.LogEntry) { fmt.Fprintln(os.Stderr, e.Severity, e.Message, e.Values) },
	})
	server := rpc.NewServer()
	if err := server.RegisterName("Pod", &podServer{driver: driver, configDir: options.ConfigDir}); err != nil {
		panic(err)
	}
	server.ServeConn(stdio{os.Stdin})
}

// Call serves one call.
func (p *podServer) Call(c call, a *answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	if err := p.serve(ctx, c, a); err != nil {
		a.Error, a.CannotRewind = err.Error(), errors.Is(err, agent.ErrCannotRewind)
	}
	return nil
}

func (p *podServer) serve(ctx context.Context, c call, a *answer) (err error) { //nolint:cyclop // a table
	d := p.driver
	switch c.Method {
	case "Inspect":
		a.Volume, err = d.Inspect(ctx)
	case "Bootstrap":
		err = d.Bootstrap(ctx)
	case "Start":
		err = p.start(ctx)
	case "Stop":
		err = p.stop(ctx, c.Stop)
	case "Running":
		a.Running = d.running()
	case "Reload":
		a.Pending, err = d.Reload(ctx)
	case "Probe":
		a.Report, err = d.Probe(ctx)
	case "Account":
		err = d.Account(ctx, c.Account).Err
	case "PrepareStart":
		err = d.PrepareStart(ctx, c.Mode, c.DataID)
	case "Follow":
		err = d.Follow(ctx, c.Source)
	case "Promote":
		err = d.Promote(ctx)
	case "Rewind":
		err = d.Rewind(ctx, *c.Source)
	case "Clone":
		err = d.Clone(ctx, *c.Source, func(message string) { a.Progress = append(a.Progress, message) })
	case "SetSynchronous":
		err = d.SetSynchronous(ctx, c.Synchronous)
	case "SetReplicas":
		err = d.SetReplicas(ctx, c.DataIDs)
	case "AdmitClients":
		err = d.AdmitClients(ctx, c.Admit)
	case "Replication":
		a.Replication, err = d.Replication(ctx)
	case "Checkpoint":
		err = d.Checkpoint(ctx)
	case "EndOfLog":
		a.Position, err = d.EndOfLog(ctx)
	case "TestStorage":
		err = d.TestStorage(ctx)
	default:
		err = fmt.Errorf("no method %s", c.Method)
	}
	return err
}

func (p *podServer) start(ctx context.Context) error {
	engine, err := p.driver.Start(ctx, p.configDir)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.engine = engine
	return nil
}

func (p *podServer) stop(ctx context.Context, mode agent.StopMode) error {
	p.mu.Lock()
	engine := p.engine
	p.mu.Unlock()
	if engine == nil {
		return nil
	}
	engine.Stop(mode)
	select {
	case <-engine.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What follows is the test's side.

var (
	podOnce   sync.Once
	podBinary string
	podErr    error
)

// copyBinary copies this binary to where everybody may run it.
func copyBinary(t *testing.T) string {
	t.Helper()
	podOnce.Do(func() {
		dir, err := os.MkdirTemp("", "driver-pod-") //nolint:usetesting // it outlives the test that makes it
		if err != nil {
			podErr = err
			return
		}
		podBinary = filepath.Join(dir, "pod")
		self, err := os.Executable()
		if err == nil {
			err = exec.Command("cp", self, podBinary).Run()
		}
		podErr = errors.Join(err, os.Chmod(dir, 0o755), os.Chmod(podBinary, 0o755))
	})
	if podErr != nil {
		t.Fatal(podErr)
	}
	return podBinary
}

type pod struct {
	t          *testing.T
	name       string
	dataID     string
	dir        string
	port       int
	credential *syscall.Credential

	cmd *exec.Cmd
	rpc *rpc.Client
	log *os.File
}

const password = `pa:ss\w'o"rd`

// requirePostgres skips without PostgreSQL, or fails where it must be there.
func requirePostgres(t *testing.T) {
	t.Helper()
	if _, err := binaryPath("initdb", ""); err == nil {
		return
	}
	if os.Getenv("TEST_REQUIRE_POSTGRES") != "" {
		t.Fatal("PostgreSQL is not installed")
	}
	t.Skip("PostgreSQL is not installed: there is no initdb in PATH or /usr/lib/postgresql/*/bin")
}

// newPod makes a pod with an empty volume.
func newPod(t *testing.T, name string, settings ...string) *pod {
	t.Helper()
	requirePostgres(t)
	// Short: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "drv") //nolint:usetesting // t.TempDir() is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, name: name, dataID: strings.ToUpper(name) + "7QK2", dir: dir, port: freePort(t), credential: unprivileged(t)}
	t.Cleanup(p.end)
	for _, sub := range []string{"volume", "run", "config"} {
		p.must(os.Mkdir(p.path(sub), 0o700))
	}
	p.configure(settings...)
	p.write("password", password+"\n")
	p.log, err = os.Create(p.path("log"))
	p.must(err)
	p.must(exec.Command("chown", "-R", p.owner(), dir).Run())
	p.launch()
	return p
}

func (p *pod) owner() string {
	if p.credential == nil {
		return strconv.Itoa(os.Getuid())
	}
	return fmt.Sprintf("%d:%d", p.credential.Uid, p.credential.Gid)
}

func (p *pod) path(names ...string) string {
	return filepath.Join(append([]string{p.dir}, names...)...)
}

func (p *pod) write(name, content string) {
	p.t.Helper()
	p.must(os.WriteFile(p.path(name), []byte(content), 0o644))
}

// configure writes what the operator would render, small.
func (p *pod) configure(settings ...string) {
	p.t.Helper()
	p.write("config/postgresql.conf", "listen_addresses = '127.0.0.1'\nlog_line_prefix = '%m [%p] %q%u@%d '\nlc_messages = 'C'\n"+
		"restart_after_crash = off\nshared_buffers = 16MB\nmax_connections = 20\nwal_level = replica\nwal_log_hints = on\nhot_standby = on\n"+
		"wal_receiver_status_interval = 1s\nwal_sender_timeout = 5s\nwal_receiver_timeout = 5s\nwal_keep_size = 256MB\nmin_wal_size = 80MB\n"+
		"cluster_name = 'orders'\n"+strings.Join(settings, "\n")+"\n")
	p.write("config/pg_hba.conf", "local all postgres peer map=agent\nhost all postgres all reject\n"+
		"host replication db_replication all scram-sha-256\nhost all all all scram-sha-256\n")
	p.write("config/pg_ident.conf", "agent /^.*$ postgres\n")
}

// launch starts the process of the pod.
func (p *pod) launch() {
	p.t.Helper()
	options, err := json.Marshal(podOptions{
		VolumeDir: p.path("volume"), RunDir: p.path("run"), Port: p.port, PasswordFile: p.path("password"), ConfigDir: p.path("config"),
	})
	p.must(err)
	p.cmd = exec.Command(copyBinary(p.t))
	p.cmd.Env = append(os.Environ(), podVariable+"="+string(options))
	p.cmd.Dir = "/"
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential, Setpgid: true}
	in, err := p.cmd.StdinPipe()
	p.must(err)
	out, err := p.cmd.StdoutPipe()
	p.must(err)
	p.must(p.cmd.Start())
	p.rpc = rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})
}

// kill ends all processes of the pod at once, as the kernel does when the first one dies.
func (p *pod) kill() {
	if p.cmd == nil {
		return
	}
	for {
		pids := append(descendantsOf(p.cmd.Process.Pid), p.cmd.Process.Pid)
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGSTOP)
		}
		if len(descendantsOf(p.cmd.Process.Pid))+1 == len(pids) {
			for _, pid := range pids {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			break
		}
	}
	_ = p.cmd.Wait()
	_ = p.rpc.Close()
	p.cmd = nil
}

// relaunch is a new container on the same volume.
func (p *pod) relaunch() {
	p.t.Helper()
	p.kill()
	p.launch()
}

func (p *pod) end() {
	p.kill()
	if p.t.Failed() || os.Getenv("SHOWLOG") != "" {
		content, _ := os.ReadFile(p.path("log"))
		p.t.Logf("the log of %s:\n%s", p.name, content[max(0, len(content)-12000):])
	}
	_ = p.log.Close()
	_ = os.RemoveAll(p.dir)
}

func (p *pod) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}
