package agent

import (
	"net/http"
	"net/http/httptest"
	"testing"

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
