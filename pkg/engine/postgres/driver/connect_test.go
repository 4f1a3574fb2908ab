package driver

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/platform-io/database-operator/pkg/agent"
)

// fakeServer listens where a server does, and answers each connection. It returns the driver for it.
func fakeServer(t *testing.T, answer func(net.Conn, *pgproto3.Backend)) *Driver {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg") //nolint:usetesting // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := New(Options{VolumeDir: dir, RunDir: dir, Port: 5432})
	if answer == nil {
		return d
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(d.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				backend := pgproto3.NewBackend(conn, conn)
				if _, err := backend.ReceiveStartupMessage(); err == nil {
					answer(conn, backend)
				}
			}()
		}
	}()
	return d
}

// refuses answers as a server that lets nobody in.
func refuses(code string) func(net.Conn, *pgproto3.Backend) {
	return func(_ net.Conn, backend *pgproto3.Backend) {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"})
		_ = backend.Flush()
	}
}

func admits(_ net.Conn, backend *pgproto3.Backend) {
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
}

// cannotFork answers as the postmaster itself does, which has no time for a protocol.
func cannotFork(conn net.Conn, _ *pgproto3.Backend) {
	_, _ = conn.Write([]byte("Ecould not fork new process for connection: Resource temporarily unavailable\n\x00"))
}

func TestWhatAServerSaysShowsThatItIsAlive(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(net.Conn, *pgproto3.Backend)
		alive  bool
	}{
		"nothing":        {nil, false},
		"it hangs up":    {func(net.Conn, *pgproto3.Backend) {}, false},
		"it recovers":    {refuses("57P03"), true},
		"it is full":     {refuses(codeTooManyConnections), true},
		"it cannot fork": {cannotFork, true},
		"pg_hba.conf":    {refuses("28000"), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fakeServer(t, test.answer).Probe(t.Context())
			if err == nil || errors.Is(err, agent.ErrAlive) != test.alive {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Under load it may let the agent in, and not answer its question in time.
func TestAServerThatLetsTheAgentInIsAlive(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := fakeServer(t, func(conn net.Conn, backend *pgproto3.Backend) {
		admits(conn, backend)
		_, _ = backend.Receive()
		cancel()
		_, _ = backend.Receive()
	})
	if _, err := d.Probe(ctx); !errors.Is(err, agent.ErrAlive) {
		t.Errorf("got %v", err)
	}
}

// The look at replication has the same connection, and may have kept the call waiting until it was late.
func TestWhatTheLookAtReplicationHeardCounts(t *testing.T) {
	d := fakeServer(t, refuses(codeTooManyConnections))
	if _, err := d.Replication(t.Context()); err == nil {
		t.Fatal("it sees replication")
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	for _, alive := range []bool{true, false} {
		if _, err := d.Probe(late); err == nil || errors.Is(err, agent.ErrAlive) != alive {
			t.Errorf("want alive: %v, got %v", alive, err)
		}
	}
}

// A server is told of other files where somebody sees what comes of them, or where they may be what helps.
func TestWhichServerIsToldOfFilesBeforeItIsAsked(t *testing.T) {
	for name, test := range map[string]struct {
		answer         func(net.Conn, *pgproto3.Backend)
		inForce, other bool
	}{
		"nothing":       {nil, true, true},
		"pg_hba.conf":   {refuses("28000"), true, true},
		"it is full":    {refuses(codeTooManyConnections), true, false},
		"it lets us in": {admits, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := fakeServer(t, test.answer)
			d.configDir, d.inForce = d.VolumeDir, realPath(d.VolumeDir)
			// Nothing is there that could be signalled.
			if told := errors.Is(d.tell(t.Context(), d.filesFolder()), errNotUp); told != test.inForce {
				t.Errorf("of the files that are in force it is told: %v", told)
			}
			d.inForce = "other"
			if told := errors.Is(d.tell(t.Context(), d.filesFolder()), errNotUp); told != test.other {
				t.Errorf("of other files it is told: %v", told)
			}
		})
	}
}
