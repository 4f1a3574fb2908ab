package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The source of a replica.
//
// The startup process starts the WAL receiver, with the address that it read last; it reads
// settings only between two records, so one that waits (for a conflict, or because somebody paused
// it) may start a receiver with an old address long after a reload. Therefore what takes a source
// away for good is not the setting but the password: it is in a file of its own, which
//
//  1. is removed first: whoever starts from now on cannot log in at any source;
//  2. then the setting is emptied, on the volume and in the server;
//  3. then the receivers that are left, which may have read the password before, are ended, and
//     seen gone. One is in the list of processes before it reads the password.
//
// So whatever a source lets replicas in by must lie in files that are removed here.
//
// A slot is used only when the source has it: one that is missing, or lost, would keep the replica
// from streaming at all. So the source is asked again while nothing comes from it, and until it has a
// slot; and the password is read again then. While nothing comes it is also asked whether it still has
// the log that comes next.

// filePassword is libpq's: https://www.postgresql.org/docs/current/libpq-pgpass.html
const filePassword = "pgpass"

// askSourceWithin bounds the questions to a source, which may be away: it is followed all the same.
const askSourceWithin = 3 * time.Second

// replicaConninfo is primary_conninfo.
func replicaConninfo(source agent.Source, address, dataID, passfile string) string {
	place := receiverPlace(source, address)
	return conninfo(append(append(place, sourceParameters(source, cmp.Or(source.As, dataID))...), parameter{"passfile", passfile}))
}

// passwordLine is the content of the password file. It names the host: with it one can log in
// nowhere else.
func passwordLine(source agent.Source, password string) []byte {
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	fields := []string{source.Host, strconv.Itoa(source.Port), "*", naming.ReplicationUser, password}
	for i, field := range fields {
		fields[i] = escape.Replace(field)
	}
	return []byte(strings.Join(fields, ":") + "\n")
}

// Pauses between questions to a source: while nothing comes from it, and while it has no slot.
const (
	askWhenSilent  = 2 * time.Second
	askForSlot     = 10 * time.Second
	askAgainWithin = 10 * time.Second
)

// asked is what is known of the last questions to a source.
type asked struct {
	sync.Mutex
	at    time.Time
	under bool
	// gone counts, without a break, the answers of that source that it lacks the log from next on.
	gone   int
	source agent.Source
	next   agent.Position
}

// goneTimes is how often a source must have said that it lacks what comes next: replay stands still meanwhile, so
// that it comes from nowhere else.
const goneTimes = 2

// answer takes note of what a source said about the log.
func (a *asked) answer(source agent.Source, next agent.Position, gone bool) {
	a.Lock()
	defer a.Unlock()
	if !gone || a.source != source || a.next != next {
		a.gone = 0
	}
	if a.source, a.next = source, next; gone {
		a.gone++
	}
}

// logGone says whether the source lacks what a replica waits for.
func (a *asked) logGone(state *replicationState, facts *replicationFacts) bool {
	a.Lock()
	defer a.Unlock()
	source := state.following()
	return source != nil && a.gone >= goneTimes && a.source == *source && facts.next() != 0 && a.next == facts.next()
}

// due says whether it is time for a question, and takes note of it.
func (a *asked) due(now time.Time, pause time.Duration) bool {
	a.Lock()
	defer a.Unlock()
	if a.under || now.Sub(a.at) < pause {
		return false
	}
	a.at, a.under = now, true
	return true
}

func (a *asked) done(now time.Time) {
	a.Lock()
	defer a.Unlock()
	a.at, a.under = now, false
}

// followAgain asks the source of a replica again, when that is due, and does not wait.
func (d *Driver) followAgain(ctx context.Context, state *replicationState, facts *replicationFacts) {
	source, pause := state.following(), askWhenSilent
	if facts.streaming {
		pause = askForSlot
	}
	if source == nil || facts.streaming && state.Slot || !d.asked.due(time.Now(), pause) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askAgainWithin)
	next := facts.next()
	go func() {
		defer cancel()
		err := d.again(ctx, *source, next)
		d.asked.done(time.Now())
		if err != nil && !errors.Is(err, errSuperseded) {
			klog.FromContext(ctx).Info("The source was asked again, in vain", "source", source.Instance, "err", err)
		}
	}()
}

// again follows a source that was followed when somebody looked. It may have been taken away since: nothing
// but the state, under its lock, tells.
func (d *Driver) again(ctx context.Context, source agent.Source, next agent.Position) error {
	return d.follow(ctx, source, next, func(s *replicationState) bool {
		now := s.following()
		return now != nil && *now == source
	})
}

// errSuperseded is a Follow during which another one was called, which holds.
var errSuperseded = errors.New("the source was changed meanwhile")

var errNoName = errors.New("the data has no name to follow under: prepare a start first")

// Follow implements agent.Replicator.
func (d *Driver) Follow(ctx context.Context, source *agent.Source) error {
	call := d.follows.Add(1)
	if source == nil {
		return wrap("take the source away", d.unfollow(ctx))
	}
	defer func() { d.asked.done(time.Now()) }()
	return wrap("follow "+source.Instance, d.follow(ctx, *source, 0, func(*replicationState) bool { return d.follows.Load() == call }))
}

