package agent

import (
	"context"
	"errors"
	"fmt"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// The seam between the agent and an engine.
//
//  1. Inspect looks at the volume, and starts nothing that stays.
//  2. Bootstrap makes a new database where there is none; whenever it is killed, Inspect then says
//     VolumeEmpty and it begins again, or VolumeReady.
//  3. Start is only called when nothing of an earlier start is alive, and returns what runs: a child
//     process (Supervisor.Start), or, when the engine is a library, something in this process.
//  4. While it runs, Probe reports, CheckConfig and Reload change settings, Account changes accounts.
//     They may be called at any time, return within their context, and are idempotent.

// Driver is what one engine does in the pod.
type Driver interface {
	// Engine is the engine that the driver runs.
	Engine() dbv1.Engine
	// Inspect says what is on the volume.
	Inspect(ctx context.Context) (Volume, error)
	// Bootstrap makes a new database. It never removes one.
	Bootstrap(ctx context.Context) error
	// Start starts the engine with the configuration of that folder. The folder's name stays the
	// same when its content is replaced.
	Start(ctx context.Context, configDir string) (Engine, error)
	// PrepareStop makes the stop that follows a short one.
	PrepareStop(ctx context.Context) error
	// Probe asks the engine how it is. An error means that it does not answer; ErrAlive, that it said
	// something nevertheless.
	Probe(ctx context.Context) (Report, error)
	// CheckConfig says what is wrong with the configuration in a folder, as a *Refusal. It works
	// beside a running engine, and without one.
	CheckConfig(ctx context.Context, configDir string) error
	// Reload makes the engine read its folder again, waits until it has, and returns the settings
	// that wait for a restart. An engine that says nothing need not answer before it has read them; one
	// that is too busy to be asked reads only files that it has had before. An error that is a *Refusal
	// says what the engine did not accept; context.DeadlineExceeded, that it, or a client's session, was
	// not done in time.
	Reload(ctx context.Context) (pendingRestart []string, err error)
	// Account makes one account what it must be, and logs in as it.
	Account(ctx context.Context, account Account) AccountResult
}

// ErrAlive is what Probe meets when the engine recovers, is full, is slow, and the like: it works, and
// its settings are not what keeps the agent out.
var ErrAlive = errors.New("the engine is alive")

// Engine is an engine that was started.
type Engine interface {
	// Stop asks it to stop, and does not wait. A harder mode may follow a softer one.
	Stop(mode StopMode)
	// Done is closed when the engine is down: nothing of it is left that could write.
	Done() <-chan struct{}
	// Err says how it ended, once it is done; with the engine's own last words when it had any.
	Err() error
}

// StopMode says how hard an engine is stopped.
type StopMode int

// The ways to stop an engine, from soft to hard.
const (
	// StopFast ends sessions, and leaves nothing to recover.
	StopFast StopMode = iota
	// StopImmediate ends everything at once; the next start recovers.
	StopImmediate
	// StopKill does not ask.
	StopKill
)

// VolumeState says what is on the volume.
type VolumeState string

// What can be on a volume.
const (
	// VolumeEmpty: no database, or one whose making was interrupted before anyone used it.
	VolumeEmpty VolumeState = "Empty"
	// VolumeReady: a whole database.
	VolumeReady VolumeState = "Ready"
	// VolumeUnusable: something that this agent's engine cannot run and must not remove.
	VolumeUnusable VolumeState = "Unusable"
)

// Volume is what Inspect found.
type Volume struct {
	State VolumeState
	// SystemID is the identity of the data.
	SystemID string
	// Reason and Message say what is wrong with an unusable volume, and what to do.
	Reason, Message string
}

// Report is what a running engine says of itself.
type Report struct {
	// Role is what the engine does, not what it may do.
	Role          dbv1.InstanceRole
	ServerVersion string
	Timeline      int64
	Engine        *dbv1.InstanceEngineStatus
	// Trouble is what is wrong with an engine that answers, in one sentence: why it refuses writes. It is told,
	// and changes nothing.
	Trouble string
	// Refusal is why nobody but the agent gets a session, when that is so.
	Refusal *Refusal
	// PendingRestart are the settings that the engine was started with in other values than those that
	// are configured: it could not take them yet.
	PendingRestart []string
}

func (r *Report) trouble() string {
	if r == nil {
		return ""
	}
	return r.Trouble
}

// Account is an account as it must be.
type Account struct {
	dbv1.InstanceAccount
	// Password is empty when the account has none, or must be absent.
	Password string
}

// AccountResult says how far an account got.
type AccountResult struct {
	Applied, Verified bool
	Err               error
}

// Refusal is what an engine says about a configuration that it does not accept.
type Refusal struct {
	// Setting is the name, when it is known.
	Setting string
	// Words are the engine's own.
	Words string
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Setting == "" {
		return r.Words
	}
	return fmt.Sprintf("%s: %s", r.Setting, r.Words)
}
