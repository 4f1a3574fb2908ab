// Package postgres lets the checker write to PostgreSQL.
//
// A write is one transaction of three requests: BEGIN, INSERT, COMMIT. Until COMMIT is sent, whatever fails has certainly not been
// committed, because the server gives up a transaction whose client is gone. From then on, only the answer tells:
//
//   - success without a warning: acknowledged;
//   - success with a warning: unknown. The wait for the synchronous standbys was cancelled: the commit is on this server alone;
//   - success that says ROLLBACK, or an ERROR: failed;
//   - anything else, a FATAL error among it, which can come before or after the commit: unknown.
//
// The table has no unique key: a key would refuse the second row of an ID in place of showing it.
//
// The timeline is that of the write-ahead log position, not that of pg_control_checkpoint(), which is the old one until the first
// checkpoint after a promotion.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/history"
)

// InstanceExpression is the default of engine.Access.InstanceExpression.
const InstanceExpression = "current_setting('cluster_name', true)"

const (
	undefinedTable = "42P01"
	closeTimeout   = time.Second
)

const create = `
CREATE TABLE IF NOT EXISTS checker_writes (
	run text NOT NULL, worker integer NOT NULL, sequence bigint NOT NULL,
	instance text NOT NULL, address text NOT NULL, started text NOT NULL, epoch bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS checker_writes_newest ON checker_writes (run, worker, sequence)`

// identity has the columns instance, address, started, epoch, process and position. A server in recovery has no position to write at.
const identity = `SELECT coalesce((%s)::text, '') AS instance,
	coalesce(host(inet_server_addr()) || ':' || inet_server_port(), '') AS address,
	extract(epoch FROM pg_postmaster_start_time())::text AS started,
	CASE WHEN pg_is_in_recovery() THEN 0
		ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END AS epoch,
	pg_backend_pid()::bigint AS process,
	CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS position`

// Engine implements engine.Engine.
type Engine struct {
	access   engine.Access
	identity string
	insert   string
}

// New returns an engine.
func New(access engine.Access) *Engine {
	expression := access.InstanceExpression
	if expression == "" {
		expression = InstanceExpression
	}
	identify := fmt.Sprintf(identity, expression)
	return &Engine{
		access:   access,
		identity: identify,
		insert: `WITH server AS MATERIALIZED (` + identify + `)
			INSERT INTO checker_writes (run, worker, sequence, instance, address, started, epoch)
			SELECT $1::text, $2::integer, $3::bigint, instance, address, started, epoch FROM server
			RETURNING instance, address, started, epoch, (SELECT process FROM server), pg_current_wal_insert_lsn()::text`,
	}
}

// Connect implements engine.Engine.
func (e *Engine) Connect(ctx context.Context) (engine.Session, error) {
	s, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (e *Engine) connect(ctx context.Context) (*session, error) {
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	s := &session{engine: e}
	config.OnNotice = s.notice
	// pgx opens a second connection to cancel what it gives up on. See engine.Session for why it must not.
	var connected atomic.Bool
	dialer := e.access.Dialer()
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if connected.Load() {
			return nil, errors.New("the checker cancels nothing")
		}
		return dialer.DialContext(ctx, network, address)
	}
	s.conn, err = pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	connected.Store(true)
	return s, nil
}

func (e *Engine) config() (*pgx.ConnConfig, error) {
	uri, err := e.access.URI()
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(uri)
	if err != nil {
		return nil, fmt.Errorf("parse the connection's URI: %w", err)
	}
	delete(config.RuntimeParams, "tcp_user_timeout") // libpq's; see engine.Access.Timeout
	config.RuntimeParams["application_name"] = "checker"
	config.ConnectTimeout = e.access.ConnectTimeout
	if e.access.Target == "" {
		return config, nil
	}
	host, text, err := net.SplitHostPort(e.access.Target)
	if err != nil {
		return nil, fmt.Errorf("parse the target: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("parse the target's port: %w", err)
	}
	config.Host, config.Port = host, uint16(port)
	for _, fallback := range config.Fallbacks {
		fallback.Host, fallback.Port = host, uint16(port)
	}
	return config, nil
}

// Reason implements engine.Engine.
func (e *Engine) Reason(err error) string { return reason(err) }

// Prepare implements engine.Engine. Where the table is already, nothing is written: an instance that takes no writes can be targeted.
func (e *Engine) Prepare(ctx context.Context) error {
	s, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	there := false
	if err := s.conn.QueryRow(ctx, "SELECT to_regclass('checker_writes') IS NOT NULL").Scan(&there); err != nil {
		return fmt.Errorf("look for the table: %w", err)
	}
	if there {
		return nil
	}
	if _, err := s.conn.Exec(ctx, create); err != nil {
		return fmt.Errorf("create the table: %w", err)
	}
	return nil
}

// ReadBack implements engine.Engine. It reads the table itself: an index may hide rows, or show rows that are gone.
func (e *Engine) ReadBack(ctx context.Context, runs []string) (history.Readback, error) {
	s, err := e.connect(ctx)
	if err != nil {
		return history.Readback{}, err
	}
	defer s.Close()
	readback := history.Readback{}
	if readback.From, err = s.Identify(ctx); err != nil {
		return history.Readback{}, err
	}
	if readback.From.Epoch == 0 && e.access.Target == "" {
		return history.Readback{}, errors.New("the server is a standby")
	}
	if _, err := s.conn.Exec(ctx, "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off"); err != nil {
		return history.Readback{}, fmt.Errorf("set up the session: %w", err)
	}
	rows, err := s.conn.Query(ctx, "SELECT run, worker, sequence, instance, address, started, epoch FROM checker_writes WHERE run = ANY($1)", runs)
	if err == nil {
		readback.Rows, err = pgx.CollectRows(rows, scanRow)
	}
	if err != nil && !isMissing(err) {
		return history.Readback{}, fmt.Errorf("read the rows: %w", err)
	}
	return readback, nil
}

func scanRow(from pgx.CollectableRow) (history.Row, error) {
	row := history.Row{}
	err := from.Scan(&row.Run, &row.Worker, &row.Sequence, &row.Term.Instance, &row.Term.Address, &row.Term.Started, &row.Term.Epoch)
	return row, err
}

// isMissing: without a table there are no rows.
func isMissing(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == undefinedTable
}
