package controller

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSinceWhenALeaseIsAsItIs(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	lease := func(version string, renewed int) *coordinationv1.Lease {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{UID: "lease", ResourceVersion: version}}
		l.Spec.LeaseDurationSeconds = new(int32(15))
		// Another machine's clock, which runs backwards.
		l.Spec.RenewTime = new(metav1.NewMicroTime(at(-1000 - renewed)))
		return l
	}
	var clock leaseClock
	for _, step := range []struct {
		what        string
		lease       *coordinationv1.Lease
		at, since   int
		moved, news bool
	}{
		{"seen for the first time", lease("10", 0), 0, 0, false, false},
		{"looked at again", lease("10", 0), 3, 0, false, false},
		{"renewed for the first time", lease("11", 1), 5, 5, true, true},
		{"renewed", lease("12", 2), 10, 10, true, false},
		{"labelled, which is no renewal", lease("13", 2), 12, 10, true, false},
		{"not renewed", lease("13", 2), 40, 10, true, false},
		{"renewed again after it was silent", lease("20", 3), 50, 50, true, true},
		{"a cache that is behind", lease("13", 2), 52, 50, true, false},
		{"renewed as always", lease("21", 4), 55, 55, true, false},
	} {
		seen, news := clock.note(step.lease, at(step.at))
		if !seen.since.Equal(at(step.since)) || seen.moved != step.moved || news != step.news {
			t.Errorf("%s: since %s, moved %v, news %v", step.what, seen.since.Sub(start), seen.moved, news)
		}
	}
	clock.forget(lease("21", 4))
	if seen, _ := clock.note(lease("21", 4), at(60)); seen.moved || !seen.since.Equal(at(60)) {
		t.Errorf("forgotten, and seen anew: %+v", seen)
	}
}
