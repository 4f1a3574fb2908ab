package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// How each step is carried out. A step reads what it needs from memory before it begins, and hands
// what it found back as an update.

// action does a step. Its update is applied whether or not it failed.
type action func(ctx context.Context) (update func(*memory), err error)

const (
	inspectTimeout   = time.Minute
	bootstrapTimeout = 30 * time.Minute
	configTimeout    = 2 * time.Minute
	reloadTimeout    = 30 * time.Second
	accountTimeout   = time.Minute
	apiTimeout       = 10 * time.Second
)

// action is what a step does.
func (a *Agent) action(m *memory, next step) action {
	switch next.kind {
	case stepInspect:
		return a.inspect
	case stepBootstrap:
		return a.bootstrap
	case stepConfig:
		return a.configure(m.config.wanted(m.spec), m.engine != engineDown, m.config.late)
	case stepFallback:
		return a.fallBack(m.config.current, m.config.good, "a start with it failed: "+m.lastError+askAgain)
	case stepStart:
		return a.start(m)
	case stepPrepareStop:
		return a.prepareStop(a.stopBudget(m))
	case stepStop:
		m.stopAsked = true
		if next.hopeless {
			m.shutOut, m.lastError = true, fmt.Sprintf("it did not answer for %s", m.silence.lasted.Round(time.Second))
		}
		return a.stop(m.process, m.stopping, a.stopBudget(m))
	default:
		return a.runningAction(m, next)
	}
}

// runningAction is what a step does that leaves the engine as it is.
func (a *Agent) runningAction(m *memory, next step) action {
	switch next.kind {
	case stepBeginOperation:
		return a.beginOperation(m.spec.Operation, m.engine)
	case stepEndOperation:
		return a.endOperation(m)
	case stepLabel:
		return a.label(m.role(), m.others(a.Instance))
	case stepAccount:
		return a.account(m.spec, next.account)
	default:
		return a.replicationAction(m, next)
	}
}

func (a *Agent) inspect(ctx context.Context) (func(*memory), error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	volume, err := a.Driver.Inspect(ctx)
	if err != nil {
		return func(m *memory) { m.lastError = err.Error() }, err
	}
	end := a.endOfLog(ctx, volume)
	current, good := a.configs.Current(), a.configs.Good()
	return func(m *memory) {
		if volume.State == VolumeEmpty {
			// Who took the data away may have taken the configuration with it.
			m.config.current, m.config.good = current, good
		}
		if m.repl != nil {
			m.repl.endOfLog = end
		}
		if m.volume == nil || m.volumeStale {
			klog.FromContext(a.background).Info("Looked at the volume", "state", volume.State, "systemID", volume.SystemID, "message", volume.Message)
		}
		m.volume, m.volumeStale = &volume, false
		m.retryAt[step{kind: stepInspect}.key()] = time.Now().Add(lookAgain)
	}, nil
}

// bootstrap gives the new data its id before there is data.
func (a *Agent) bootstrap(ctx context.Context) (func(*memory), error) {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	id := newDataID()
	if err := a.store.Update(func(s *State) { s.DataID = id }); err != nil {
		return nil, err
	}
	if err := a.Driver.Bootstrap(ctx); err != nil {
		return func(m *memory) { m.dataID, m.lastError = id, err.Error() }, err
	}
	return func(m *memory) {
		m.dataID, m.lastError, m.volume = id, "", nil
		delete(m.retryAt, step{kind: stepInspect}.key())
	}, nil
}

// start starts the engine. What is counted is tries.
func (a *Agent) start(m *memory) action {
	starts := m.engineStarts + 1
	engine, replicates := a.Driver.(Replicator)
	replicates = replicates && m.repl != nil
	var want election.Want
	var source *Source
	if replicates {
		want = m.repl.Want
		source = a.sourceOf(&want, m.spec)
	}
	return func(ctx context.Context) (func(*memory), error) {
		var done carriedOut
		if replicates {
			var err error
			if done, err = a.prepare(ctx, engine, want, source); err != nil {
				return func(m *memory) { m.lastError = err.Error() }, fmt.Errorf("prepare the start: %w", err)
			}
		}
		if err := a.store.Update(func(s *State) { s.EngineStarts = starts }); err != nil {
			// A full volume must not keep the engine down: it cannot be grown out of otherwise.
			klog.FromContext(ctx).Error(err, "The start could not be counted")
		}
		a.Metrics.starts.Inc()
		// The engine outlives the step that starts it.
		engine, failure := a.Driver.Start(a.background, a.configs.Path())
		return func(m *memory) {
			m.engineStarts = starts
			if m.repl != nil {
				m.repl.done, m.repl.endOfLog, m.repl.seenAt = done, nil, time.Time{}
			}
			if failure != nil {
				// It counts as an end, so that its backoff is the same.
				m.readyAt = time.Time{}
				a.engineEnded(m, nil, failure)
				return
			}
			a.engineStarted(m, engine)
		}, nil
	}
}

