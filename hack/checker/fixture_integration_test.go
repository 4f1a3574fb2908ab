//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/pkg/testing/postgres"
)

// The fixture is a database without an operator: real servers, which the test kills and promotes, behind a Service, which the test
// points at one of them. The checker is the real program.

const limit = 60 * time.Second

var (
	// checkerBinary is the checker, built as it goes into an image.
	checkerBinary string
	// template is a new data directory, made by the first test that needs one.
	template string
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "checker-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the servers' account has its template there
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	checkerBinary = filepath.Join(dir, "checker")
	build := exec.Command("go", "build", "-o", checkerBinary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the checker: %v: %s\n", err, output)
		return 1
	}
	return m.Run()
}

type fixture struct {
	t          *testing.T
	dir        string
	binaries   string
	credential *syscall.Credential
	service    *service
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, binaries: postgres.Programs(t), credential: postgres.Account(t)}
	var err error
	// Short: the path of a socket has at most 107 bytes.
	f.dir, err = os.MkdirTemp("", "chk") //nolint:usetesting // t.TempDir() is too long for a socket
	f.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(f.dir) })
	f.chown(f.dir)
	f.service = newService(t)
	f.must(os.WriteFile(f.path("uri"), []byte(uri(f.service.address())), 0o600))
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) chown(path string) {
	f.t.Helper()
	if f.credential != nil {
		f.must(os.Chown(path, int(f.credential.Uid), int(f.credential.Gid)))
	}
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// uri has what the operator's Secret has, of an account without special rights.
func uri(address string) string {
	return "postgresql://app:unused@" + address + "/app?connect_timeout=5&tcp_user_timeout=10000"
}

func (f *fixture) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(f.binaries, name), args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: f.credential, Setpgid: true}
	return cmd
}

func (f *fixture) run(name string, args ...string) {
	f.t.Helper()
	if output, err := f.program(name, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s: %v: %s", name, err, output)
	}
}

// server is one instance.
type server struct {
	*fixture
	name string
	port int
	cmd  *exec.Cmd
}

func (s *server) address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }
func (s *server) data() string    { return s.path(s.name) }
func (s *server) log() string     { return s.path(s.name + ".log") }

// newPrimary makes and starts a primary, and points the Service at it.
func (f *fixture) newPrimary() *server {
	f.t.Helper()
	s := &server{fixture: f, name: "db-0", port: freePort(f.t)}
	if template == "" {
		made := filepath.Join(filepath.Dir(checkerBinary), "template")
		f.must(os.Mkdir(made, 0o700))
		f.chown(made)
		f.run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "-D", made)
		template = made
	}
	f.must(os.CopyFS(s.data(), os.DirFS(template)))
	f.must(filepath.WalkDir(s.data(), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		f.chown(path)
		return err
	}))
	s.start()
	s.execute("CREATE ROLE app LOGIN")
	s.execute("CREATE DATABASE app OWNER app")
	f.service.point(s.address())
	return s
}

// newStandby makes and starts a streaming standby.
func (f *fixture) newStandby(of *server, name string) *server {
	f.t.Helper()
	s := &server{fixture: f, name: name, port: freePort(f.t)}
	f.run("pg_basebackup", "--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--pgdata="+s.data(),
		fmt.Sprintf("--dbname=host=127.0.0.1 port=%d user=postgres application_name=%s", of.port, name))
	s.start()
	of.await("streaming to "+name, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '"+name+"'")
	return s
}

func (s *server) start() {
	s.t.Helper()
	settings := []string{
		"listen_addresses = '127.0.0.1'", "port = " + strconv.Itoa(s.port), "unix_socket_directories = ''", "cluster_name = '" + s.name + "'",
		"fsync = off", "shared_buffers = 16MB", "restart_after_crash = off", "wal_receiver_status_interval = 1s", "lc_messages = 'C'",
	}
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	s.must(err)
	_, err = file.WriteString(strings.Join(settings, "\n") + "\n")
	s.must(errors.Join(err, file.Close()))
	log, err := os.Create(s.log())
	s.must(err)
	defer log.Close()
	s.cmd = s.program("postgres", "-D", s.data())
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.must(s.cmd.Start())
	s.t.Cleanup(func() { s.kill() })
	s.await("connections", "SELECT true")
}

// processes are the postmaster and its children, which have sessions and groups of their own.
func (s *server) processes() []int {
	pids := []int{s.cmd.Process.Pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	for field := range strings.FieldsSeq(string(children)) {
		pid, _ := strconv.Atoi(field)
		pids = append(pids, pid)
	}
	return pids
}

func (s *server) signal(sig syscall.Signal) {
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, sig)
	}
}

