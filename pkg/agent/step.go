package agent

import (
	"fmt"
	"reflect"
	"time"

	"github.com/platform-io/database-operator/pkg/agent/election"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// What comes next.
//
// nextStep looks at what is (observed) and what must be (the spec) and names one step, or what it
// waits for. There is no other memory: after any crash the same step comes out again. Order matters,
// from the top: stopping; a person's fence; the operation; the engine that is down (volume, data,
// configuration, start); the engine that is up (configuration, accounts, label).

type stepKind string

const (
	stepWait           stepKind = "wait"
	stepExit           stepKind = "exit"
	stepInspect        stepKind = "inspect"
	stepBootstrap      stepKind = "bootstrap"
	stepConfig         stepKind = "config"
	stepFallback       stepKind = "fallback"
	stepStart          stepKind = "start"
	stepPrepareStop    stepKind = "prepare-stop"
	stepStop           stepKind = "stop"
	stepBeginOperation stepKind = "begin-operation"
	stepEndOperation   stepKind = "end-operation"
	stepLabel          stepKind = "label"
	stepAccount        stepKind = "account"
)

// step is one thing to do, or to wait for, and what the status says meanwhile.
type step struct {
	kind    stepKind
	phase   dbv1.InstancePhase
	reason  string
	message string
	// account is the username, for stepAccount.
	account string
	// until is when a wait ends by itself.
	until time.Time
	// hopeless: what is stopped counts as a start that failed.
	hopeless bool
}

// key names the step for its backoff.
func (s step) key() string { return string(s.kind) + "/" + s.account }

type engineState string

const (
	engineDown     engineState = "down"
	engineStarting engineState = "starting"
	engineRunning  engineState = "running"
)

// observed is all that the loop knows, as plain values.
type observed struct {
	now      time.Time
	stopping bool
	// fresh: the spec comes from the API server, not from the volume.
	fresh bool
	// awaitSpec: the agent just started, and the API server may still tell something newer than
	// what was stored.
	awaitSpec bool
	// volume is what Inspect found; volumeStale asks for another look before the next start.
	volume      *Volume
	volumeStale bool

	engine engineState
	// between: a start or a stop is under way.
	between bool
	// repl is what is known of replication, nil for an engine that does not replicate.
	repl *replication
	// stopPreparedAt is when a stop was last prepared.
	stopPreparedAt time.Time
	// lastError is how the engine last ended, when nobody asked it to.
	lastError string
	// startFailed: it ended before it ever answered.
	startFailed bool
	// shutOut: it lets nobody in, or nobody but the agent, for which its configuration is the likely
	// reason.
	shutOut bool
	// answered: it answered since it was started; silence is since it last said anything, or was
	// started.
	answered bool
	silence  silence
	// noAnswer is what came in the place of its last answer, "" when that came.
	noAnswer string
	// restartAt is the earliest time of the next start.
	restartAt time.Time

	config configFacts

	operation *dbv1.InstanceOperationStatus
	// operationDown: the engine was down since the operation began; operationSince is when that was.
	operationDown  bool
	operationSince time.Time
	// leaveUntil is how long an instance that is stopped may take to hand over.
	leaveUntil time.Time

	accounts map[string]accountFacts
	report   *Report
	// labelled is the role that the pod's label was seen to have; labelDue asks for another look.
	labelled dbv1.InstanceRole
	labelDue bool
	// retryAt holds the steps that failed, by key, and when they may be tried again.
	retryAt map[string]time.Time
}

// configFacts is what is known of the configuration.
type configFacts struct {
	// mounted is the hash of the files that the kubelet shows.
	mounted string
	// current is the hash of the files that the engine was pointed at; good of the last ones that
	// it was seen to start with.
	current, good string
	// refused was not accepted, with the engine's words.
	refused, refusal string
	// late was not read in time once, while the one before was.
	late           string
	pendingRestart []string
}

// wanted is the hash that the spec asks for.
func (c configFacts) wanted(spec *dbv1.DatabaseInstanceSpec) string {
	if spec == nil || spec.ConfigHash == "" {
		return c.mounted
	}
	return spec.ConfigHash
}

// refusedNow is the hash that the spec asks for, if it was refused.
func (c configFacts) refusedNow(spec *dbv1.DatabaseInstanceSpec) string {
	if c.wanted(spec) != c.refused {
		return ""
	}
	return c.refused
}

// change says whether new files are there to be taken over.
func (c configFacts) change(spec *dbv1.DatabaseInstanceSpec) bool {
	wanted := c.wanted(spec)
	return wanted != c.current && wanted != c.refused && wanted == c.mounted
}

// canFallBack says whether there is another configuration that is known to be good.
func (c configFacts) canFallBack() bool { return c.good != "" && c.good != c.current }

// preparedFor is how long a stop that was prepared is a short one.
const preparedFor = time.Minute

// nextStep names the one step that comes next. A stop is prepared first: meanwhile the engine serves, and the
// stop can still be called off. A primary that lost the Lease is stopped at once.
func nextStep(o *observed, own dbv1.Engine, spec *dbv1.DatabaseInstanceSpec) step {
	next := wantedStep(o, own, spec)
	lost := o.repl != nil && o.repl.done.mode == StartPrimary && !o.repl.Holding
	if next.kind == stepStop && o.engine == engineRunning && !lost && o.now.Sub(o.stopPreparedAt) > preparedFor {
		next.kind = stepPrepareStop
	}
	return next
}

func wantedStep(o *observed, own dbv1.Engine, spec *dbv1.DatabaseInstanceSpec) step {
	if o.stopping {
		return stoppingStep(o)
	}
	if s, ok := heldBack(o, own, spec); ok {
		return s
	}
	if o.shutOut && o.engine != engineDown {
		return step{
			kind: stepStop, phase: phaseOfStart(o), reason: ReasonStarting,
			message: "The engine lets no session in with its configuration; stopping it, to start it with another one",
		}
	}
	if s, ok := operationStep(o, spec); ok {
		return s
	}
	switch o.engine {
	case engineDown:
		return downStep(o, spec)
	case engineStarting:
		if s, ok := electedStarting(o); ok {
			return s
		}
		if s, ok := silentStep(o, spec); ok {
			return s
		}
		// The health poll wakes us, or the end of the engine.
		return waiting(phaseOfStart(o), ReasonStarting, silenceMessage(o))
	default:
		return runningStep(o, spec)
	}
}

func stoppingStep(o *observed) step {
	if o.repl != nil && o.repl.Holding && o.now.Before(o.leaveUntil) {
		// The election stops the engine, and gives the Lease to a successor.
		if o.engine == engineDown || o.repl.Want.Mode != election.ModeDown {
			return waiting(dbv1.InstanceStopping, ReasonStopping, "Handing over, because the pod is being stopped")
		}
	}
	if o.engine == engineDown {
		return step{kind: stepExit, phase: dbv1.InstanceStopped, reason: ReasonStopping, message: "The pod was stopped"}
	}
	return step{kind: stepStop, phase: dbv1.InstanceStopping, reason: ReasonStopping, message: "The pod is being stopped"}
}

// heldBack says why nothing is done for the spec as yet.
func heldBack(o *observed, own dbv1.Engine, spec *dbv1.DatabaseInstanceSpec) (step, bool) {
	switch {
	case spec == nil, o.awaitSpec && o.engine == engineDown:
		// The watch wakes us, or the tick, when the API server does not answer and there is a stored spec.
		return waiting(dbv1.InstanceStarting, ReasonWaiting, "Waiting for the DatabaseInstance of this pod"), true
	case spec.Engine != own:
		return waiting(dbv1.InstanceFailed, ReasonWrongEngine,
			fmt.Sprintf("The DatabaseInstance is for %s, but this container runs %s", spec.Engine, own)), true
	case spec.Fenced && o.engine != engineDown && o.repl == nil:
		return step{kind: stepStop, phase: dbv1.InstanceStopping, reason: ReasonFenced, message: "Stopping, because the instance is fenced"}, true
	case spec.Fenced && o.engine == engineDown:
		return waiting(dbv1.InstanceStopped, ReasonFenced, "The instance is fenced: its engine stays down until the fence is lifted"), true
	}
	return step{}, false
}

// operationStep carries an operation through: written down, stopped, started, written down. A
// container that was restarted in between has done the restart.
func operationStep(o *observed, spec *dbv1.DatabaseInstanceSpec) (step, bool) {
	asked, op := spec.Operation, o.operation
	if asked != nil && (op == nil || op.ID != asked.ID) {
		return o.due(step{
			kind: stepBeginOperation, phase: dbv1.InstanceRestarting, reason: ReasonRestarting,
			message: "Beginning operation " + asked.ID,
		})
	}
	switch {
	case op == nil || op.Phase != dbv1.OperationRunning:
		return step{}, false
	case asked != nil && asked.Kind != dbv1.OperationRestart:
		return electionOperationStep(o, asked)
	}
	return restartStep(o, op)
}

// restartStep carries a restart of the engine through.
func restartStep(o *observed, op *dbv1.InstanceOperationStatus) (step, bool) {
	switch {
	case !o.operationDown && o.engine != engineDown:
		return step{
			kind: stepStop, phase: dbv1.InstanceRestarting, reason: ReasonRestarting,
			message: "Restarting, as asked by operation " + op.ID,
		}, true
	case o.engine == engineRunning, o.startFailed && !o.config.canFallBack():
		return o.due(step{
			kind: stepEndOperation, phase: dbv1.InstanceRestarting, reason: ReasonRestarting,
			message: "Ending operation " + op.ID,
		})
	}
	return step{}, false
}

// downStep leads an engine that is down to its start.
func downStep(o *observed, spec *dbv1.DatabaseInstanceSpec) step {
	if o.volume == nil || o.volumeStale {
		s, ok := o.due(step{kind: stepInspect, phase: dbv1.InstanceStarting, reason: ReasonStarting, message: "Looking at the volume"})
		if !ok {
			s = waiting(dbv1.InstanceFailed, ReasonVolumeUnreadable, o.lastError)
		}
		return s
	}
	if o.volume.State != VolumeReady {
		return emptyStep(o, spec)
	}
	if o.foreign(spec) {
		return o.again(waiting(dbv1.InstanceFailed, ReasonForeignData, foreignMessage(o, spec)))
	}
	if s, ok := electedDown(o); ok {
		return s
	}
	if s, ok := downConfigStep(o, spec); ok {
		return s
	}
	if o.now.Before(o.restartAt) {
		s := waiting(dbv1.InstanceFailed, ReasonEngineFailed, "The engine ended and is started again soon: "+o.lastError)
		s.until = o.restartAt
		return s
	}
	return step{kind: stepStart, phase: phaseOfStart(o), reason: ReasonStarting, message: startMessage(o)}
}

// foreign says whether the data is not that of this database.
func (o *observed) foreign(spec *dbv1.DatabaseInstanceSpec) bool {
	return spec.SystemID != "" && o.volume != nil && o.volume.SystemID != spec.SystemID
}

func foreignMessage(o *observed, spec *dbv1.DatabaseInstanceSpec) string {
	return fmt.Sprintf("The volume holds the data of another database (system identifier %s, expected %s): "+
		"it is neither started nor changed; give the instance its own volume back, or restore from a backup",
		o.volume.SystemID, spec.SystemID)
}

// emptyStep is for a volume without a database that can be run.
func emptyStep(o *observed, spec *dbv1.DatabaseInstanceSpec) step {
	switch {
	case o.volume.State == VolumeUnusable:
		return o.again(waiting(dbv1.InstanceFailed, o.volume.Reason, o.volume.Message))
	case o.repl != nil && o.repl.Want.Mode == election.ModeClone:
		s, _ := electedDown(o)
		return s
	case o.repl != nil && !spec.Bootstrap && len(spec.Members) > 1:
		return o.again(waiting(dbv1.InstanceStarting, ReasonElecting, "The volume is empty; waiting for a primary to copy from"))
	case spec.SystemID != "":
		return o.again(waiting(dbv1.InstanceFailed, ReasonVolumeEmpty, fmt.Sprintf(
			"The volume is empty, but this database exists already (system identifier %s): no new one is made in its place; "+
				"give the instance its volume back, or restore from a backup", spec.SystemID)))
	case !spec.Bootstrap:
		return o.again(waiting(dbv1.InstanceStopped, ReasonVolumeEmpty, "The volume is empty, and this instance may not make a new database"))
	}
	if !o.fresh {
		return waiting(dbv1.InstanceStarting, ReasonWaiting, "Waiting for the API server, before a new database is made")
	}
	s, ok := o.due(step{kind: stepBootstrap, phase: dbv1.InstanceInitializing, reason: ReasonInitializing, message: "Making a new database"})
	if !ok {
		return waiting(dbv1.InstanceFailed, ReasonInitializationFailed, "The new database could not be made, and is tried again: "+o.lastError)
	}
	return s
}

// downConfigStep settles which configuration the engine is started with: the mounted one when it
// is accepted, else the last good one.
func downConfigStep(o *observed, spec *dbv1.DatabaseInstanceSpec) (step, bool) {
	c := o.config
	switch {
	case o.startFailed && c.canFallBack():
		return o.due(step{
			kind: stepFallback, phase: phaseOfStart(o), reason: ReasonStarting,
			message: "The engine did not start with the new configuration; going back to the last good one",
		})
	case c.change(spec):
		return o.due(step{kind: stepConfig, phase: phaseOfStart(o), reason: ReasonStarting, message: "Checking the configuration"})
	case c.current != "":
		return step{}, false
	case c.refused != "" && c.refused == c.wanted(spec):
		return waiting(dbv1.InstanceFailed, dbv1.ReasonConfigRefused, "The engine does not accept the configuration: "+c.refusal), true
	}
	// The tick looks at the mounted files again.
	return waiting(dbv1.InstanceStarting, ReasonWaiting, "Waiting until the configuration "+c.wanted(spec)+" is mounted"), true
}

// runningStep keeps a running engine as the spec wants it.
func runningStep(o *observed, spec *dbv1.DatabaseInstanceSpec) step {
	if o.foreign(spec) {
		return step{kind: stepStop, phase: dbv1.InstanceStopping, reason: ReasonForeignData, message: foreignMessage(o, spec)}
	}
	if s, ok := electedRunning(o); ok {
		return s
	}
	if o.config.change(spec) {
		if s, ok := o.due(step{kind: stepConfig, phase: dbv1.InstanceRunning, reason: dbv1.ReasonConfigPending, message: "Applying the configuration"}); ok {
			return s
		}
	}
	if spec.SystemID == "" {
		return waiting(dbv1.InstanceRunning, ReasonWaiting, "Waiting until the system identifier is recorded")
	}
	if role := o.role(); role != o.labelled || o.labelDue {
		if s, ok := o.due(step{kind: stepLabel, phase: dbv1.InstanceRunning, reason: dbv1.ReasonAsExpected}); ok {
			return s
		}
	}
	if s, ok := accountStep(o, spec); ok {
		return s
	}
	if why := o.repl.keepsClientsOut(); why != "" {
		return waiting(dbv1.InstanceRunning, ReasonElecting, why)
	}
	return waiting(dbv1.InstanceRunning, dbv1.ReasonAsExpected, o.report.trouble())
}

// accountStep makes accounts. The primary's agent does, and replication carries them.
func accountStep(o *observed, spec *dbv1.DatabaseInstanceSpec) (step, bool) {
	if o.repl != nil && o.role() != dbv1.RolePrimary {
		return step{}, false
	}
	for i := range spec.Accounts {
		account := &spec.Accounts[i]
		if o.accounts[account.Username].settled(account) {
			continue
		}
		if s, ok := o.due(step{kind: stepAccount, account: account.Username, phase: dbv1.InstanceRunning, reason: dbv1.ReasonAsExpected}); ok {
			return s, true
		}
	}
	return step{}, false
}

// accountFacts is what became of an account, and of which wish.
type accountFacts struct {
	asked  dbv1.InstanceAccount
	status dbv1.InstanceAccountStatus
}

// settled says whether nothing is left to do for an account.
func (f accountFacts) settled(account *dbv1.InstanceAccount) bool {
	return f.status.Applied && f.status.Verified && reflect.DeepEqual(&f.asked, account)
}

// role is the settled role. Where there is an election, it says who is the primary.
func (o *observed) role() dbv1.InstanceRole {
	switch {
	case o.report == nil || o.engine != engineRunning:
		return dbv1.RoleNone
	case o.repl != nil:
		return o.repl.role()
	}
	return o.report.Role
}

// due returns the step unless it failed and its time has not come.
func (o *observed) due(s step) (step, bool) {
	return s, !o.now.Before(o.retryAt[s.key()])
}

// again turns a wait that only a change of the volume can end into another look at it, now and then.
func (o *observed) again(s step) step {
	look := step{kind: stepInspect, phase: s.phase, reason: s.reason, message: s.message}
	if look, ok := o.due(look); ok {
		return look
	}
	return s
}

func waiting(phase dbv1.InstancePhase, reason, message string) step {
	return step{kind: stepWait, phase: phase, reason: reason, message: message}
}

// phaseOfStart is Restarting while an operation asks for it.
func phaseOfStart(o *observed) dbv1.InstancePhase {
	if o.operation != nil && o.operation.Phase == dbv1.OperationRunning {
		return dbv1.InstanceRestarting
	}
	return dbv1.InstanceStarting
}

func silenceMessage(o *observed) string {
	message := "The engine was started and does not answer yet"
	if o.answered {
		message = "The engine does not answer any more"
	}
	if o.noAnswer != "" {
		message += ": " + o.noAnswer
	}
	return message
}

func startMessage(o *observed) string {
	if o.lastError == "" {
		return "Starting the engine"
	}
	return "Starting the engine again, which ended: " + o.lastError
}