func (a *Agent) engineStarted(m *memory, engine Engine) {
	m.process, m.engine = engine, engineStarting
	m.readyAt, m.report, m.stopAsked, m.probeFailures = time.Time{}, nil, false, 0
	m.silence.broken(time.Now())
	m.noAnswer = ""
	m.startFailed, m.shutOut = false, false
	m.config.pendingRestart = nil
	go func() {
		<-engine.Done()
		a.post(a.background, func(m *memory) { a.engineEnded(m, engine, engine.Err()) })
	}()
	go a.poll(a.background, engine)
	if replicator, ok := a.Driver.(Replicator); ok && m.repl != nil {
		go a.look(a.background, engine, replicator)
		if m.repl.Want.Kill {
			// It was lost while the engine was being started.
			m.stopAsked = true
			engine.Stop(StopKill)
		}
	}
}

// engineEnded notes the end of an engine; it is down. Whoever comes first tells: the stop, or the
// wait for the end.
func (a *Agent) engineEnded(m *memory, engine Engine, err error) {
	if m.process != engine {
		return
	}
	logger := klog.FromContext(a.background)
	now := time.Now()
	m.process, m.engine, m.report = nil, engineDown, nil
	m.operationDown = true
	m.volumeStale = true
	if m.repl != nil {
		m.repl.done.mode, m.repl.seenAt = "", time.Time{}
		if !m.stopAsked {
			m.repl.crashes++
		}
	}
	if m.stopping {
		m.leaveUntil = earlier(m.leaveUntil, now.Add(handoverAfterStop))
	}
	delete(m.retryAt, step{kind: stepInspect}.key())
	a.Metrics.up.Set(0)
	if m.stopAsked {
		m.stopAsked, m.startFailed, m.restartAt = false, m.shutOut, time.Time{}
		if !m.shutOut {
			m.lastError = ""
		}
		logger.Info("The engine is down", "err", err)
		return
	}
	m.startFailed = m.readyAt.IsZero()
	m.restartAt = m.restart.ended(now, m.readyAt)
	if m.repl != nil && m.restart.failures <= 1 {
		// The election limits how often; and the first time nothing is gained by waiting.
		m.restartAt = now
	}
	m.lastError = "it ended by itself"
	if err != nil {
		m.lastError = err.Error()
	}
	a.reconsider(m)
	logger.Error(err, "The engine ended", "answered", !m.startFailed, "nextStart", m.restartAt)
}

// reconsider gives a configuration that was refused another chance when not even the good one starts:
// it may have been right. It has its turn when the next start has: at once, the two would take turns
// without a pause.
func (a *Agent) reconsider(m *memory) {
	if m.startFailed && m.config.current == m.config.good && m.config.refused != "" {
		a.refuse(m, "", "")
		m.retryAt[step{kind: stepConfig}.key()] = m.restartAt
	}
}

// stopBudget is the time that a stop may take.
func (a *Agent) stopBudget(m *memory) time.Duration {
	budget := a.GracePeriod - exitMargin
	if m.stopping {
		budget -= time.Since(m.stoppingSince)
	}
	return max(budget, exitMargin)
}

// prepareStop makes the stop that follows a short one; it is tried once.
func (a *Agent) prepareStop(budget time.Duration) action {
	return func(ctx context.Context) (func(*memory), error) {
		ctx, cancel := context.WithTimeout(ctx, budget/3)
		defer cancel()
		if err := a.Driver.PrepareStop(ctx); err != nil {
			klog.FromContext(ctx).Info("The stop could not be prepared", "err", err)
		}
		return func(m *memory) { m.stopPreparedAt = time.Now() }, nil
	}
}

