package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Whom commits wait for.
//
// After a reload the server's processes apply the setting one by one, and a WAL sender that has not
// yet still ends waits by the old rule. So SetSynchronous proves that all have:
//
//  1. A connection made since has the postmaster's settings; by then every process was signalled.
//  2. A WAL sender, when it leaves its main wait, applies what it was signalled before it reads what
//     a replica says. So one that is seen in that wait is done, also when it is frozen there. One
//     that is not seen there in time is ended, and seen gone. Those that are not connected yet when
//     we look were signalled before they can have a replica's word.
//  3. Commits wait at all only when the checkpointer has told everybody so. No view shows that, so
//     between "for nobody" and names the setting is a name that nobody has, until a commit of our
//     own is seen waiting.
//
// (pg_stat_replication.sync_priority is each sender's own too, but does not tell ANY 1 from ANY 2.)
// A wait that ended by the old rule concerned a commit before the position of now: who must know
// that it is covered by the new rule, too, waits until the new names have flushed past that.

// nobody is a name that no replica has.
const nobody = "nobody"

const (
	applyPoll = 5 * time.Millisecond
	// applyPatience is how long a WAL sender is watched before it is ended.
	applyPatience = 2 * time.Second
)

// synchronousNames is synchronous_standby_names.
func synchronousNames(wanted agent.Synchronous) string {
	if wanted.Quorum <= 0 {
		return ""
	}
	names := wanted.Names
	if len(names) == 0 {
		// More than there are, so it waits: that is what was asked for.
		names = []string{nobody}
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return "ANY " + strconv.Itoa(wanted.Quorum) + " (" + strings.Join(quoted, ", ") + ")"
}

// SetSynchronous implements agent.Replicator.
func (d *Driver) SetSynchronous(ctx context.Context, wanted agent.Synchronous) error {
	if err := d.change(func(s *replicationState) { s.Synchronous = wanted }); err != nil {
		return err
	}
	if !d.running() {
		return nil
	}
	return wrap("set whom commits wait for", d.applySynchronous(ctx, wanted))
}

// ensureWaiting makes sure that commits on a primary wait for whom they must.
func (d *Driver) ensureWaiting(ctx context.Context) error {
	state, err := d.current()
	if err != nil || state.Synchronous.Quorum <= 0 || d.synchronous.known() {
		return err
	}
	return d.applySynchronous(ctx, state.Synchronous)
}

func (d *Driver) applySynchronous(ctx context.Context, wanted agent.Synchronous) error {
	d.synchronous.Lock()
	defer d.synchronous.Unlock()
	d.synchronous.addNames(wanted.Names)
	// A change that fails or is cut short may be in force, at once or with the next reload: what was known is not
	// known any more.
	waited := d.synchronous.waits
	d.synchronous.waits = false
	inRecovery, err := d.inRecovery(ctx)
	if err != nil {
		return err
	}
	waits := wanted.Quorum > 0 && !inRecovery
	if waits && !waited {
		if err := d.beginWaiting(ctx); err != nil {
			// The name that nobody has must not stay.
			return errors.Join(err, d.rewrite())
		}
	}
	fresh, err := d.reload(ctx)
	if err != nil {
		return err
	}
	defer closeConn(fresh)
	if err := expectSetting(ctx, fresh, "synchronous_standby_names", synchronousNames(wanted)); err != nil {
		return err
	}
	d.synchronous.waits = waits
	return d.sendersApplied(ctx, fresh)
}

// expectSetting makes sure that nothing overrides a setting of ours.
func expectSetting(ctx context.Context, conn *pgx.Conn, name, want string) error {
	var is string
	if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&is); err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if is != want {
		return fmt.Errorf("%s is %q and not %q: something overrides the agent's settings", name, is, want)
	}
	return nil
}

