// Package lock lets one process at a time do something. The kernel releases a lock when its holder ends, however that happens.
package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Acquire waits for the lock of that file and returns what releases it. The file stays: removing it would race with the next one.
func Acquire(file string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of a lock: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", file, err)
	}
	return func() { _ = f.Close() }, nil
}
