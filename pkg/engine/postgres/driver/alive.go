package driver

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Whether a server that cannot be used is alive.
//
// One that recovers, stops, has no connection or process left, or is slow says something, if not what it
// was asked for. Then nothing is gained by other settings or a restart. What pg_hba.conf may be the
// reason of says nothing, and neither does a connection that is taken and left waiting.

// aliveError is an agent.ErrAlive.
type aliveError struct{ error }

func (e aliveError) Unwrap() error { return e.error }

func (e aliveError) Is(target error) bool { return target == agent.ErrAlive }

// ear notes whether the other side said anything.
type ear struct {
	net.Conn
	heard *atomic.Bool
}

func (e ear) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if n > 0 {
		e.heard.Store(true)
	}
	return n, err
}

// longestMessage is what PostgreSQL allows. One that cannot fork says so in the words of an old protocol, and
// they would be taken for the length of a message that is to be made room for.
const longestMessage = 1<<30 - 1

// listenTo returns what will say whether the server was heard.
func listenTo(config *pgx.ConnConfig) *atomic.Bool {
	heard, connect := new(atomic.Bool), config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := connect(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return ear{conn, heard}, nil
	}
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		frontend := pgproto3.NewFrontend(r, w)
		frontend.SetMaxBodyLen(longestMessage)
		return frontend
	}
	return heard
}
