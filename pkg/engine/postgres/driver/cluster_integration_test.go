//go:build integration

package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// What tests do with pods: a primary, replicas, and questions to them.

// try calls the driver.
func (p *pod) try(c call) (answer, error) {
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	var a answer
	begin := time.Now()
	if err := p.rpc.Call("Pod.Call", c, &a); err != nil {
		return a, err
	}
	fmt.Fprintf(p.log, "%s: %s took %v: %s\n", begin.Format(time.StampMilli), c.Method, time.Since(begin).Round(time.Millisecond), a.Error)
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (p *pod) do(c call) answer {
	p.t.Helper()
	a, err := p.try(c)
	if err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, c.Method, err)
	}
	return a
}

// eventually waits for a condition.
func (p *pod) eventually(what string, good func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if good() {
			return
		}
	}
	r, err := p.try(call{Method: "Replication"})
	p.t.Fatalf("%s: waiting for %s; it is %+v, %v", p.name, what, r.Replication, err)
}

func (p *pod) replication() agent.Replication {
	p.t.Helper()
	return p.do(call{Method: "Replication"}).Replication
}

// start starts the server, and waits until it answers.
func (p *pod) start(mode agent.StartMode) {
	p.t.Helper()
	p.do(call{Method: "PrepareStart", Mode: mode, DataID: p.dataID})
	p.do(call{Method: "Start"})
	p.eventually("an answer", func() bool {
		_, err := p.try(call{Method: "Replication"})
		if err != nil && !p.do(call{Method: "Running"}).Running {
			p.t.Fatalf("%s: the server does not start: %v", p.name, err)
		}
		return err == nil
	})
}

func (p *pod) stop(mode agent.StopMode) {
	p.t.Helper()
	p.do(call{Method: "Stop", Stop: mode})
}

// source is the pod as others follow it.
func (p *pod) source() *agent.Source {
	return &agent.Source{Instance: p.name, Host: "127.0.0.1", Port: p.port, DataID: p.dataID}
}

// newPrimary makes a database with the account of replication and a table.
func newPrimary(t *testing.T, settings ...string) *pod {
	t.Helper()
	p := newPod(t, "a", settings...)
	p.do(call{Method: "Bootstrap"})
	p.start(agent.StartPrimary)
	p.account(naming.ReplicationUser, password, "", "replication")
	p.account("app", "app", "orders", "application")
	p.exec("CREATE TABLE rows (id bigint PRIMARY KEY, filler text)")
	p.exec("GRANT ALL ON rows TO app")
	return p
}

func (p *pod) account(name, password, database string, roles ...string) {
	p.t.Helper()
	p.do(call{Method: "Account", Account: agent.Account{Password: password, InstanceAccount: dbv1.InstanceAccount{
		Username: name, Database: database, Roles: roles, State: dbv1.AccountPresent,
	}}})
}

// newReplica clones a source, and follows it.
func newReplica(t *testing.T, name string, source *pod, settings ...string) *pod {
	t.Helper()
	p := newPod(t, name, settings...)
	p.do(call{Method: "Clone", Source: source.source()})
	p.start(agent.StartReplica)
	p.follow(source)
	return p
}

// follow follows a source, and waits until that streams.
func (p *pod) follow(source *pod) {
	p.t.Helper()
	p.do(call{Method: "Follow", Source: source.source()})
	p.eventually("the source to stream", func() bool { return p.replication().Receiving })
}

// unfollow takes the source away, and waits until the position is known.
func (p *pod) unfollow() agent.Position {
	p.t.Helper()
	p.do(call{Method: "Follow"})
	var r agent.Replication
	p.eventually("a settled position", func() bool {
		r = p.replication()
		return r.Settled
	})
	return r.Position
}

// connect opens a superuser's connection, or, with a name, a client's.
func (p *pod) connect(username string) (*pgx.Conn, error) {
	dsn := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", p.path("run"), p.port)
	if username != "" {
		dsn = fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=postgres sslmode=disable", p.port, username, username)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pgx.Connect(ctx, dsn)
}

func (p *pod) mustConnect(username string) *pgx.Conn {
	p.t.Helper()
	conn, err := p.connect(username)
	p.must(err)
	p.t.Cleanup(func() { closeConn(conn) })
	return conn
}

func (p *pod) exec(sql string, args ...any) {
	p.t.Helper()
	conn, err := p.connect("")
	p.must(err)
	defer closeConn(conn)
	_, err = conn.Exec(context.Background(), sql, args...)
	p.must(err)
}

// value is the one value of a query.
func (p *pod) value(sql string, args ...any) string {
	p.t.Helper()
	conn, err := p.connect("")
	p.must(err)
	defer closeConn(conn)
	var value *string
	p.must(conn.QueryRow(context.Background(), "SELECT ("+sql+")::text", args...).Scan(&value))
	if value == nil {
		return ""
	}
	return *value
}

// caughtUp waits until a replica has replayed what the primary has now.
func (p *pod) caughtUp(primary *pod) {
	p.t.Helper()
	end := primary.replication().Position
	p.eventually("replay to catch up", func() bool { return p.replication().Position >= end })
}

// process finds a process of the server by its title.
func (p *pod) process(title string) int {
	p.t.Helper()
	for _, pid := range descendantsOf(p.cmd.Process.Pid) {
		content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(content), "postgres: orders: "+title) {
			return pid
		}
	}
	return 0
}

// freeze stops a process, and lets it go on when the test ends.
func (p *pod) freeze(pid int) {
	p.t.Helper()
	if pid == 0 {
		p.t.Fatal("no such process")
	}
	p.must(unix.Kill(pid, unix.SIGSTOP))
	p.t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGCONT) })
}

func (p *pod) thaw(pid int) { _ = unix.Kill(pid, unix.SIGCONT) }

func descendantsOf(root int) []int {
	parents := map[int]int{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parents[pid] = parentOf(stat)
	}
	var found []int
	for pid := range parents {
		for parent, known := parents[pid]; known; parent, known = parents[parent] {
			if parent == root {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// unprivileged is the account that servers run as: PostgreSQL refuses root.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("find an unprivileged user: %v", err)
	}
	uid, _ := strconv.ParseUint(account.Uid, 10, 32)
	gid, _ := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
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

// postmaster is the process id of the server.
func (p *pod) postmaster() int {
	p.t.Helper()
	content, err := os.ReadFile(p.path("volume", "pgdata", "postmaster.pid"))
	p.must(err)
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	p.must(err)
	return pid
}