// stop stops the engine: softly, then harder, and never later than the grace period. One that is
// not final gives way when the pod is stopped, so that the final one has its whole time.
func (a *Agent) stop(engine Engine, final bool, budget time.Duration) action {
	return func(ctx context.Context) (func(*memory), error) {
		if final {
			ctx = context.WithoutCancel(ctx)
		}
		begin := time.Now()
		for _, stage := range []struct {
			mode  StopMode
			until time.Duration
		}{{StopFast, budget * 7 / 10}, {StopImmediate, budget * 9 / 10}, {StopKill, forEver}} {
			engine.Stop(stage.mode)
			done, err := waitDone(ctx, engine, time.Until(begin.Add(stage.until)))
			if err != nil {
				return nil, err
			}
			if done {
				break
			}
			klog.FromContext(ctx).Info("The engine does not stop in time", "mode", stage.mode)
		}
		var end *Position
		if engine.Err() == nil {
			end = a.endOfLog(ctx, Volume{State: VolumeReady})
		}
		return func(m *memory) {
			a.engineEnded(m, engine, engine.Err())
			if m.repl != nil {
				m.repl.endOfLog = end
			}
		}, nil
	}
}

// forEver is the limit of a wait when nothing harder is left to do.
const forEver = 365 * 24 * time.Hour

// waitDone waits for the end of the engine, and says whether it came.
func waitDone(ctx context.Context, engine Engine, limit time.Duration) (bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-engine.Done():
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (a *Agent) beginOperation(asked *dbv1.InstanceOperation, engine engineState) action {
	op := &dbv1.InstanceOperationStatus{ID: asked.ID, Phase: dbv1.OperationRunning}
	if asked.Kind != dbv1.OperationRestart && a.elector == nil {
		op.Phase, op.Message = dbv1.OperationFailed, fmt.Sprintf("This agent does not know the operation %q", asked.Kind)
	}
	return func(context.Context) (func(*memory), error) {
		if err := a.store.Update(func(s *State) { s.Operation = op }); err != nil {
			return nil, err
		}
		return func(m *memory) {
			m.operation = op
			m.operationDown, m.fellBack, m.operationSince = engine == engineDown, false, time.Now()
			// A person asks: there is no reason to wait any longer.
			m.restart.reset()
			m.restartAt = time.Time{}
		}, nil
	}
}

func (a *Agent) endOperation(m *memory) action {
	op := *m.operation
	op.Phase = dbv1.OperationSucceeded
	asked := m.spec.Operation
	switch {
	case asked != nil && asked.ID == op.ID && asked.Kind != dbv1.OperationRestart:
		failure := "this engine does not elect"
		if m.repl != nil {
			_, failure = m.repl.operationDone(&m.observed, asked)
		}
		if failure != "" {
			op.Phase, op.Message = dbv1.OperationFailed, failure
		}
	case m.engine != engineRunning:
		op.Phase, op.Message = dbv1.OperationFailed, "The engine does not start: "+m.lastError
	case m.fellBack:
		op.Phase, op.Message = dbv1.OperationFailed, "The engine was started again with its previous configuration; the new one: "+m.config.refusal
	}
	op.Message = cut(op.Message, 1024)
	return func(context.Context) (func(*memory), error) {
		if err := a.store.Update(func(s *State) { s.Operation = &op }); err != nil {
			return nil, err
		}
		return func(m *memory) { m.operation = &op }, nil
	}
}

// account makes one account what it must be.
func (a *Agent) account(spec *dbv1.DatabaseInstanceSpec, username string) action {
	var asked dbv1.InstanceAccount
	for _, candidate := range spec.Accounts {
		if candidate.Username == username {
			asked = candidate
		}
	}
	return func(ctx context.Context) (func(*memory), error) {
		ctx, cancel := context.WithTimeout(ctx, accountTimeout)
		defer cancel()
		result := AccountResult{}
		password, err := a.password(ctx, &asked)
		if err == nil {
			result = a.Driver.Account(ctx, Account{InstanceAccount: asked, Password: password})
			err = result.Err
		}
		facts := accountFacts{asked: asked, status: dbv1.InstanceAccountStatus{
			Username: username, Applied: result.Applied, Verified: result.Verified,
		}}
		if result.Applied && asked.State != dbv1.AccountAbsent {
			facts.status.PasswordVersion = asked.PasswordVersion
		}
		if err != nil {
			facts.status.Message = cut(err.Error(), 1024)
			err = fmt.Errorf("account %s: %w", username, err)
		}
		return func(m *memory) {
			if errors.Is(err, context.Canceled) {
				return // what was called off is no word about the account
			}
			accounts := maps.Clone(m.accounts)
			accounts[username] = facts
			m.accounts = accounts
		}, err
	}
}
