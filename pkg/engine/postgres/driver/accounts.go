package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Accounts.
//
// Each statement looks first and changes only what differs, so that a crash between any two is
// mended by doing it again:
//
//  1. the role, with its rights and a verifier of the password;
//  2. the database, owned by the role;
//  3. a login over TCP with the password, which proves all of it.
//
// An account that must be absent is dropped when it owns nothing; else it may not log in any more.

// What accounts are for, in spec.accounts[].roles.
const (
	roleApplication = "application"
	roleSuperuser   = "superuser"
	roleReplication = "replication"
	roleMonitoring  = "monitoring"
	roleBackup      = "backup"
)

// Error codes of PostgreSQL.
const (
	codeDependentObjects = "2BP01"
)

// Account implements agent.Driver.
func (d *Driver) Account(ctx context.Context, account agent.Account) agent.AccountResult {
	if err := checkAccount(account); err != nil {
		return agent.AccountResult{Err: err}
	}
	if account.Username == superuser {
		// It is there since initdb, logs in over the socket alone, and has no password.
		return agent.AccountResult{Applied: true, Verified: true}
	}
	conn, err := d.connect(ctx)
	if err != nil {
		return agent.AccountResult{Err: err}
	}
	defer closeConn(conn)
	if account.State == dbv1.AccountAbsent {
		err := dropRole(ctx, conn, account.Username)
		return agent.AccountResult{Applied: err == nil, Verified: err == nil, Err: err}
	}
	if err := ensureRole(ctx, conn, account); err != nil {
		return agent.AccountResult{Err: err}
	}
	if err := ensureDatabase(ctx, conn, account); err != nil {
		return agent.AccountResult{Err: err}
	}
	database := account.Database
	if database == "" {
		database = superuser
	}
	if err := d.login(ctx, account.Username, account.Password, database); err != nil {
		return agent.AccountResult{Applied: true, Err: fmt.Errorf("log in at %s: %w", d.listen(), err)}
	}
	return agent.AccountResult{Applied: true, Verified: true}
}

// checkAccount refuses what must not be done, whoever asks.
func checkAccount(account agent.Account) error {
	switch {
	case strings.HasPrefix(account.Username, "pg_"):
		return errors.New("names that begin with pg_ are PostgreSQL's own")
	case account.Username == superuser && (account.State == dbv1.AccountAbsent || !slices.Contains(account.Roles, roleSuperuser)):
		return errors.New("postgres is the superuser, and the agent's own account")
	case account.Username != superuser && slices.Contains(account.Roles, roleSuperuser):
		return errors.New("there is no superuser but postgres")
	case account.Database == "template0" || account.Database == "template1":
		return errors.New("templates have no owner but postgres")
	case account.State != dbv1.AccountAbsent && account.Username != superuser && account.Password == "":
		return errors.New("it has no password")
	}
	return checkPassword(account.Password, account.PasswordRef)
}

// checkPassword refuses a password that is not the same for all clients, and that the agent cannot try.
func checkPassword(password string, ref *dbv1.SecretKeyReference) error {
	if provable(prepared(password)) {
		return nil
	}
	where := "the password"
	if ref != nil {
		where = fmt.Sprintf("the value of key %s of Secret %s", ref.Key, ref.Name)
	}
	return errors.New(where + " has characters that clients turn into others before they log in, each in its own way " +
		"(SASLprep, PRECIS), so that some could not; set another one there, for example of letters, digits and punctuation")
}

// attributes are the rights of a role. Every one is named, so that what was granted by hand goes.
func attributes(roles []string) string {
	replication := "NOREPLICATION"
	if slices.Contains(roles, roleReplication) || slices.Contains(roles, roleBackup) {
		replication = "REPLICATION"
	}
	return "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS " + replication
}

// roleFacts is a role as it is.
type roleFacts struct {
	verifier string
	rights   string
}

const roleQuery = `SELECT coalesce(rolpassword, ''),
	concat_ws(' ',
		CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
		CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
		CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
		CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
		CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
		CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END)
	FROM pg_authid WHERE rolname = $1`

// readRole returns nothing when there is no such role.
func readRole(ctx context.Context, conn *pgx.Conn, name string) (*roleFacts, error) {
	facts := &roleFacts{}
	err := conn.QueryRow(ctx, roleQuery, name).Scan(&facts.verifier, &facts.rights)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the role: %w", err)
	}
	return facts, nil
}

