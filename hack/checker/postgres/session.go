package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/history"
)

// session implements engine.Session.
type session struct {
	engine *Engine
	conn   *pgx.Conn
	// warning is the last one that the server sent.
	warning string
}

// notice is called while an answer is read.
func (s *session) notice(_ *pgconn.PgConn, notice *pgconn.Notice) {
	severity := notice.SeverityUnlocalized
	if severity == "" {
		severity = notice.Severity
	}
	if severity == "WARNING" {
		s.warning = notice.Message
	}
}

// Write implements engine.Session.
func (s *session) Write(ctx context.Context, id history.ID, sent func()) history.Attempt {
	if _, err := s.execute(ctx, "BEGIN"); err != nil {
		return attempt(history.Failed, history.StageWrite, err)
	}
	server := &history.Server{}
	row := s.conn.QueryRow(ctx, s.engine.insert, id.Run, id.Worker, id.Sequence)
	if err := scanServer(row, server); err != nil {
		return attempt(history.Failed, history.StageWrite, err)
	}
	result := s.commit(ctx, sent)
	result.Server = server
	return result
}

func (s *session) commit(ctx context.Context, sent func()) history.Attempt {
	if err := ctx.Err(); err != nil {
		return attempt(history.Failed, history.StageWrite, err)
	}
	s.warning = ""
	sent()
	tag, err := s.execute(ctx, "COMMIT")
	return judge(tag.String(), s.warning, err)
}

// execute does not use the simple protocol: there, pgx hides the loss of a connection behind "conn closed".
func (s *session) execute(ctx context.Context, sql string) (pgconn.CommandTag, error) {
	tag, err := s.conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Close()
	if err != nil {
		return tag, fmt.Errorf("%s: %w", sql, err)
	}
	return tag, nil
}

// judge says what the answer to COMMIT means. It does not ask pgconn.SafeToRetry, which is also true of a connection that was found
// closed while the answer was read: most of what was in flight when a server died would pass for failed.
func judge(tag, warning string, err error) history.Attempt {
	var refusal *pgconn.PgError
	result := history.Attempt{Outcome: history.Acknowledged, Stage: history.StageCommit}
	switch {
	case err == nil && tag == "COMMIT" && warning != "":
		// Any warning, not only the one about cancelled waits: its text may be in any language.
		result.Outcome, result.Reason = history.Unknown, "warning"
	case err == nil && tag == "COMMIT":
	case err == nil:
		result = attempt(history.Failed, history.StageCommit, fmt.Errorf("COMMIT was answered by %q", tag))
	case errors.As(err, &refusal) && severity(refusal) == "ERROR":
		result = attempt(history.Failed, history.StageCommit, err)
	default:
		result = attempt(history.Unknown, history.StageCommit, err)
	}
	result.Warning = warning
	return result
}

func severity(e *pgconn.PgError) string {
	if e.SeverityUnlocalized != "" {
		return e.SeverityUnlocalized
	}
	return e.Severity
}

func attempt(outcome history.Outcome, stage history.Stage, err error) history.Attempt {
	return history.Attempt{Outcome: outcome, Stage: stage, Reason: reason(err), Error: err.Error()}
}

func reason(err error) string {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refusal.Code
	}
	return engine.Reason(err)
}

func scanServer(row pgx.Row, server *history.Server) error {
	return row.Scan(&server.Instance, &server.Address, &server.Started, &server.Epoch, &server.Process, &server.Position)
}

// Identify implements engine.Session.
func (s *session) Identify(ctx context.Context) (history.Server, error) {
	server := history.Server{}
	if err := scanServer(s.conn.QueryRow(ctx, s.engine.identity), &server); err != nil {
		return history.Server{}, fmt.Errorf("ask the server who it is: %w", err)
	}
	return server, nil
}

// Newest implements engine.Session. A standby that has no table yet shows no rows.
func (s *session) Newest(ctx context.Context, run string, workers int) ([]int64, history.Server, error) {
	server, err := s.Identify(ctx)
	if err != nil {
		return nil, server, err
	}
	rows, err := s.conn.Query(ctx, `SELECT coalesce((SELECT max(sequence) FROM checker_writes WHERE run = $1 AND worker = number), 0)
		FROM generate_series(0, $2::integer - 1) AS number ORDER BY number`, run, workers)
	var newest []int64
	if err == nil {
		newest, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil && !isMissing(err) {
		return nil, server, fmt.Errorf("read the newest rows: %w", err)
	}
	return newest, server, nil
}

// Idle implements engine.Session.
func (s *session) Idle(ctx context.Context) error {
	for {
		err := s.conn.PgConn().WaitForNotification(ctx)
		if err != nil && ctx.Err() != nil && !s.conn.IsClosed() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("idle: %w", err)
		}
	}
}

// Close implements engine.Session. What is broken is cut off at once.
func (s *session) Close() {
	if !s.conn.IsClosed() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = s.conn.Close(ctx)
	}
	_ = s.conn.PgConn().Conn().Close()
}
