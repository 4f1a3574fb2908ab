package agent

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// A container whose startup probe fails for a minute is killed: that must help.
func TestWhoCountsAsStarted(t *testing.T) {
	empty := func(o *observed, s *dbv1.DatabaseInstanceSpec) {
		down(o)
		o.volume, o.repl = &Volume{State: VolumeEmpty}, &replication{}
		s.Members = []dbv1.InstanceMember{{Name: "db-0"}, {Name: "db-1"}}
	}
	for name, c := range map[string]struct {
		edit    func(*observed, *dbv1.DatabaseInstanceSpec)
		started bool
	}{
		"an empty replica that waits for a primary to copy from": {empty, true},
		"one that was just looked at again": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			empty(o, s)
			o.retryAt[string(stepInspect)+"/"] = now.Add(1)
		}, true},
		"one with data that waits for the election": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.repl = &replication{}
		}, true},
		"one that waits for its instance": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o); o.awaitSpec = true }, true},
		"one whose data is damaged": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume = &Volume{State: VolumeUnusable, Reason: ReasonDataDamaged}
		}, true},
		"one that has not looked at its volume": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o); o.volume = nil }, false},
		"one that is about to start its engine": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, spec := settledInstance()
			c.edit(o, spec)
			next := nextStep(o, dbv1.PostgreSQL, spec)
			a := New(Options{})
			a.beat()
			a.health.set(dbv1.DatabaseInstanceStatus{Phase: next.phase}, &memory{observed: *o}, next)
			answer := httptest.NewRecorder()
			a.probeHandler(func(s *healthState) bool { return s.started })(answer, nil)
			if got := answer.Code == http.StatusOK; got != c.started {
				t.Errorf("started is %v, at step %+v", got, next)
			}
		})
	}
}

// A start that goes well leaves no event of a failed probe; an engine that is not ready any more is told at once.
func TestReadinessWaitsForTheFirstTimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{})
		a.beat()
		set := func(ready bool) {
			a.health.set(dbv1.DatabaseInstanceStatus{Phase: dbv1.InstanceRunning, Ready: ready}, &memory{}, step{})
		}
		expect := func(code int, atLeast, atMost time.Duration) {
			t.Helper()
			began, answer := time.Now(), httptest.NewRecorder()
			a.readyz(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody))
			if took := time.Since(began); answer.Code != code || took < atLeast || took > atMost {
				t.Errorf("%d after %s, want %d after %s to %s", answer.Code, took, code, atLeast, atMost)
			}
		}
		set(false)
		expect(http.StatusServiceUnavailable, firstPatience, firstPatience)
		ready := time.AfterFunc(3*time.Second, func() { set(true) })
		defer ready.Stop()
		expect(http.StatusOK, 3*time.Second, 3*time.Second+100*time.Millisecond)
		set(false)
		expect(http.StatusServiceUnavailable, 0, 0)
	})
}
