package agent

import (
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// An engine that is up and says nothing. A setting can be why, and one that keeps the agent out must
// not keep it from mending that:
//
//  1. One that has answered since its start is let read new files, and is never stopped for its
//     silence: it serves, as far as anybody knows.
//  2. One that never answered, with files that are not known to be good, is stopped, and started with
//     the last good ones, or with new ones. Until then it gets no new files: its first answer would
//     be taken for a word about what it was started with.
//  3. One that never answered with files that are known to be good is silent for another reason.
//
// An engine that recovers, however long, or has no connection left, says so, and is not silent.

const (
	silentReload = 10 * time.Second
	silentStop   = time.Minute
)

// silence is how long nothing was heard, as far as it was asked: of each question that failed no more
// counts than it can take, with the pause before it. Who was frozen, together with the engine, did not
// ask.
type silence struct {
	lasted time.Duration
	since  time.Time
}

// broken begins anew.
func (s *silence) broken(now time.Time) { s.lasted, s.since = 0, now }

// goesOn counts one more question without an answer.
func (s *silence) goesOn(now time.Time) {
	s.lasted += min(now.Sub(s.since), probeTimeout+pollRunning)
	s.since = now
}

func silentStep(o *observed, spec *dbv1.DatabaseInstanceSpec) (step, bool) {
	c, change := o.config, o.config.change(spec)
	switch {
	case o.answered && change && o.silence.lasted >= silentReload:
		return o.due(step{
			kind: stepConfig, phase: phaseOfStart(o), reason: ReasonStarting,
			message: "The engine does not answer; letting it read its new configuration",
		})
	case !o.answered && c.current != c.good && (change || c.good != "") && o.silence.lasted >= silentStop:
		return step{
			kind: stepStop, hopeless: true, phase: phaseOfStart(o), reason: ReasonStarting,
			message: "The engine does not answer with its configuration; stopping it, to start it with another one",
		}, true
	}
	return step{}, false
}
