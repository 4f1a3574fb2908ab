package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Connections of the agent. Names resolve in pg_catalog alone, so that no user's function is ever
// called by the superuser; nothing that they say is logged by the server. Settings of the user that
// would shut the agent out, too, do not hold for it: somebody must be able to take them back.

const connectTimeout = 5 * time.Second

// connect opens a superuser connection over the socket.
func (d *Driver) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("configure a connection: %w", err)
	}
	config.Host, config.Port = d.RunDir, uint16(d.Port)
	config.User, config.Password, config.Database = superuser, "", superuser
	config.RuntimeParams = map[string]string{
		"application_name":           "database-agent",
		"search_path":                "pg_catalog",
		"lock_timeout":               "10s",
		"log_statement":              "none",
		"log_min_error_statement":    "panic",
		"log_min_duration_statement": "-1",

		"session_preload_libraries":           "",
		"post_auth_delay":                     "0",
		"local_preload_libraries":             "",
		"statement_timeout":                   "0",
		"idle_in_transaction_session_timeout": "0",
		"default_transaction_read_only":       "off",
		"default_transaction_isolation":       "read committed",
		"default_transaction_deferrable":      "off",
		// What the agent writes (accounts) must not wait for replicas, which may need it to get in;
		// it is looked at again on every primary.
		"synchronous_commit": "local",
		// Times are read as text.
		"datestyle":       "ISO",
		"timezone":        "UTC",
		"client_encoding": "UTF8",
	}
	// A server lets nobody in who names a setting that it does not have.
	for since, name := range map[int32]string{14: "idle_session_timeout", 17: "transaction_timeout"} {
		if d.serverVersion.Load() >= since {
			config.RuntimeParams[name] = "0"
		}
	}
	return dial(ctx, config)
}

// trySession opens a session with the server's own settings, as a client's would be. A refusal says
// that the settings let no client in.
func (d *Driver) trySession(ctx context.Context) error {
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return fmt.Errorf("configure a connection: %w", err)
	}
	config.Host, config.Port = d.RunDir, uint16(d.Port)
	config.User, config.Password, config.Database = superuser, "", superuser
	config.RuntimeParams = map[string]string{"application_name": "database-agent"}
	conn, err := dial(ctx, config)
	if err == nil {
		closeConn(conn)
		return nil
	}
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || strings.HasPrefix(server.Code, classResources) || strings.HasPrefix(server.Code, classIntervention) {
		return err
	}
	return &agent.Refusal{Setting: "a new session", Words: withoutPaths(server.Message)}
}

// Classes of errors that say nothing of the settings: too many connections or a full disk; a server
// that starts or stops. https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	classResources    = "53"
	classIntervention = "57"
)

// login opens a connection as libpq would, over TCP.
func (d *Driver) login(ctx context.Context, username, password, database string) error {
	// TLS when the server has it; the address is our own, so whose certificate it is does not matter.
	config, err := pgx.ParseConfig("sslmode=prefer host=127.0.0.1")
	if err != nil {
		return fmt.Errorf("configure a connection: %w", err)
	}
	config.Port = uint16(d.Port)
	config.User, config.Password, config.Database = username, prepared(password), database
	config.RuntimeParams = map[string]string{"application_name": "database-agent"}
	for _, fallback := range config.Fallbacks {
		fallback.Port = config.Port
	}
	conn, err := dial(ctx, config)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}

func dial(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config.ConnectTimeout = connectTimeout
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	heard := listenTo(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	switch {
	case err == nil:
		return conn, nil
	case heard.Load() && !loginRefused(err):
		return nil, aliveError{plainError(err)}
	}
	return nil, plainError(err)
}

// plainError keeps what the server said: the full text of a connection error names every address
// that was tried.
func plainError(err error) error {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("connect: %w", server)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("connect: %w", context.DeadlineExceeded)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("connect: %w", network)
	}
	return fmt.Errorf("connect: %w", err)
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// forget drops the connection of the health poll, and what was seen through it.
func (d *Driver) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.polled != nil {
		closeConn(d.polled)
		d.polled = nil
	}
	d.settling, d.replies = settling{}, nil
}