func ensureRole(ctx context.Context, conn *pgx.Conn, account agent.Account) error {
	is, err := readRole(ctx, conn, account.Username)
	if err != nil {
		return err
	}
	verb := "ALTER"
	if is == nil {
		verb = "CREATE"
	}
	want := attributes(account.Roles)
	if is == nil || is.rights != want || !verifies(is.verifier, account.Password) {
		secret, err := newVerifier(account.Password)
		if err != nil {
			return err
		}
		statement := fmt.Sprintf("%s ROLE %s WITH %s PASSWORD '%s'", verb, quote(account.Username), want, secret)
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("set the role: %w", withoutStatement(err))
		}
	}
	if slices.Contains(account.Roles, roleMonitoring) {
		if err := grantMonitoring(ctx, conn, account.Username); err != nil {
			return err
		}
	}
	return ensureRewind(ctx, conn, account.Username, slices.Contains(account.Roles, roleReplication))
}

// rewindFunctions are what pg_rewind calls on its source:
// https://www.postgresql.org/docs/current/app-pgrewind.html
const rewindFunctions = `pg_catalog.pg_ls_dir(text, boolean, boolean), pg_catalog.pg_stat_file(text, boolean),
	pg_catalog.pg_read_binary_file(text), pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)`

// rewindQuery counts those that a role was granted by name. Nobody else has them.
const rewindQuery = `SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a
	WHERE a.grantee = $1::text::regrole AND a.privilege_type = 'EXECUTE' AND p.oid = ANY (ARRAY[
		'pg_ls_dir(text,boolean,boolean)', 'pg_stat_file(text,boolean)',
		'pg_read_binary_file(text)', 'pg_read_binary_file(text,bigint,bigint,boolean)']::regprocedure[])`

const rewindCount = 4

// ensureRewind grants or revokes what pg_rewind needs. Rights to functions are those of one
// database: postgres, where the agent and pg_rewind connect.
func ensureRewind(ctx context.Context, conn *pgx.Conn, name string, wanted bool) error {
	var has int
	if err := conn.QueryRow(ctx, rewindQuery, quote(name)).Scan(&has); err != nil {
		return fmt.Errorf("look at the role's functions: %w", err)
	}
	statement := ""
	switch {
	case wanted && has < rewindCount:
		statement = "GRANT EXECUTE ON FUNCTION " + rewindFunctions + " TO " + quote(name)
	case !wanted && has > 0:
		statement = "REVOKE EXECUTE ON FUNCTION " + rewindFunctions + " FROM " + quote(name)
	default:
		return nil
	}
	_, err := conn.Exec(ctx, statement)
	return wrap("set the role's functions", err)
}

func grantMonitoring(ctx context.Context, conn *pgx.Conn, name string) error {
	var has bool
	if err := conn.QueryRow(ctx, "SELECT pg_has_role($1, 'pg_monitor', 'USAGE')", name).Scan(&has); err != nil {
		return fmt.Errorf("look at the role's memberships: %w", err)
	}
	if has {
		return nil
	}
	if _, err := conn.Exec(ctx, "GRANT pg_monitor TO "+quote(name)); err != nil {
		return fmt.Errorf("let the role monitor: %w", err)
	}
	return nil
}

// ensureDatabase makes the account's database. CREATE DATABASE cannot be in a transaction; when it
// is interrupted, PostgreSQL itself removes what there is of it.
func ensureDatabase(ctx context.Context, conn *pgx.Conn, account agent.Account) error {
	if account.Database == "" || !slices.Contains(account.Roles, roleApplication) {
		return nil
	}
	var owner string
	err := conn.QueryRow(ctx, `SELECT r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1`, account.Database).Scan(&owner)
	statement := ""
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		statement = fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE template0 ENCODING 'UTF8'", quote(account.Database), quote(account.Username))
	case err != nil:
		return fmt.Errorf("look at the database: %w", err)
	case owner != account.Username:
		statement = fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", quote(account.Database), quote(account.Username))
	default:
		return nil
	}
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return nil
}

// dropRole removes a role, or, when it owns something, its right to log in.
func dropRole(ctx context.Context, conn *pgx.Conn, name string) error {
	is, err := readRole(ctx, conn, name)
	if err != nil || is == nil {
		return err
	}
	if err := ensureRewind(ctx, conn, name, false); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP ROLE IF EXISTS "+quote(name))
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != codeDependentObjects {
		return wrap("drop the role", err)
	}
	_, err = conn.Exec(ctx, fmt.Sprintf("ALTER ROLE %s WITH NOLOGIN PASSWORD NULL", quote(name)))
	return wrap("take the role's login away", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// withoutStatement keeps only the message of an error whose statement had a verifier.
func withoutStatement(err error) error {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%s (SQLSTATE %s)", server.Message, server.Code)
	}
	return errors.New(mask(err.Error()))
}
