package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Where the server stands: one query on the kept connection.
//
// A replica without a source is settled when nothing that is on its volume is left to replay. The
// startup process waits for a while when it found no more log, then looks again. Once nothing was
// received beyond what is replayed, seeing it wait is enough. When something was (a record of which
// only the beginning came, or one that came while it looked elsewhere), it must have looked again:
// its position is the same for longer than two of those waits.
//
// While there is no source, nothing may hold replay up: a pause is ended, and clients whose queries
// are in its way are.
//
// A primary counts connections, and not names: a replica that comes back before its earlier connection is noticed
// to be dead would be two of those that a commit waits for. So the older of two is ended.

// settleTime is longer than two waits of the startup process.
const settleTime = 2*retryWithoutSource + 100*time.Millisecond

// waitForMore is the startup process's wait after it found no more log.
const waitForMore = "RecoveryRetrieveRetryInterval"

// waitForStream is its wait for what the receiver brings.
const waitForStream = "RecoveryWalStream"

// replicationQuery tells everything. What fails outside of recovery, or in it, is not evaluated then.
// A standby is there twice while the connection of its earlier life is not noticed to be dead.
const replicationQuery = `SELECT r.recovery,
	(CASE WHEN r.recovery THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint,
	coalesce(pg_last_wal_receive_lsn() - '0/0'::pg_lsn, 0)::bigint,
	CASE WHEN r.recovery THEN greatest((SELECT timeline_id FROM pg_control_checkpoint()),
			(SELECT min_recovery_end_timeline FROM pg_control_recovery()), (SELECT received_tli FROM pg_stat_wal_receiver))
		ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
	coalesce((SELECT latest_end_lsn FROM pg_stat_wal_receiver) - '0/0'::pg_lsn, 0)::bigint,
	coalesce((SELECT status = 'streaming' FROM pg_stat_wal_receiver), false),
	EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver'),
	current_setting('primary_conninfo') <> '',
	CASE WHEN r.recovery THEN pg_is_wal_replay_paused() ELSE false END,
	coalesce((SELECT concat_ws(':', wait_event_type, wait_event) FROM pg_stat_activity WHERE backend_type = 'startup'), ''),
	(SELECT coalesce(json_agg(json_build_object('dataID', application_name, 'streaming', state = 'streaming',
		'flushed', coalesce(flush_lsn - '0/0'::pg_lsn, 0)::bigint, 'replayed', coalesce(replay_lsn - '0/0'::pg_lsn, 0)::bigint,
		'pid', pid, 'begun', (extract(epoch FROM backend_start) * 1000000)::bigint, 'reply', coalesce(reply_time::text, '')) ORDER BY reply_time NULLS FIRST), '[]')::text
		FROM pg_stat_replication WHERE state <> 'backup' AND application_name <> '` + toolName + `')
	FROM (SELECT pg_is_in_recovery() AS recovery) r`

// replicationFacts are a row of it.
type replicationFacts struct {
	recovery                       bool
	position, received, source     int64
	timeline                       int64
	streaming, receiver, hasSource bool
	paused                         bool
	startup                        string
	standbys                       []standbyFacts
}

type standbyFacts struct {
	DataID    string `json:"dataID"`
	Streaming bool   `json:"streaming"`
	Flushed   int64  `json:"flushed"`
	Replayed  int64  `json:"replayed"`
	PID       int32  `json:"pid"`
	Begun     int64  `json:"begun"`
	Reply     string `json:"reply"`
}

// next is where the log goes on that a replica waits for; zero while it does not wait for any.
func (f *replicationFacts) next() agent.Position {
	if !f.recovery || f.streaming || !strings.HasSuffix(f.startup, ":"+waitForMore) && !strings.HasSuffix(f.startup, ":"+waitForStream) {
		return 0
	}
	return agent.Position(max(f.position, f.received))
}