const probeQuery = `SELECT pg_is_in_recovery()`

const factsQuery = `SELECT current_setting('server_version'), timeline_id FROM pg_control_checkpoint()`

// Probe implements agent.Driver. The connection is kept: a new one costs the server a process. It is shared
// with the look at replication, which may keep this call waiting: what that heard counts, too.
func (d *Driver) Probe(ctx context.Context) (agent.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	report, err := d.probe(ctx)
	if err != nil && d.heard {
		err = aliveError{err}
	}
	d.heard = false
	return report, err
}

func (d *Driver) probe(ctx context.Context) (agent.Report, error) {
	if d.polled == nil {
		if err := d.openPolled(ctx); err != nil {
			return agent.Report{}, err
		}
	}
	var inRecovery bool
	err := d.polled.QueryRow(ctx, probeQuery).Scan(&inRecovery)
	d.hear(err)
	if err != nil {
		closeConn(d.polled)
		d.polled = nil
		return agent.Report{}, fmt.Errorf("ask the server: %w", err)
	}
	role := dbv1.RolePrimary
	if inRecovery {
		role = dbv1.RoleReplica
	}
	return agent.Report{
		Role:          role,
		ServerVersion: d.facts.version,
		Timeline:      d.facts.timeline,
		Engine: &dbv1.InstanceEngineStatus{PostgreSQL: &dbv1.PostgreSQLInstanceStatus{
			InRecovery: inRecovery, HotStandby: maps.Clone(d.facts.hotStandby),
		}},
		Refusal: d.facts.refusal, PendingRestart: d.facts.floored,
	}, nil
}

// hear notes whether a call heard the server. The caller holds d.mu.
func (d *Driver) hear(err error) {
	_, answer := errors.AsType[*pgconn.PgError](err)
	d.heard = d.heard || err == nil || answer
}

func (d *Driver) openPolled(ctx context.Context) error {
	conn, err := d.connect(ctx)
	d.heard = d.heard || err == nil || errors.Is(err, agent.ErrAlive)
	if err != nil {
		return err
	}
	var version string
	if err := conn.QueryRow(ctx, factsQuery).Scan(&version, &d.facts.timeline); err != nil {
		closeConn(conn)
		return fmt.Errorf("ask the server for its version: %w", err)
	}
	if d.facts.hotStandby, err = hotStandbyValues(ctx, conn); err != nil {
		closeConn(conn)
		return err
	}
	// "15.4 (Debian 15.4-1.pgdg120+1)"
	d.facts.version, _, _ = strings.Cut(version, " ")
	d.facts.floored = d.floored()
	d.facts.refusal, _ = errors.AsType[*agent.Refusal](d.trySession(ctx))
	d.polled = conn
	return nil
}

// hotStandbyValues are the values that the server runs with. They change only with its start.
func hotStandbyValues(ctx context.Context, conn *pgx.Conn) (map[string]int64, error) {
	names := make([]string, len(hotStandbySettings))
	for i, s := range hotStandbySettings {
		names[i] = s.name
	}
	// A failure of the query is told by the rows.
	rows, _ := conn.Query(ctx, "SELECT name, setting::bigint FROM pg_settings WHERE name = ANY ($1)", names)
	values := map[string]int64{}
	var name string
	var value int64
	_, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		values[name] = value
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask the server what replicas must not have lower: %w", err)
	}
	return values, nil
}

// PrepareStop implements agent.Driver: the shutdown checkpoint is short after a checkpoint.
func (d *Driver) PrepareStop(ctx context.Context) error { return d.Checkpoint(ctx) }

// Checkpoint implements agent.Replicator. On a replica it is a restart point.
func (d *Driver) Checkpoint(ctx context.Context) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// listen is the address of the TCP listener, for messages.
func (d *Driver) listen() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.Port)) }
