package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Whether storage still works. A write that hangs cannot be cancelled, and must not pile up: while
// one hangs, no other is begun, and each call waits for it as long as its context lets it.
//
// Clients that take all connections are no failure of the server: it would be killed for that, and the
// next primary would get the same clients.

const fileTest = "storage-test"

// sharedQuery takes every lock of the lock table, which a server whose shared memory is stuck cannot.
const sharedQuery = `SELECT count(*) FROM pg_locks`

// TestStorage implements agent.Replicator.
func (d *Driver) TestStorage(ctx context.Context) error {
	test := d.beginStorageTest()
	select {
	case <-test.done:
		if test.err != nil {
			return test.err
		}
	case <-ctx.Done():
		return fmt.Errorf("a write on the volume does not return: %w", context.Cause(ctx))
	}
	if !d.running() {
		return nil
	}
	return d.askLocks(ctx)
}

// askLocks asks on a new connection. One that is refused because there are too many says nothing of the server's
// memory; that is asked for on the connection from before, which is kept for this.
func (d *Driver) askLocks(ctx context.Context) error {
	d.locks.Lock()
	defer d.locks.Unlock()
	conn, err := d.connect(ctx)
	server, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		if d.locks.conn != nil {
			closeConn(d.locks.conn)
		}
		d.locks.conn = conn
	case !refused || server.Code != codeTooManyConnections || d.locks.conn == nil:
		return err
	}
	if _, err := d.locks.conn.Exec(ctx, sharedQuery); err != nil {
		closeConn(d.locks.conn)
		d.locks.conn = nil
		return fmt.Errorf("ask the server for its locks: %w", err)
	}
	return nil
}

// codeTooManyConnections is how a server refuses a client that it has no place for.
const codeTooManyConnections = "53300"

// keptConn is a connection that one call leaves to the next.
type keptConn struct {
	sync.Mutex
	conn *pgx.Conn
}

// storageTest is a write that has ended when done is closed.
type storageTest struct {
	done chan struct{}
	err  error
}

// beginStorageTest begins a write, unless one hangs.
func (d *Driver) beginStorageTest() *storageTest {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.storage != nil {
		select {
		case <-d.storage.done:
		default:
			return d.storage
		}
	}
	test := &storageTest{done: make(chan struct{})}
	d.storage = test
	go func() {
		defer close(test.done)
		test.err = writeTest(d.replicationDir(), d.replicationFile(fileTest))
	}()
	return test
}

// writeTest overwrites a small file in its place: that needs no room, so that a full volume passes.
func writeTest(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write on the volume: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write on the volume: %w", err)
	}
	_, err = file.WriteAt([]byte("a write that must return\n"), 0)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write on the volume: %w", err)
	}
	return nil
}
