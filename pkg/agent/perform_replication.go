package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// How the steps of replication are carried out.

const (
	replicationTimeout = 20 * time.Second
	rebuildTimeout     = 24 * time.Hour
)

// errNotElected is a promotion that came too late.
var errNotElected = errors.New("the right to be the primary has run out")

// replicationAction is what a step of replication does.
func (a *Agent) replicationAction(m *memory, next step) action {
	engine, _ := a.Driver.(Replicator)
	r := m.repl
	if engine == nil || r == nil {
		return noSuchStep(next)
	}
	w := r.Want
	source := a.sourceOf(&w, m.spec)
	r.done.begin(next.kind)
	switch next.kind {
	case stepFollow:
		return limited(replicationTimeout, func(ctx context.Context) (func(*memory), error) {
			return did(func(d *carriedOut) { d.source, d.sourceSet = source, true }), engine.Follow(ctx, source)
		})
	case stepSynchronous:
		wanted := wantedSynchronous(w)
		return limited(replicationTimeout, func(ctx context.Context) (func(*memory), error) {
			return did(func(d *carriedOut) { d.synchronous = &wanted }), engine.SetSynchronous(ctx, wanted)
		})
	case stepReplicas:
		names := slices.Clone(w.Replicas)
		return limited(replicationTimeout, func(ctx context.Context) (func(*memory), error) {
			return did(func(d *carriedOut) { d.replicas = &names }), engine.SetReplicas(ctx, names)
		})
	case stepAdmit:
		admit := w.Admit && w.Mode == election.ModePrimary && r.done.mode == StartPrimary
		return limited(replicationTimeout, func(ctx context.Context) (func(*memory), error) {
			return did(func(d *carriedOut) { d.admit = &admit }), engine.AdmitClients(ctx, admit)
		})
	case stepPromote:
		return limited(replicationTimeout, func(ctx context.Context) (func(*memory), error) { return a.promote(ctx, engine) })
	case stepRewind, stepClone:
		return limited(rebuildTimeout, func(ctx context.Context) (func(*memory), error) {
			return a.rebuild(ctx, engine, w, source)
		})
	default:
		// The loop itself waits and exits.
		return noSuchStep(next)
	}
}

func noSuchStep(next step) action {
	return func(context.Context) (func(*memory), error) { return nil, fmt.Errorf("no such step: %s", next.kind) }
}

func limited(limit time.Duration, do action) action {
	return func(ctx context.Context) (func(*memory), error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		update, err := do(ctx)
		if err != nil {
			failed := err.Error()
			return func(m *memory) { m.lastError = failed }, err
		}
		return update, nil
	}
}

// begin forgets what a step is to change: one that fails, or is cut short, may have done any part of it.
func (d *carriedOut) begin(kind stepKind) {
	switch kind {
	case stepFollow:
		d.source, d.sourceSet = nil, false
	case stepSynchronous:
		d.synchronous = nil
	case stepReplicas:
		d.replicas = nil
	case stepAdmit:
		d.admit = nil
	default:
		// The others say what they did in another way.
	}
}

func did(edit func(*carriedOut)) func(*memory) { return func(m *memory) { edit(&m.repl.done) } }

func (a *Agent) promote(ctx context.Context, engine Replicator) (func(*memory), error) {
	if a.elector.Expired() {
		return nil, errNotElected
	}
	begin := time.Now()
	if err := engine.Promote(ctx); err != nil {
		return nil, err
	}
	klog.FromContext(ctx).Info("Promoted", "took", time.Since(begin).Round(time.Millisecond))
	return func(m *memory) {
		m.repl.done.mode, m.repl.done.source, m.repl.done.sourceSet = StartPrimary, nil, false
		m.repl.lost = m.repl.lostToEpoch()
		a.lookNow()
		a.checkpointSoon(engine)
	}, nil
}

// checkpointSoon shortens the next recovery, and lets others rewind from here.
func (a *Agent) checkpointSoon(engine Replicator) {
	go func() {
		ctx, cancel := context.WithTimeout(a.background, 10*time.Minute)
		defer cancel()
		if err := engine.Checkpoint(ctx); err != nil {
			klog.FromContext(ctx).Info("The checkpoint after the promotion failed", "err", err)
		}
	}()
}

