package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Whether storage still works. A write that hangs cannot be cancelled, and must not pile up: while
// one hangs, no other is begun, and each call waits for it as long as its context lets it.

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
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, sharedQuery); err != nil {
		return fmt.Errorf("ask the server for its locks: %w", err)
	}
	return nil
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
