package elector

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// The clocks. The kernel's monotonic clock stands still while the machine sleeps, its boot-time clock
// does not, and the wall clock also counts the time in which the whole (virtual) machine did not run,
// once somebody set it right. None is enough for a holder that must stop in time: the fence is the sum
// of the larger steps of the latter two. It never goes back, and never stands still: a wall clock that
// is set back gives way to the other.

// Reading is one reading of the three clocks.
type Reading struct {
	// Mono and Boot count from the start of the machine, Wall from 1970.
	Mono, Boot, Wall time.Duration
}

// Clock is read at any time, from any goroutine.
type Clock interface {
	Read() Reading
}

// SystemClock is the kernel's.
type SystemClock struct{}

// Read implements Clock.
func (SystemClock) Read() Reading {
	return Reading{Mono: readClock(unix.CLOCK_MONOTONIC), Boot: readClock(unix.CLOCK_BOOTTIME), Wall: readClock(unix.CLOCK_REALTIME)}
}

func readClock(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic("no such clock: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// Deadline is a moment on the clocks that do not stand still; it has passed when it has on either. A zero never
// passes: the two are read one after the other while somebody sets them.
type Deadline struct {
	Boot, Wall time.Duration
}

// Passed says whether a deadline has passed.
func (d Deadline) Passed(r Reading) bool {
	return d.Boot != 0 && r.Boot >= d.Boot || d.Wall != 0 && r.Wall >= d.Wall
}

// timeline is the time since the machine was made. It belongs to the loop.
type timeline struct {
	start, last Reading
	fence       time.Duration
}

// advance takes a new reading.
func (t *timeline) advance(r Reading) election.Now {
	t.fence += max(r.Boot-t.last.Boot, r.Wall-t.last.Wall, 0)
	t.last = r
	return election.Now{Mono: r.Mono - t.start.Mono, Fence: t.fence, Wall: r.Wall.Microseconds()}
}

// deadline is the moment at which the fence is at that point, unless it is set or sleeps on the way.
func (t *timeline) deadline(fence time.Duration) Deadline {
	left := fence - t.fence
	// Zero stands for none.
	return Deadline{Boot: max(t.last.Boot+left, 1), Wall: max(t.last.Wall+left, 1)}
}
