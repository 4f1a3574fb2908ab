package driver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Configuration.
//
//  1. CheckConfig lets the server's own program read the files: it knows every name and value, and
//     works beside a running server. It cannot see what only a start shows (a library that is
//     missing, too much memory), nor what is wrong with pg_hba.conf.
//  2. Reload asks the server how it is, signals it (tell), and waits until its load time is a later one: a new connection
//     has the postmaster's, or was the first to be told by it. One that is made after that is made
//     by a postmaster that has told everybody. Then pg_file_settings says what could not be applied.
//     That is so both for refused values and for settings that wait for a restart; the latter are in
//     pg_settings.
//  3. A session is opened as a client's would be: a library to preload that is missing shows only then.

const reloadPoll = 20 * time.Millisecond

// anySetting is the name that CheckConfig asks for; every name makes the server read the whole file.
const anySetting = "port"

// CheckConfig implements agent.Driver.
func (d *Driver) CheckConfig(ctx context.Context, configDir string) error {
	major, err := d.dataMajor()
	if err != nil {
		return err
	}
	path, err := binaryPath("postgres", major)
	if err != nil {
		return err
	}
	args := append(d.operatorsArgs(configDir), "-C", anySetting)
	_, messages, err := d.output(command(ctx, path, args...))
	if err == nil {
		return nil
	}
	if refusal := parseRefusal(messages); refusal != nil && ctx.Err() == nil {
		return refusal
	}
	return fmt.Errorf("check the configuration: %w: %s", err, lastLines(messages))
}

// quotedName finds the setting in PostgreSQL's words.
var quotedName = regexp.MustCompile(`parameter "([^"]+)"`)

// parseRefusal makes one sentence of what the server's program says about files that it refuses,
// or nothing when it complains of something else.
func parseRefusal(messages string) *agent.Refusal {
	parser := NewLogParser()
	var entries []agent.LogEntry
	for line := range strings.Lines(messages) {
		entries = append(entries, parser.Line(strings.TrimRight(line, "\n"))...)
	}
	entries = append(entries, parser.Flush()...)
	refusal := &agent.Refusal{}
	var words []string
	fatal := ""
	for _, e := range entries {
		if e.Fatal {
			fatal = e.Message
			continue
		}
		if match := quotedName.FindStringSubmatch(e.Message); match != nil && refusal.Setting == "" {
			refusal.Setting = match[1]
		}
		words = append(words, sentence(e))
	}
	if !strings.Contains(fatal, "contains errors") && !strings.Contains(fatal, "parameter") {
		return nil
	}
	if len(words) == 0 {
		words = append(words, fatal)
		if match := quotedName.FindStringSubmatch(fatal); match != nil {
			refusal.Setting = match[1]
		}
	}
	refusal.Words = withoutPaths(strings.Join(words, "; "))
	return refusal
}

// sentence is a message with its detail and hint.
func sentence(e agent.LogEntry) string {
	var text strings.Builder
	text.WriteString(e.Message)
	for i := 0; i+1 < len(e.Values); i += 2 {
		if key := e.Values[i]; key == keyDetail || key == keyHint {
			fmt.Fprintf(&text, " (%v)", e.Values[i+1])
		}
	}
	return text.String()
}

// The agent writes the files that the server reads: where they are, and in which line a setting is, says nothing to a
// person.
var (
	place  = regexp.MustCompile(` in file "[^"]*" line \d+`)
	folder = regexp.MustCompile(`"/[^"]*/([^"/]+)"`)
)

func withoutPaths(text string) string {
	return folder.ReplaceAllString(place.ReplaceAllString(text, ""), `"$1"`)
}