// beginWaiting makes all commits wait, and returns when one was seen to.
func (d *Driver) beginWaiting(ctx context.Context) error {
	d.block(true)
	defer d.block(false)
	conn, err := d.reload(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	for {
		waited, err := d.commitWaits(ctx, conn)
		if err != nil || waited {
			return err
		}
		if err := sleep(ctx, applyPoll); err != nil {
			return fmt.Errorf("commits do not begin to wait: %w", err)
		}
	}
}

// rewrite has a server read its files that may answer no query.
func (d *Driver) rewrite() error {
	d.files.Lock()
	defer d.files.Unlock()
	if err := d.writeFiles(); err != nil {
		return err
	}
	return d.signalPostmaster()
}

// block has the next files name nobody.
func (d *Driver) block(blocked bool) {
	d.files.Lock()
	defer d.files.Unlock()
	d.blocked = blocked
}

const seenWaiting = `SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'`

// commitNow writes something that needs no table, and commits it.
const commitNow = `SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'database-agent', '')`

// commitWaits commits on a connection of its own, and says whether that was seen waiting. The
// connection is closed then, which cancels the wait.
func (d *Driver) commitWaits(ctx context.Context, watch *pgx.Conn) (bool, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return false, err
	}
	committing, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err = conn.Exec(committing, commitNow, pgx.QueryExecModeSimpleProtocol)
	}()
	defer func() {
		cancel()
		<-done
		closeConn(conn)
	}()
	for {
		select {
		case <-done:
			return false, err
		default:
		}
		var waits bool
		if err := watch.QueryRow(ctx, seenWaiting, conn.PgConn().PID()).Scan(&waits); err != nil || waits {
			return waits, err
		}
		if err := sleep(ctx, applyPoll); err != nil {
			return false, err
		}
	}
}

const sendersQuery = `SELECT pid, coalesce(lower(a.wait_event) IN ('walsendermain', 'walsenderwaitforwal'), false)
	FROM pg_stat_replication r JOIN pg_stat_activity a USING (pid)
	WHERE r.state NOT IN ('startup', 'backup') AND lower(r.application_name) = ANY($1)`

type sender struct {
	PID     int32
	Waiting bool
}

// sendersApplied returns when no WAL sender of a replica that was ever waited for could end a wait
// by an old rule. The connection is one from after the reload.
func (d *Driver) sendersApplied(ctx context.Context, conn *pgx.Conn) error {
	begin, ended := time.Now(), false
	var unproven map[int32]bool
	for {
		senders, err := d.senders(ctx, conn)
		if err != nil {
			return err
		}
		// Those that came since the first look were told before they were there.
		left := map[int32]bool{}
		for _, s := range senders {
			if !s.Waiting && (unproven == nil || unproven[s.PID]) {
				left[s.PID] = true
			}
		}
		if unproven = left; len(unproven) == 0 {
			return nil
		}
		if !ended && time.Since(begin) > applyPatience {
			ended = true
			if err := endSenders(ctx, conn, unproven); err != nil {
				return err
			}
		}
		if err := sleep(ctx, applyPoll); err != nil {
			return fmt.Errorf("%d WAL senders neither apply the setting nor end: %w", len(unproven), err)
		}
	}
}

// senders are those of replicas that were ever waited for.
func (d *Driver) senders(ctx context.Context, conn *pgx.Conn) ([]sender, error) {
	rows, err := conn.Query(ctx, sendersQuery, d.synchronous.names)
	if err != nil {
		return nil, fmt.Errorf("look at the WAL senders: %w", err)
	}
	senders, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sender])
	if err != nil {
		return nil, fmt.Errorf("look at the WAL senders: %w", err)
	}
	return senders, nil
}

func endSenders(ctx context.Context, conn *pgx.Conn, pids map[int32]bool) error {
	klog.FromContext(ctx).Info("WAL senders that are not seen to apply a setting are ended", "pids", pids)
	for pid := range pids {
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend($1)", pid); err != nil {
			return fmt.Errorf("end a WAL sender: %w", err)
		}
	}
	return nil
}

// synchronousMemory is what is known of a running server.
type synchronousMemory struct {
	sync.Mutex
	// waits: commits were seen waiting, and the setting has named somebody ever since.
	waits bool
	// names are all that were in the setting since the start, in lower case.
	names []string
}

func (m *synchronousMemory) known() bool {
	m.Lock()
	defer m.Unlock()
	return m.waits
}

func (m *synchronousMemory) started(names []string) {
	m.Lock()
	defer m.Unlock()
	m.waits, m.names = false, nil
	m.addNames(names)
}

func (m *synchronousMemory) addNames(names []string) {
	for _, name := range names {
		if name = strings.ToLower(name); !slices.Contains(m.names, name) {
			m.names = append(m.names, name)
		}
	}
}
