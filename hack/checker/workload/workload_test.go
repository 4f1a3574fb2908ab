package workload

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/history"
)

var errRefused = errors.New("refused")

// fake is a database in the bubble's time.
type fake struct {
	mu sync.Mutex
	// down says whether it refuses connections now, by time since the start.
	down func(time.Duration) bool
	// write is called for every write. The default acknowledges after a millisecond.
	write func(ctx context.Context, at time.Duration) history.Attempt

	begin             time.Time
	connects, refused []time.Duration
	closed, prepared  int
}

func newFake() *fake {
	return &fake{begin: time.Now(), down: func(time.Duration) bool { return false }, write: func(context.Context, time.Duration) history.Attempt {
		time.Sleep(time.Millisecond)
		return history.Attempt{Outcome: history.Acknowledged, Stage: history.StageCommit}
	}}
}

// clock is never zero, as none is.
func (f *fake) clock() history.Instant { return history.Instant(time.Since(f.begin) + time.Hour) }

func (f *fake) Connect(context.Context) (engine.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := time.Since(f.begin)
	if f.down(at) {
		f.refused = append(f.refused, at)
		return nil, errRefused
	}
	f.connects = append(f.connects, at)
	return &fakeSession{f}, nil
}

func (f *fake) Prepare(context.Context) error {
	if f.down(time.Since(f.begin)) {
		return errRefused
	}
	f.prepared++
	return nil
}

func (f *fake) ReadBack(context.Context, []string) (history.Readback, error) {
	return history.Readback{}, nil
}

func (f *fake) Reason(err error) string { return err.Error() }

type fakeSession struct{ *fake }

func (s *fakeSession) Write(ctx context.Context, _ history.ID, sent func()) history.Attempt {
	sent()
	return s.write(ctx, time.Since(s.begin))
}

func (s *fakeSession) Newest(context.Context, string, int) ([]int64, history.Server, error) {
	return []int64{7}, history.Server{}, nil
}

func (s *fakeSession) Identify(context.Context) (history.Server, error) { return history.Server{}, nil }

// Idle ends by the other side after half a second when it is down then.
func (s *fakeSession) Idle(ctx context.Context) error {
	if s.down(500 * time.Millisecond) {
		time.Sleep(500 * time.Millisecond)
		return errors.New("ended")
	}
	<-ctx.Done()
	return nil
}

func (s *fakeSession) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

// length of a run. It ends between two requests.
const length = 995 * time.Millisecond

// runFor runs in the bubble's time and loads the log.
func runFor(t *testing.T, f *fake, edit func(*Config)) history.Run {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	log, err := history.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Run: "r", Start: history.Start{Clock: "c"}, Engine: f, Reader: f, Interval: 20 * time.Millisecond, ReadInterval: 100 * time.Millisecond,
		Timeouts: Timeouts{Prepare: time.Minute, Connect: time.Second, Request: 2 * time.Second},
		Log:      log, Clock: f.clock,
	}
	edit(&config)
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	if err := Run(ctx, config); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := history.LoadFiles(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Runs) != 1 || !h.Runs[0].Complete {
		t.Fatalf("the log has runs %+v", h.Runs)
	}
	return h.Runs[0]
}

func TestWritersKeepTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		run := runFor(t, f, func(c *Config) { c.Workers = 3 })
		if len(run.Writes) != 150 || len(f.connects) != 3 || f.closed != 3 || f.prepared != 1 {
			t.Errorf("%d writes, connected at %v, closed %d, prepared %d", len(run.Writes), f.connects, f.closed, f.prepared)
		}
		seen := map[[2]int64]bool{}
		for _, w := range run.Writes {
			id := [2]int64{int64(w.Worker), w.Sequence}
			if seen[id] || w.Outcome != history.Acknowledged || w.End.Sub(w.Sent) != time.Millisecond {
				t.Errorf("write %+v", w)
			}
			seen[id] = true
		}
	})
}

func TestAWriterConnectsAgainAtOnceAndThenAfterShortWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		lost := false
		f.down = func(at time.Duration) bool { return at >= 100*time.Millisecond && at < 600*time.Millisecond }
		f.write = func(_ context.Context, at time.Duration) history.Attempt {
			if f.down(at) {
				lost = true
				return history.Attempt{Outcome: history.Unknown, Stage: history.StageCommit, Error: "lost"}
			}
			return history.Attempt{Outcome: history.Acknowledged}
		}
		run := runFor(t, f, func(c *Config) { c.Workers = 1 })
		var want []time.Duration
		for _, at := range []int{100, 110, 130, 170, 250, 350, 450, 550} { // once at once, and then from 10 ms to 100 ms
			want = append(want, time.Duration(at)*time.Millisecond)
		}
		if !lost || !slices.Equal(f.refused, want) || !slices.Equal(f.connects, []time.Duration{0, 650 * time.Millisecond}) {
			t.Errorf("refused at %v, connected at %v", f.refused, f.connects)
		}
		report := history.Summarize(&run)
		if report.Unknown != 1 || report.Failed != len(f.refused) || report.Reconnects != 1 || report.Reasons["connect: open a session: refused"] != len(f.refused) {
			t.Errorf("unknown %d, failed %d, reconnects %d, reasons %v", report.Unknown, report.Failed, report.Reconnects, report.Reasons)
		}
		if got := report.LongestOutage.Length.Duration; got != 550*time.Millisecond {
			t.Errorf("outage %s", got)
		}
	})
}

func TestARequestThatHangsEndsByItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.write = func(ctx context.Context, _ time.Duration) history.Attempt {
			<-ctx.Done()
			return history.Attempt{Outcome: history.Unknown, Error: ctx.Err().Error()}
		}
		// The time of the run is up after a second: what is in flight is waited for.
		run := runFor(t, f, func(c *Config) { c.Workers = 1 })
		if len(run.Writes) != 1 || run.Writes[0].End.Sub(run.Writes[0].Begin) != 2*time.Second {
			t.Errorf("writes %+v", run.Writes)
		}
	})
}

func TestAConfirmationUnderReservationKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.write = func(context.Context, time.Duration) history.Attempt {
			return history.Attempt{Outcome: history.Unknown, Warning: "cancelled"}
		}
		run := runFor(t, f, func(c *Config) { c.Workers = 1 })
		if len(f.connects) != 1 || len(run.Writes) != 50 {
			t.Errorf("connected at %v, %d writes", f.connects, len(run.Writes))
		}
	})
}

func TestTheStartWaitsForTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.down = func(at time.Duration) bool { return at < 500*time.Millisecond }
		run := runFor(t, f, func(c *Config) { c.Workers = 1 })
		if got := time.Duration(run.Writes[0].Begin - run.Begin); got != 0 || len(f.refused) != 0 {
			t.Errorf("the first write begins %s after the start", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.down = func(time.Duration) bool { return true }
		err := Run(t.Context(), Config{Workers: 1, Engine: f, Timeouts: Timeouts{Prepare: time.Second}})
		if !errors.Is(err, errRefused) || time.Since(f.begin) != time.Second {
			t.Errorf("after %s: %v", time.Since(f.begin), err)
		}
	})
}

func TestALogThatCannotBeWrittenEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		log, err := history.OpenLog(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		f.write = func(context.Context, time.Duration) history.Attempt {
			_ = log.Close()
			return history.Attempt{Outcome: history.Acknowledged}
		}
		config := Config{Workers: 2, Engine: f, Interval: time.Second, Log: log, Clock: f.clock, Timeouts: Timeouts{Prepare: time.Second, Connect: time.Second, Request: time.Second}}
		if err := Run(t.Context(), config); err == nil || time.Since(f.begin) > time.Second {
			t.Errorf("after %s: %v", time.Since(f.begin), err)
		}
	})
}

func TestReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := runFor(t, newFake(), func(c *Config) { c.Workers, c.Readers = 1, 2 })
		if len(run.Reads) != 20 || run.Reads[0].Outcome != history.Acknowledged || !slices.Equal(run.Reads[0].Newest, []int64{7}) {
			t.Errorf("%d reads, the first %+v", len(run.Reads), run.Reads[0])
		}
	})
}

func TestHeldSessions(t *testing.T) {
	states := func(run history.Run) (states []history.SessionState, last time.Duration) {
		for _, s := range run.Sessions {
			states, last = append(states, s.State), s.At.Sub(run.Begin)
		}
		return states, last
	}
	synctest.Test(t, func(t *testing.T) {
		got, last := states(runFor(t, newFake(), func(c *Config) { c.Sessions = 1 }))
		if !slices.Equal(got, []history.SessionState{history.SessionOpened, history.SessionAnswers}) || last != length {
			t.Errorf("states %v, the last after %s", got, last)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.down = func(at time.Duration) bool { return at == 500*time.Millisecond }
		got, last := states(runFor(t, f, func(c *Config) { c.Sessions = 1 }))
		if !slices.Equal(got, []history.SessionState{history.SessionOpened, history.SessionEnded}) || last != 500*time.Millisecond {
			t.Errorf("states %v, the last after %s", got, last)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.down = func(time.Duration) bool { return true }
		if got, _ := states(runFor(t, f, func(c *Config) { c.Sessions = 1 })); !slices.Equal(got, []history.SessionState{history.SessionRefused}) {
			t.Errorf("states %v", got)
		}
	})
}

func TestTheWatchNoticesWhenThisProcessDidNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		run := runFor(t, f, func(c *Config) {
			// The clock jumps once by a second: as if the process had been stopped.
			clock := c.Clock
			c.Clock = func() history.Instant {
				if time.Since(f.begin) < 500*time.Millisecond {
					return clock()
				}
				return clock() + history.Instant(time.Second)
			}
			c.Workers = 1
		})
		report := history.Summarize(&run)
		if report.Stalls != 1 || report.LongestStall.Duration != time.Second+watchInterval {
			t.Errorf("%d stalls, the longest %s", report.Stalls, report.LongestStall)
		}
	})
}
