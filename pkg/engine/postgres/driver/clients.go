package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/platform-io/database-operator/pkg/naming"
)

// Clients are let in by the operator's pg_hba.conf, and kept out by one of our own. Which of the two
// it is lies on the volume, so a server that starts is closed from its first moment.
//
// The door of a primary is opened only when commits are known to wait for whom they must: right after
// a start or a promotion a server may not have told its processes yet.
//
// A session that was logging in while the file changed may come through; so as long as clients are
// kept out, every look at the server (Replication) ends those that it finds.

const clientPoll = 10 * time.Millisecond

// AdmitClients implements agent.Replicator.
func (d *Driver) AdmitClients(ctx context.Context, admit bool) error {
	return wrap("let clients in or keep them out", d.admitClients(ctx, admit))
}

func (d *Driver) admitClients(ctx context.Context, admit bool) error {
	if err := d.change(func(s *replicationState) { s.KeepClientsOut = !admit }); err != nil {
		return err
	}
	if !d.running() {
		return nil
	}
	if admit {
		if err := d.ensureWaiting(ctx); err != nil {
			return err
		}
	}
	conn, err := d.reload(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if admit {
		return nil
	}
	return dropClients(ctx, conn)
}

// endClients ends the sessions of clients that began before a time, and counts them. Those of the
// superuser come over the socket: they are the agent's, or a person's who helps.
const endClients = `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
	WHERE backend_type IN ('client backend', 'walsender') AND backend_start <= $1
	AND usename NOT IN ('` + superuser + `', '` + naming.ReplicationUser + `')`

// dropClients returns when no session of a client is left of those that there are now. (Clients that
// are let in come back at once.)
func dropClients(ctx context.Context, conn *pgx.Conn) error {
	var now time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return fmt.Errorf("end the clients' sessions: %w", err)
	}
	for {
		var left int
		if err := conn.QueryRow(ctx, endClients, now).Scan(&left); err != nil {
			return fmt.Errorf("end the clients' sessions: %w", err)
		}
		if left == 0 {
			return nil
		}
		if err := sleep(ctx, clientPoll); err != nil {
			return fmt.Errorf("%d clients' sessions do not end: %w", left, err)
		}
	}
}

const promotionPoll = 5 * time.Millisecond

// Promote implements agent.Replicator. Sessions are ended before it, because a query may hold up
// the replay of what is left, and after it, because they came to read from a replica.
func (d *Driver) Promote(ctx context.Context) error {
	return wrap("promote", d.promote(ctx))
}

func (d *Driver) promote(ctx context.Context) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	inRecovery, err := isInRecovery(ctx, conn)
	if err != nil {
		return err
	}
	if inRecovery {
		d.promoting.Store(true)
		if err := d.beginPromotion(ctx, conn); err != nil {
			return err
		}
	}
	for inRecovery {
		if err := sleep(ctx, promotionPoll); err != nil {
			return fmt.Errorf("recovery does not end: %w", err)
		}
		if inRecovery, err = isInRecovery(ctx, conn); err != nil {
			return err
		}
	}
	// The timeline is a new one.
	d.forget()
	if !d.promoting.Load() {
		// It has been a primary, and its clients are its own.
		return nil
	}
	if err := dropClients(ctx, conn); err != nil {
		return err
	}
	d.promoting.Store(false)
	return nil
}

func (d *Driver) beginPromotion(ctx context.Context, conn *pgx.Conn) error {
	d.files.Lock()
	err := d.changeLocked(func(s *replicationState) { s.Source, s.Slot = nil, false })
	d.files.Unlock()
	if err != nil {
		return err
	}
	if err := removeFile(d.replicationFile(filePassword)); err != nil {
		return err
	}
	if err := dropClients(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_promote(false)"); err != nil {
		return fmt.Errorf("end recovery: %w", err)
	}
	return nil
}

func isInRecovery(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var inRecovery bool
	err := conn.QueryRow(ctx, probeQuery).Scan(&inRecovery)
	return inRecovery, wrap("ask whether it is in recovery", err)
}

// inRecovery asks a running server.
func (d *Driver) inRecovery(ctx context.Context) (bool, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return false, err
	}
	defer closeConn(conn)
	return isInRecovery(ctx, conn)
}
