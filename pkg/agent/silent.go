package agent

import (
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// An engine that is up and does not answer. A setting can be why, and one that keeps the agent out
// must not keep it from mending that:
//
//  1. New files are read in, whether or not it answers: the wrong setting may be corrected in them.
//  2. What only a start changes, a start mends: the engine is stopped when new files did not help, or
//     when it never answered with files that are not known to be good.
//
// One that recovers, however long, says so, and is not silent.

const (
	silentReload = 10 * time.Second
	silentStop   = time.Minute
)

func silentStep(o *observed, spec *dbv1.DatabaseInstanceSpec) (step, bool) {
	silence := o.now.Sub(o.heardAt)
	change := o.config.change(spec)
	switch {
	case silence >= silentStop && (change || !o.answered && o.config.canFallBack()):
		return step{
			kind: stepStop, hopeless: true, phase: phaseOfStart(o), reason: ReasonStarting,
			message: "The engine does not answer with its configuration; stopping it, to start it with another one",
		}, true
	case silence >= silentReload && change:
		return o.due(step{
			kind: stepConfig, phase: phaseOfStart(o), reason: ReasonStarting,
			message: "The engine does not answer; letting it read its new configuration",
		})
	}
	return step{}, false
}
