package elector

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestThePulseStopsWhileATestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := testClock{start: time.Now()}
		ctx, end := context.WithCancel(t.Context())
		hang := make(chan struct{})
		var tests atomic.Int32
		var mode atomic.Value
		mode.Store("fail")
		p := NewPulse(func() time.Duration { return clock.Read().Mono }, func(context.Context) error {
			tests.Add(1)
			switch mode.Load() {
			case "fail":
				return errors.New("input/output error")
			case "hang":
				<-hang
			}
			return nil
		})
		go p.Run(ctx)
		time.Sleep(5500 * time.Millisecond)
		if p.At() >= 0 {
			t.Error("tests that fail count")
		}
		mode.Store("work")
		time.Sleep(time.Second)
		at := p.At()
		if at < time.Hour+5*time.Second {
			t.Errorf("the last test that worked was at %s", at)
		}
		mode.Store("hang")
		time.Sleep(time.Minute)
		if p.At() != at || tests.Load() != 8 {
			t.Errorf("at %s, after %d tests", p.At(), tests.Load())
		}
		mode.Store("work")
		close(hang)
		time.Sleep(2 * time.Second)
		if p.At() < at+time.Minute {
			t.Errorf("it does not go on: %s", p.At())
		}
		end()
		synctest.Wait()
	})
}

func TestAQueryWithoutAnAnswerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		var tests atomic.Int32
		p := NewPulse(func() time.Duration { return 0 }, func(ctx context.Context) error {
			tests.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		go p.Run(ctx)
		time.Sleep(100 * time.Second)
		if tests.Load() < 3 {
			t.Errorf("there were %d tests", tests.Load())
		}
		end()
		synctest.Wait()
	})
}
