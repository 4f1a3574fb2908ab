//go:build !linux

package engine

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing: the time-outs of requests must do.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
