package elector

import (
	"testing"
	"time"
)

func TestTheFenceNeitherStandsStillNorGoesBack(t *testing.T) {
	start := Reading{Mono: 100 * time.Second, Boot: 200 * time.Second, Wall: 1000 * time.Second}
	line := timeline{start: start, last: start}
	// advance by so many seconds on each clock.
	last := start
	for _, step := range []struct {
		what                    string
		mono, boot, wall        float64
		wantMono, wantFenceStep float64
	}{
		{"all run", 1, 1, 1, 1, 1},
		{"the machine sleeps", 1, 60, 60, 2, 60},
		{"the machine is stopped by its host, which sets the clock right", 1, 1, 30, 3, 30},
		{"the wall clock is set forward", 1, 1, 3600, 4, 3600},
		{"and back again", 1, 1, -3600, 5, 1},
		{"the wall clock is slow", 1, 1, 0.9, 6, 1},
	} {
		before := line.fence
		last.Mono += seconds(step.mono)
		last.Boot += seconds(step.boot)
		last.Wall += seconds(step.wall)
		now := line.advance(last)
		if now.Mono != seconds(step.wantMono) || now.Fence-before != seconds(step.wantFenceStep) {
			t.Errorf("%s: got %s, and a step of %s", step.what, now.Mono, now.Fence-before)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func TestADeadlineHasPassedWhenItHasOnEitherClock(t *testing.T) {
	start := Reading{Boot: 200 * time.Second, Wall: 1000 * time.Second}
	line := timeline{start: start, last: start}
	d := line.deadline(10 * time.Second)
	for _, c := range []struct {
		boot, wall time.Duration
		want       bool
	}{
		{200 * time.Second, 1000 * time.Second, false},
		{210*time.Second - 1, 1010*time.Second - 1, false},
		{210 * time.Second, 900 * time.Second, true},
		{205 * time.Second, 1010 * time.Second, true},
	} {
		r := Reading{Boot: c.boot, Wall: c.wall}
		if got := d.Passed(r); got != c.want {
			t.Errorf("at %+v: %v", r, got)
		}
		if (Deadline{}).Passed(r) {
			t.Errorf("none has passed at %+v", r)
		}
	}
	// One that has passed before the machine was made is not none.
	early := timeline{last: Reading{Boot: time.Second, Wall: time.Second}, fence: time.Hour}
	if d := early.deadline(0); !d.Passed(early.last) {
		t.Errorf("%+v has not passed", d)
	}
}

func TestTheKernelsClocksRun(t *testing.T) {
	a := SystemClock{}.Read()
	b := SystemClock{}.Read()
	if a.Mono <= 0 || a.Boot < a.Mono-time.Second || b.Mono < a.Mono || b.Boot < a.Boot || time.Unix(0, int64(a.Wall)).Year() < 2020 {
		t.Errorf("%+v, then %+v", a, b)
	}
}
