// Package workload is what a checker does to a database: it writes, reads, and holds sessions, and writes down what came of it.
//
//  1. The place for rows is made, and the start is logged.
//  2. Every writer and reader has a session of its own, and one request at a time. After an error it opens another one: at once, then
//     after short waits. A request that found no connection counts as a failed one.
//  3. Every request has a time-out, and its outcome is logged before the next one begins. When the time is up, requests in flight are
//     waited for: their outcome counts.
//  4. A watch notices when this process did not run, so that its own sleep is not taken for the database's.
package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/history"
)

// Config of a run.
type Config struct {
	Run   string
	Start history.Start
	// Engine is written to.
	Engine  engine.Engine
	Workers int
	// Interval from the begin of a request to the begin of the next one.
	Interval time.Duration
	// Reader is read from.
	Reader       engine.Engine
	Readers      int
	ReadInterval time.Duration
	// Sessions are held open to Engine.
	Sessions int
	Timeouts Timeouts
	Log      *history.Log
	Clock    func() history.Instant
}

// Timeouts of a run.
type Timeouts struct {
	// Prepare bounds the time until the place for rows is there.
	Prepare time.Duration
	Connect time.Duration
	Request time.Duration
}

const (
	// The waits between attempts to connect: none before the second one, then these, doubled.
	minBackoff = 10 * time.Millisecond
	maxBackoff = 100 * time.Millisecond

	watchInterval = 20 * time.Millisecond
	// stall is longer than a busy machine lets a process wait.
	stall = 100 * time.Millisecond
)

type workload struct{ Config }

// Run works until the context is done. It fails when the log cannot be written.
func Run(ctx context.Context, config Config) error {
	w := &workload{config}
	if w.Workers > 0 {
		if err := w.prepare(ctx); err != nil {
			return err
		}
	}
	if err := w.log(history.Event{Start: &w.Start}); err != nil {
		return err
	}
	if err := w.work(ctx); err != nil {
		return err
	}
	return w.log(history.Event{End: &history.End{}})
}

func (w *workload) prepare(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, w.Timeouts.Prepare)
	defer cancel()
	for {
		attempt, cancelAttempt := context.WithTimeout(limit, w.Timeouts.Connect+w.Timeouts.Request)
		err := w.Engine.Prepare(attempt)
		cancelAttempt()
		if err == nil {
			return nil
		}
		if sleep(limit, maxBackoff); limit.Err() != nil {
			return fmt.Errorf("prepare for %s: %w", w.Timeouts.Prepare, err)
		}
	}
}

// work runs everything and returns when all of it has ended.
func (w *workload) work(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	start := func(count int, run func(context.Context, int) error) {
		for number := range count {
			wait.Go(func() {
				if err := run(ctx, number); err != nil {
					cancel(err)
				}
			})
		}
	}
	start(w.Workers, w.write)
	start(w.Readers, w.read)
	start(w.Sessions, w.hold)
	start(1, w.watch)
	wait.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// log stamps and appends an event.
func (w *workload) log(event history.Event) error {
	event.Run, event.Wall, event.At = w.Run, time.Now(), w.Clock()
	return w.Log.Append(event)
}

// watch logs when this process did not run.
func (w *workload) watch(ctx context.Context, _ int) error {
	for ctx.Err() == nil {
		before := w.Clock()
		sleep(ctx, watchInterval)
		if w.Clock().Sub(before) > watchInterval+stall {
			if err := w.log(history.Event{Stall: &history.Stall{Begin: before}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// connection is a session that is opened anew after every error.
type connection struct {
	*workload
	engine   engine.Engine
	session  engine.Session
	failures int
}

// open opens a session, unless there is one, and says whether it did.
func (c *connection) open(ctx context.Context) (bool, error) {
	if c.session != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.Connect)
	defer cancel()
	session, err := c.engine.Connect(ctx)
	if err != nil {
		return false, fmt.Errorf("open a session: %w", err)
	}
	c.session = session
	return true, nil
}

// next closes what failed, and waits until the next request is due.
func (c *connection) next(ctx context.Context, begin history.Instant, interval time.Duration, ok bool) {
	if ok {
		c.failures = 0
		sleep(ctx, interval-c.Clock().Sub(begin))
		return
	}
	c.close()
	c.failures++
	if c.failures > 1 {
		sleep(ctx, min(minBackoff<<min(c.failures-2, 10), maxBackoff))
	}
}

func (c *connection) close() {
	if c.session != nil {
		c.session.Close()
		c.session = nil
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