// Replication implements agent.Replicator.
func (d *Driver) Replication(ctx context.Context) (agent.Replication, error) {
	state, err := d.current()
	if err != nil {
		return agent.Replication{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	facts, err := d.askReplication(ctx)
	// Also when it does not answer: it may not before it got more.
	d.followAgain(ctx, &state, &facts)
	if err != nil {
		return agent.Replication{}, err
	}
	now := time.Now()
	conflict := facts.recovery && waitsForConflict(facts.startup)
	report := agent.Replication{
		Primary:        !facts.recovery,
		Position:       agent.Position(facts.position),
		SourcePosition: agent.Position(facts.source),
		Received:       agent.Position(facts.received),
		Settled:        d.settling.look(now, facts, state.following() != nil),
		Receiving:      facts.streaming,
		LogGone:        d.asked.logGone(&state, &facts),
		ReplayPaused:   facts.paused || conflict,
		Timeline:       facts.timeline,
		Standbys:       d.replies.standbys(now, facts.standbys),
		Synchronous:    state.Synchronous,
	}
	alone := state.following() == nil
	return report, errors.Join(
		d.intervene(ctx, facts.paused && alone, conflict && alone || state.KeepClientsOut),
		d.endEarlier(ctx, earlier(facts.standbys, state.Synchronous.Names)),
	)
}

// askReplication runs the query. A promotion in its middle makes it fail once. The caller holds d.mu.
func (d *Driver) askReplication(ctx context.Context) (replicationFacts, error) {
	for try := 0; ; try++ {
		if d.polled == nil {
			if err := d.openPolled(ctx); err != nil {
				return replicationFacts{}, err
			}
		}
		facts, err := scanReplication(d.polled.QueryRow(ctx, replicationQuery))
		d.hear(err)
		if err == nil {
			return facts, nil
		}
		if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == codeNotInThisState && try == 0 {
			continue
		}
		closeConn(d.polled)
		d.polled = nil
		return replicationFacts{}, fmt.Errorf("ask the server: %w", err)
	}
}

// codeNotInThisState is the error of functions that work only in recovery, or only outside of it.
const codeNotInThisState = "55000"

func scanReplication(row pgx.Row) (replicationFacts, error) {
	var facts replicationFacts
	standbys := ""
	if err := row.Scan(&facts.recovery, &facts.position, &facts.received, &facts.timeline, &facts.source, &facts.streaming, &facts.receiver,
		&facts.hasSource, &facts.paused, &facts.startup, &standbys); err != nil {
		return facts, err
	}
	return facts, json.Unmarshal([]byte(standbys), &facts.standbys)
}

// waitsForConflict says whether the startup process waits for a query to end.
func waitsForConflict(wait string) bool {
	return strings.Contains(wait, ":RecoveryConflict") || strings.HasPrefix(wait, "Lock:") || strings.HasPrefix(wait, "BufferPin:")
}

// intervene does what no caller can be asked to come in time for. The caller holds d.mu.
func (d *Driver) intervene(ctx context.Context, resume, drop bool) error {
	if resume {
		klog.FromContext(ctx).Info("Replay was paused, and is resumed because there is no source")
		if _, err := d.polled.Exec(ctx, "SELECT pg_wal_replay_resume()"); err != nil {
			return fmt.Errorf("resume replay: %w", err)
		}
	}
	if drop {
		if _, err := d.polled.Exec(ctx, endClients, "infinity"); err != nil {
			return fmt.Errorf("end the clients' sessions: %w", err)
		}
	}
	return nil
}

// earlier are the connections of names that are waited for which have a later one.
func earlier(standbys []standbyFacts, names []string) []int32 {
	var pids []int32
	latest := map[string]standbyFacts{}
	for _, s := range standbys {
		other, twice := latest[s.DataID]
		switch {
		case !slices.Contains(names, s.DataID):
			continue
		case !twice:
		case other.Begun < s.Begun:
			pids = append(pids, other.PID)
		default:
			pids = append(pids, s.PID)
			continue
		}
		latest[s.DataID] = s
	}
	return pids
}

// endEarlier ends connections of replicas. The caller holds d.mu.
func (d *Driver) endEarlier(ctx context.Context, pids []int32) error {
	if len(pids) == 0 || d.polled == nil {
		return nil
	}
	klog.FromContext(ctx).Info("A replica came back; its earlier connection is ended", "pids", pids)
	_, err := d.polled.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE pid = ANY ($1)", pids)
	return wrap("end the earlier connection of a replica", err)
}

// settling remembers how long a replica's position has been the same.
type settling struct {
	quiet    bool
	position int64
	since    time.Time
}

// look takes one look at the server, and says whether the replica is settled.
func (s *settling) look(now time.Time, facts replicationFacts, hasSource bool) bool {
	quiet := facts.recovery && !hasSource && !facts.hasSource && !facts.receiver && strings.HasSuffix(facts.startup, ":"+waitForMore)
	if !quiet || !s.quiet || s.position != facts.position {
		*s = settling{quiet: quiet, position: facts.position, since: now}
	}
	return quiet && (facts.received <= facts.position || now.Sub(s.since) > settleTime)
}

// replies remembers when, by our own clock, a replica's word changed: the time that it tells is by
// its own clock.
type replies map[string]reply

type reply struct {
	told string
	seen time.Time
}

// standbys makes the report. Of two connections of one name the one with the later word counts.
func (r *replies) standbys(now time.Time, facts []standbyFacts) []agent.Standby {
	known := replies{}
	byName := map[string]agent.Standby{}
	for _, f := range facts {
		word, same := (*r)[f.DataID]
		if !same || word.told != f.Reply {
			word = reply{told: f.Reply, seen: now}
		}
		if f.Reply == "" {
			word.seen = time.Time{}
		}
		known[f.DataID] = word
		byName[f.DataID] = agent.Standby{
			DataID: f.DataID, Streaming: f.Streaming, Flushed: agent.Position(f.Flushed), Replayed: agent.Position(f.Replayed), RepliedAt: word.seen,
		}
	}
	*r = known
	list := make([]agent.Standby, 0, len(byName))
	for _, standby := range byName {
		list = append(list, standby)
	}
	slices.SortFunc(list, func(a, b agent.Standby) int { return strings.Compare(a.DataID, b.DataID) })
	return list
}
