package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/platform-io/database-operator/pkg/agent"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The source, as a replica and its tools reach it: over TCP, as the account of replication. What
// data it has is looked up first; whoever else answers there is neither followed nor copied.

// toolName is how pg_basebackup and pg_rewind introduce themselves. It is nobody's data id.
const toolName = "database-agent"

var errNoPassword = errors.New("there is no password for replication")

// replicationPassword reads the password of the account of replication.
func (d *Driver) replicationPassword() (string, error) {
	if d.PasswordFile == "" {
		return "", fmt.Errorf("%w: the agent was not told where it is", errNoPassword)
	}
	content, err := os.ReadFile(d.PasswordFile)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: %s is missing", errNoPassword, d.PasswordFile)
	}
	if err != nil {
		return "", fmt.Errorf("read the password for replication: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n\x00") {
		return "", fmt.Errorf("%w: %s is empty, or has more than one line", errNoPassword, d.PasswordFile)
	}
	return password, nil
}

type parameter struct{ name, value string }

// conninfo writes parameters as libpq reads them:
// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
func conninfo(parameters []parameter) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	words := make([]string, len(parameters))
	for i, p := range parameters {
		words[i] = p.name + "='" + escape.Replace(p.value) + "'"
	}
	return strings.Join(words, " ")
}

// sourceParameters are common to all connections to a source. One that died is noticed within
// about five seconds.
func sourceParameters(source agent.Source, name string) []parameter {
	return []parameter{
		{"port", strconv.Itoa(source.Port)},
		{"user", naming.ReplicationUser},
		{"application_name", name},
		{"sslmode", "prefer"},
		{"connect_timeout", "3"},
		{"keepalives_idle", "3"},
		{"keepalives_interval", "1"},
		{"keepalives_count", "2"},
		{"tcp_user_timeout", "5000"},
	}
}

// toolConninfo is for the tools, which get the password in their environment. They go to where the source was just
// found, and nowhere else.
func toolConninfo(source agent.Source, address string) string {
	return conninfo(append(sourceParameters(source, toolName), parameter{"host", source.Host}, parameter{"hostaddr", address}, parameter{"dbname", superuser}))
}

// receiverPlace is where a replica looks for its source: at the address where the expected data was seen, and by name only where
// none is known. Nobody ends libpq while it waits for a DNS that is silent, and then the source could not be taken away.
// That a source has moved, the driver learns (followAgain).
func receiverPlace(source agent.Source, address string) []parameter {
	if address == "" {
		return []parameter{{"host", source.Host}}
	}
	return []parameter{{"host", source.Host}, {"hostaddr", address}}
}

// addressOf is where a source is found, empty when nobody knows.
func (d *Driver) addressOf(ctx context.Context, source agent.Source) string {
	if d.Addresses == nil {
		return ""
	}
	if addresses := d.Addresses(ctx, source.Host); len(addresses) > 0 {
		return addresses[0]
	}
	return ""
}

// sourceFacts are what a source says of itself.
type sourceFacts struct {
	version     int
	tablespaces int
	// bytes is about what its data takes.
	bytes int64
	// inRecovery: it is no primary.
	inRecovery bool
	// address is where it answered.
	address string
}

func (f sourceFacts) major() string { return strconv.Itoa(f.version / 10000) }

const sourceQuery = `SELECT coalesce(current_setting('` + settingDataID + `', true), ''),
	current_setting('server_version_num')::int,
	(SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')),
	(SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database WHERE has_database_privilege(oid, 'CONNECT')),
	pg_is_in_recovery()`

// connectSource opens a connection to a source that has the data which is expected there.
func (d *Driver) connectSource(ctx context.Context, source agent.Source) (*pgx.Conn, sourceFacts, error) {
	var facts sourceFacts
	password, err := d.replicationPassword()
	if err != nil {
		return nil, facts, err
	}
	config, err := pgx.ParseConfig(conninfo([]parameter{{"host", source.Host}, {"port", strconv.Itoa(source.Port)}, {"sslmode", "prefer"}}))
	if err != nil {
		return nil, facts, fmt.Errorf("configure a connection to %s: %w", source.Instance, err)
	}
	config.User, config.Password, config.Database = naming.ReplicationUser, password, superuser
	config.RuntimeParams = map[string]string{"application_name": toolName, "search_path": "pg_catalog"}
	if address := d.addressOf(ctx, source); address != "" {
		config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{address}, nil }
	}
	conn, err := dial(ctx, config)
	if err != nil {
		return nil, facts, fmt.Errorf("source %s: %w", source.Instance, err)
	}
	dataID := ""
	err = conn.QueryRow(ctx, sourceQuery).Scan(&dataID, &facts.version, &facts.tablespaces, &facts.bytes, &facts.inRecovery)
	if err == nil && dataID != source.DataID {
		err = fmt.Errorf("%w: it has %q instead of %q", errOtherData, dataID, source.DataID)
	}
	if err != nil {
		closeConn(conn)
		return nil, facts, fmt.Errorf("source %s: %w", source.Instance, err)
	}
	facts.address, _, _ = net.SplitHostPort(conn.PgConn().Conn().RemoteAddr().String())
	return conn, facts, nil
}

// loginRefused says whether somebody answered, and does not know us. It is not the source that is looked for, as
// far as we know; and of our own server, pg_hba.conf can be why.
func loginRefused(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(server.Code, classAuthorization)
}

// classAuthorization are the errors of a login that is refused.
const classAuthorization = "28"

// errOtherData is a source that is not what it was taken for.
var errOtherData = errors.New("other data than expected answers there")