// follow makes the source the one that is followed, if that still holds when the source has answered. That is
// asked under the lock of the files. Next is where the log goes on that is waited for, if that is known.
func (d *Driver) follow(ctx context.Context, source agent.Source, next agent.Position, holds func(*replicationState) bool) error {
	password, err := d.replicationPassword()
	if err != nil {
		return err
	}
	state, err := d.current()
	if err != nil {
		return err
	}
	if state.DataID == "" {
		return errNoName
	}
	word, failed := d.askSource(ctx, source, slotName(state.DataID), next)
	d.asked.answer(source, next, word.logGone)
	d.files.Lock()
	defer d.files.Unlock()
	// The source may have been taken away while we asked it.
	if state, err = d.load(); err != nil {
		return err
	}
	if !holds(&state) {
		return errSuperseded
	}
	if errors.Is(failed, errOtherData) {
		return errors.Join(failed, d.forgetAddress(&state, source))
	}
	word = word.orElse(failed, &state, source)
	if failed != nil {
		klog.FromContext(ctx).V(2).Info("The source does not answer; it is followed all the same", "source", source.Instance, "err", failed)
	}
	if err := d.changeLocked(func(s *replicationState) { s.Source, s.Address, s.Slot = &source, word.address, word.slot }); err != nil {
		return err
	}
	if _, err := agent.ReplaceFile(d.replicationFile(filePassword), passwordLine(source, password)); err != nil {
		return err
	}
	return d.applySource()
}

// word is what a source says to a replica.
type word struct {
	// slot: it keeps one for it.
	slot bool
	// logGone: it lacks the log that the replica waits for.
	logGone bool
	// address is where it answered.
	address string
}

// orElse is what holds when the source could not be asked: what it said before. One that only restarts still has what it
// had, and is where it was, unless somebody else is there.
func (w word) orElse(failed error, state *replicationState, source agent.Source) word {
	if failed == nil || state.Source == nil || *state.Source != source {
		return w
	}
	w.slot, w.address = state.Slot, state.Address
	if loginRefused(failed) {
		w.address = ""
	}
	return w
}

// forgetAddress has a source looked for by its name alone. The caller holds d.files.
func (d *Driver) forgetAddress(state *replicationState, source agent.Source) error {
	if state.Source == nil || *state.Source != source || state.Address == "" {
		return nil
	}
	if err := d.changeLocked(func(s *replicationState) { s.Address = "" }); err != nil {
		return err
	}
	return d.applySource()
}

func (d *Driver) askSource(ctx context.Context, source agent.Source, slot string, next agent.Position) (word, error) {
	ctx, cancel := context.WithTimeout(ctx, askSourceWithin)
	defer cancel()
	var w word
	conn, facts, err := d.connectSource(ctx, source)
	if err != nil {
		return w, err
	}
	defer closeConn(conn)
	w.address = facts.address
	if err := conn.QueryRow(ctx, slotQuery, slot).Scan(&w.slot); err != nil {
		return w, fmt.Errorf("ask for a slot: %w", err)
	}
	if next == 0 || facts.inRecovery {
		return w, nil
	}
	if err := conn.QueryRow(ctx, logGoneQuery, int64(next)).Scan(&w.logGone); err != nil {
		// It is followed all the same, and it is not known what it lacks.
		klog.FromContext(ctx).Info("The source does not say which log it has", "source", source.Instance, "err", err)
		w.logGone = false
	}
	return w, nil
}

// logGoneQuery looks for the segment in which a position lies, of whatever timeline: a source takes its old ones
// away by their number. The position is one that the source has passed: what it has not written yet is not gone.
// (After a restart it is the end of the last whole record. What is waited for may be the segment behind it, in which the
// next record goes on; but where the source has that, it comes.)
const logGoneQuery = `SELECT $1 < pg_current_wal_insert_lsn() - '0/0'::pg_lsn AND NOT EXISTS (
	SELECT FROM pg_ls_dir('pg_wal', true, false) AS file, pg_size_bytes(current_setting('wal_segment_size')) AS size
	WHERE file ~ '^[0-9A-F]{24}$' AND right(file, 16) = upper(lpad(to_hex($1::bigint >> 32), 8, '0') || lpad(to_hex(($1::bigint & 4294967295) / size), 8, '0')))`

const slotQuery = `SELECT EXISTS (SELECT FROM pg_replication_slots
	WHERE slot_name = $1 AND slot_type = 'physical' AND coalesce(wal_status, '') <> 'lost')`

// applySource makes a running server use the source of the state. It need not answer queries. The
// caller holds d.files.
func (d *Driver) applySource() error {
	if !d.running() {
		return nil
	}
	if err := d.writeFiles(); err != nil || !d.unread {
		return err
	}
	if err := d.signalPostmaster(); err != nil {
		return err
	}
	d.unread = false
	return nil
}

func (d *Driver) unfollow(ctx context.Context) error {
	d.files.Lock()
	// The password goes even when the volume is full and the rest cannot be written.
	err := errors.Join(
		removeFile(d.replicationFile(filePassword)),
		d.changeLocked(func(s *replicationState) { s.Source, s.Address, s.Slot = nil, "", false }),
		d.applySource(),
	)
	d.files.Unlock()
	if !d.running() {
		return err
	}
	return errors.Join(err, d.endReceivers(ctx))
}

const (
	receiverPoll = 5 * time.Millisecond
	// receiverResend is how often a receiver is asked again to end.
	receiverResend = 200 * time.Millisecond
)

// endReceivers returns when no WAL receiver is left. One that hangs in a write is waited for: it
// would still acknowledge what it has written.
func (d *Driver) endReceivers(ctx context.Context) error {
	asked := map[int]time.Time{}
	for {
		postmaster, err := d.postmaster()
		if !d.running() {
			return nil
		}
		if err != nil {
			// It is about to start or to end; the next call sees which.
			return err
		}
		pids, err := receivers(postmaster)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if now := time.Now(); now.Sub(asked[pid]) > receiverResend {
				asked[pid] = now
				_ = unix.Kill(pid, unix.SIGTERM)
			}
		}
		if err := sleep(ctx, receiverPoll); err != nil {
			return fmt.Errorf("the WAL receiver does not end: %w", err)
		}
	}
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
