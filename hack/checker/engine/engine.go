// Package engine is what the checker needs of a database engine. An engine that has no transactions maps to it as well: for Redis, a
// write is a SET, and WAIT that counts too few replicas is a confirmation under reservation (history.Unknown).
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/platform-io/database-operator/hack/checker/history"
)

// Engine reaches one database, or one instance of it.
type Engine interface {
	// Connect opens a session.
	Connect(ctx context.Context) (Session, error)
	// Prepare makes the place for rows, unless it is there.
	Prepare(ctx context.Context) error
	// ReadBack returns the rows of the runs. It reads from nothing but a primary, unless an instance was targeted.
	ReadBack(ctx context.Context, runs []string) (history.Readback, error)
	// Reason sorts errors: the engine's own code, or a word.
	Reason(err error) string
}

// Session is one connection. None of its methods runs beside another.
type Session interface {
	// Write writes a row, calls sent before it asks for the commit, and says what came of it. It never asks the server to cancel
	// anything: a cancelled wait for replicas would make the commit visible, and that is a fault of its own.
	Write(ctx context.Context, id history.ID, sent func()) history.Attempt
	// Newest reads the newest sequence of every worker of a run.
	Newest(ctx context.Context, run string, workers int) ([]int64, history.Server, error)
	// Identify asks the server who it is.
	Identify(ctx context.Context) (history.Server, error)
	// Idle waits. It returns nil when the context is done, and an error when the other side ended the session.
	Idle(ctx context.Context) error
	// Close ends the session.
	Close()
}

// Access is how a database is reached.
type Access struct {
	// URIFile holds the connection's URI. It is read for every connection: credentials change.
	URIFile string
	// Target is a host and port to use in place of those of the URI.
	Target string
	// ConnectTimeout bounds an attempt to connect to one address.
	ConnectTimeout time.Duration
	// Timeout bounds how long what was sent may go without the peer's acknowledgement, by the transport.
	Timeout time.Duration
	// InstanceExpression names the instance, in the engine's language.
	InstanceExpression string
}

// URI reads the URI.
func (a Access) URI() (string, error) {
	content, err := os.ReadFile(a.URIFile)
	if err != nil {
		return "", fmt.Errorf("read the connection's URI: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// Dialer makes connections that end when the peer is gone.
func (a Access) Dialer() *net.Dialer {
	return &net.Dialer{
		Control: func(_, _ string, connection syscall.RawConn) error { return setUserTimeout(connection, a.Timeout) },
	}
}

// Reason sorts the errors of a network.
func Reason(err error) string {
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &dns):
		return "name not resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	default:
		return "other"
	}
}