// Reload implements agent.Driver.
func (d *Driver) Reload(ctx context.Context) ([]string, error) {
	folder := d.filesFolder()
	if err := d.tell(ctx, folder); err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	if err := d.lowerFloor(ctx); err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	loaded, err := d.reload(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(loaded)
	pending, err := settingsAfter(ctx, loaded)
	if err != nil {
		return nil, err
	}
	err = d.trySession(ctx)
	if refusal, ok := errors.AsType[*agent.Refusal](err); ok {
		return nil, refusal
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("open a session as a client would: %w", err)
	}
	d.nowInForce(folder)
	pending = append(pending, d.floored()...)
	slices.Sort(pending)
	return slices.Compact(pending), nil
}

// tell has the server read its files before it is asked anything, where that is of use or does no harm:
// what keeps the agent out may be what changes, and files that were in force may have to be so again
// after an earlier call. Other files wait until somebody can see what comes of them.
func (d *Driver) tell(ctx context.Context, folder string) error {
	if !d.isInForce(folder) {
		conn, err := d.connect(ctx)
		if err == nil {
			closeConn(conn)
			return nil
		}
		if errors.Is(err, agent.ErrAlive) || ctx.Err() != nil {
			return err
		}
	}
	return d.rewrite()
}

// filesFolder is where the operator's files are: the folder's own name, not that of a link to it.
func (d *Driver) filesFolder() string {
	d.files.Lock()
	defer d.files.Unlock()
	return realPath(d.configDir)
}

// realPath is empty when there is nothing.
func realPath(path string) string {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return path
}

func (d *Driver) isInForce(folder string) bool {
	d.files.Lock()
	defer d.files.Unlock()
	return folder == d.inForce
}

func (d *Driver) nowInForce(folder string) {
	d.files.Lock()
	defer d.files.Unlock()
	d.inForce = folder
}

// reload writes the driver's files, has the server read everything again, and returns a connection
// that was made since: by then every process of the server was told.
func (d *Driver) reload(ctx context.Context) (*pgx.Conn, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	var before time.Time
	err = conn.QueryRow(ctx, "SELECT pg_conf_load_time()").Scan(&before)
	if err == nil {
		err = d.signalReload(ctx, conn)
	}
	// Now, and not later: there may be few connections left.
	closeConn(conn)
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	loaded, err := d.waitLoaded(ctx, before)
	if err != nil {
		return nil, err
	}
	closeConn(loaded)
	return d.connect(ctx)
}

func (d *Driver) signalReload(ctx context.Context, conn *pgx.Conn) error {
	d.files.Lock()
	defer d.files.Unlock()
	if err := d.writeFiles(); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	d.unread = false
	return nil
}

// errNotLoaded is a reload that the server did not finish: it stops at names that it does not know.
var errNotLoaded = fmt.Errorf("the server did not load the files: %w", context.DeadlineExceeded)

// waitLoaded returns a connection whose settings are later ones than those of before.
func (d *Driver) waitLoaded(ctx context.Context, before time.Time) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errNotLoaded)
	defer cancel()
	for {
		conn, err := d.connect(ctx)
		if err != nil {
			return nil, fmt.Errorf("reload: %w", errors.Join(err, context.Cause(ctx)))
		}
		var loaded time.Time
		err = conn.QueryRow(ctx, "SELECT pg_conf_load_time()").Scan(&loaded)
		if err == nil && loaded.After(before) {
			return conn, nil
		}
		if err == nil {
			err = d.loadError(ctx, conn)
		}
		closeConn(conn)
		if err != nil {
			return nil, fmt.Errorf("reload: %w", err)
		}
		timer := time.NewTimer(reloadPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("reload: %w", context.Cause(ctx))
		}
	}
}

// loadError says what keeps the server from loading the file at all.
func (d *Driver) loadError(ctx context.Context, conn *pgx.Conn) error {
	var name, words string
	err := conn.QueryRow(ctx, `SELECT coalesce(name, ''), error FROM pg_file_settings
		WHERE error IS NOT NULL AND error <> 'setting could not be applied'
		AND NOT (name IS NULL AND error LIKE 'parameter "%" cannot be changed without restarting the server')
		ORDER BY seqno LIMIT 1`).Scan(&name, &words)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the settings: %w", err)
	}
	return &agent.Refusal{Setting: name, Words: words}
}

const pendingQuery = `SELECT name FROM pg_settings WHERE pending_restart ORDER BY name`

// failedQuery lists what could not be applied and does not just wait for a restart. Of a setting that is in the file no more,
// pg_file_settings has the words alone, which are never translated.
const failedQuery = `SELECT coalesce(f.name, ''), f.error FROM pg_file_settings f
	WHERE f.error IS NOT NULL
	AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.pending_restart AND (s.name = lower(f.name)
		OR f.name IS NULL AND f.error = format('parameter "%s" cannot be changed without restarting the server', s.name)))
	ORDER BY f.seqno LIMIT 1`

const hbaQuery = `SELECT 'pg_hba.conf, line ' || line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY line_number LIMIT 1`

// settingsAfter looks at the settings after a reload.
func settingsAfter(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	for _, query := range []string{failedQuery, hbaQuery} {
		refusal := &agent.Refusal{}
		err := conn.QueryRow(ctx, query).Scan(&refusal.Setting, &refusal.Words)
		if err == nil {
			return nil, refusal
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("look at the settings: %w", err)
		}
	}
	rows, err := conn.Query(ctx, pendingQuery)
	if err != nil {
		return nil, fmt.Errorf("look at the settings: %w", err)
	}
	pending, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look at the settings: %w", err)
	}
	return pending, nil
}