// rebuild makes the data fit to follow.
func (a *Agent) rebuild(ctx context.Context, engine Replicator, w election.Want, source *Source) (func(*memory), error) {
	if source == nil {
		return nil, errors.New("the instance to copy from is no member")
	}
	var err error
	if w.Mode == election.ModeRewind {
		err = engine.Rewind(ctx, *source)
		if errors.Is(err, ErrCannotRewind) {
			klog.FromContext(ctx).Info("The data cannot be rewound; it will be copied anew", "err", err)
			return did(func(d *carriedOut) { d.cannotRewind = w.Seq }), nil
		}
	} else {
		err = engine.Clone(ctx, *source, func(message string) {
			a.post(a.background, func(m *memory) { m.progress = message })
		})
	}
	if err != nil {
		return nil, err
	}
	return func(m *memory) {
		m.repl.done.rebuilt, m.repl.endOfLog = w.Seq, nil
		m.volume, m.progress, m.lastError = nil, "", ""
		delete(m.retryAt, step{kind: stepInspect}.key())
	}, nil
}

// prepare writes down how the engine starts.
func (a *Agent) prepare(ctx context.Context, engine Replicator, w election.Want, source *Source) (carriedOut, error) {
	ctx, cancel := context.WithTimeout(ctx, replicationTimeout)
	defer cancel()
	if w.Mode == election.ModePrimary {
		wanted := wantedSynchronous(w)
		done := carriedOut{mode: StartPrimary, synchronous: &wanted, admit: new(false)}
		err := errors.Join(engine.PrepareStart(ctx, StartPrimary, w.Name), engine.SetSynchronous(ctx, wanted), engine.AdmitClients(ctx, false))
		if err == nil && a.elector.Expired() {
			err = errNotElected
		}
		return done, err
	}
	done := carriedOut{mode: StartReplica, source: source, sourceSet: true, admit: new(true)}
	return done, errors.Join(engine.PrepareStart(ctx, StartReplica, w.Name), engine.Follow(ctx, source), engine.AdmitClients(ctx, true))
}

// lookPeriod is the pause between looks at where replication stands.
const lookPeriod = 250 * time.Millisecond

// look asks the engine where it stands, until it ends.
func (a *Agent) look(ctx context.Context, process Engine, engine Replicator) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-process.Done():
			return
		case <-ctx.Done():
			return
		case <-a.looks:
		case <-timer.C:
		}
		timer.Reset(lookPeriod)
		seq := a.wholeSeq.Load()
		limit, cancel := context.WithTimeout(ctx, probeTimeout)
		seen, err := engine.Replication(limit)
		cancel()
		if err != nil {
			// The health poll may wait for the same connection.
			timer.Reset(lookPeriod)
			continue
		}
		a.post(ctx, func(m *memory) {
			if m.process != process {
				return
			}
			r := m.repl
			r.seen, r.seenFor, r.seenAt = seen, seq, time.Now()
			r.heard.hear(r.done.source, &seen)
			if seen.Receiving {
				r.receivingAt = r.seenAt
			}
		})
	}
}

// lookNow makes the next look come at once.
func (a *Agent) lookNow() {
	select {
	case a.looks <- struct{}{}:
	default:
	}
}

// handoverAfterStop is how long a stopped instance waits for a successor, once its engine is down.
const handoverAfterStop = 10 * time.Second

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// endOfLog is where the log of data that was closed cleanly ends; nothing where it was not.
func (a *Agent) endOfLog(ctx context.Context, volume Volume) *Position {
	engine, ok := a.Driver.(Replicator)
	if !ok || a.elector == nil || volume.State != VolumeReady {
		return nil
	}
	end, err := engine.EndOfLog(ctx)
	if err != nil {
		klog.FromContext(ctx).V(2).Info("Where the log ends is not known before it is replayed", "reason", err)
		return nil
	}
	return &end
}