// kill ends the server as a node's end does: all of it at once.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGSTOP) // no new children
	s.signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// query asks for one value, as text; value does, and fails the test without one.
func (s *server) query(sql string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, uriOf(s.address()))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	value := ""
	err = conn.QueryRow(ctx, "SELECT coalesce(("+sql+")::text, '')").Scan(&value)
	return value, err
}

func uriOf(address string) string {
	return "postgresql://postgres@" + address + "/postgres?sslmode=disable"
}

func (s *server) value(sql string) string {
	s.t.Helper()
	value, err := s.query(sql)
	s.must(err)
	return value
}

// execute runs a statement that returns no row.
func (s *server) execute(sql string) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), uriOf(s.address()))
	s.must(err)
	_, err = conn.Exec(s.t.Context(), sql)
	s.must(errors.Join(err, conn.Close(s.t.Context())))
}

// await waits until a query is true.
func (s *server) await(what, sql string) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		value, err := s.query(sql)
		if err == nil && value == "true" {
			return
		}
		if time.Now().After(deadline) {
			content, _ := os.ReadFile(s.log())
			s.t.Fatalf("waiting for %s: %q, %v\n%s", what, value, err, content)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// promote makes a standby the primary.
func (s *server) promote() {
	s.t.Helper()
	if s.value("SELECT pg_promote()") != "true" {
		s.t.Fatal("it is not promoted")
	}
}

// service forwards connections to the server that it points at, as a Service does: connections that are there stay there.
type service struct {
	listener net.Listener
	mu       sync.Mutex
	to       string
}

func newService(t *testing.T) *service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go s.forward(client)
		}
	}()
	return s
}

func (s *service) address() string { return s.listener.Addr().String() }

func (s *service) point(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
}

func (s *service) forward(client net.Conn) {
	defer client.Close()
	s.mu.Lock()
	to := s.to
	s.mu.Unlock()
	backend, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer backend.Close()
	done := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		done <- struct{}{}
	}
	go pipe(client, backend)
	go pipe(backend, client)
	<-done
}

// checker is the program, at work.
type checker struct {
	*fixture
	cmd    *exec.Cmd
	output bytes.Buffer
	log    string
}

// startChecker starts "checker write" or "checker hold" with a log of that name.
func (f *fixture) startChecker(command, log string, args ...string) *checker {
	f.t.Helper()
	c := &checker{fixture: f, log: f.path(log)}
	c.cmd = exec.Command(checkerBinary, append([]string{command, "--credentials-dir", f.dir, "--log", c.log}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	f.must(c.cmd.Start())
	f.t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
	})
	return c
}

// stop ends it and returns what it saw.
func (c *checker) stop() history.RunReport {
	c.t.Helper()
	c.must(c.cmd.Process.Signal(syscall.SIGTERM))
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("the checker: %v: %s", err, c.output.String())
	}
	c.t.Logf("%s", c.output.String())
	h, err := history.LoadFiles(c.log)
	c.must(err)
	return history.Summarize(&h.Runs[len(h.Runs)-1])
}

// awaitWrites waits until so many more writes have the outcome, and returns all of them.
func (c *checker) awaitWrites(outcome history.Outcome, more int) []history.Write {
	c.t.Helper()
	var first int
	deadline := time.Now().Add(limit)
	for try := 0; ; try++ {
		var found []history.Write
		if h, err := history.LoadFiles(c.log); err == nil && len(h.Runs) > 0 {
			for _, w := range h.Runs[len(h.Runs)-1].Writes {
				if w.Outcome == outcome {
					found = append(found, w)
				}
			}
		}
		if try == 0 {
			first = len(found)
		}
		if len(found) >= first+more {
			return found
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d writes are %s, and no %d more: %s", first, outcome, more, c.output.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// verify runs "checker verify" and returns its exit code and report.
func (f *fixture) verify(logs ...string) (int, history.Report) {
	f.t.Helper()
	args := []string{"verify", "--credentials-dir", f.dir, "--json", f.path("report.json"), "--timeout", "3s"}
	for _, log := range logs {
		args = append(args, "--log", f.path(log))
	}
	cmd := exec.Command(checkerBinary, args...)
	output, err := cmd.CombinedOutput()
	f.t.Logf("verify: %v\n%s", err, output)
	report := history.Report{}
	if content, err := os.ReadFile(f.path("report.json")); err == nil {
		f.must(json.Unmarshal(content, &report))
	}
	return cmd.ProcessState.ExitCode(), report
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
