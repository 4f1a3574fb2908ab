package agent

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/agent/elector"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	clientset "github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
)

// The loop.
//
//  1. Wait for an event: a function that changes what is known, the tick, or the end.
//  2. Look at the clock and the mounted files; name the next step; publish the status.
//  3. When no step is under way, begin the one that was named. Its result is an event.
//
// When the context ends, the step under way is cancelled, and the loop goes on until the engine is
// down; it returns then.

const (
	tick = time.Second
	// awaitSpec is how long a start waits for the API server before it goes by the stored spec.
	awaitSpec = 3 * time.Second
	// exitMargin is kept of the grace period for the last report and the end of the process.
	exitMargin = 2 * time.Second
)

// Options are what an agent is told.
type Options struct {
	Database, Instance, Namespace, PodUID string

	// VolumeDir has the agent's folder; ConfigDir the mounted configuration.
	VolumeDir, ConfigDir string

	// GracePeriod is the time from SIGTERM to SIGKILL.
	GracePeriod time.Duration
	// Port is the engine's.
	Port int
	// Listen is the address of probes and metrics.
	Listen string
	// TokenFile has the token that Kube and Databases use, if it is in a file.
	TokenFile string
	// Version is the agent's own.
	Version string

	Driver Driver
	// NewElector makes what decides whether this instance is the primary, once the volume is this
	// agent's; nil where there is nothing to elect.
	NewElector func(memory elector.Memory, want func(election.Want)) (Elector, error)
	// Watchdog ends the engine of a primary when the agent does not; nil without an elector.
	Watchdog   *Watchdog
	Supervisor *Supervisor
	Kube       kubernetes.Interface
	Databases  clientset.Interface
	Metrics    *Metrics
}

// Agent runs one instance.
type Agent struct {
	Options
	store    *Store
	configs  *ConfigStore
	reporter *reporter
	health   *health

	events chan func(*memory)
	// background ends with the agent, not with SIGTERM: a stop needs all of it.
	background context.Context //nolint:containedctx // the lifetime of the agent's goroutines
	heartbeat  atomic.Int64
	elector    Elector
	// pulse knows when the volume and the engine last answered.
	pulse *elector.Pulse
	// wholeSeq is memory.repl.whole, for the goroutine that looks; looks makes it look at once.
	wholeSeq atomic.Uint64
	looks    chan struct{}
}

// memory is owned by the loop.
type memory struct {
	observed
	instance *dbv1.DatabaseInstance
	spec     *dbv1.DatabaseInstanceSpec

	dataID       string
	engineStarts int64
	// settledGeneration is the newest generation for which nothing was left to begin.
	settledGeneration int64
	process           Engine
	readyAt           time.Time
	awaitUntil        time.Time
	// fellBack: since the operation began, the good configuration had to replace the new one.
	fellBack      bool
	stopAsked     bool
	stoppingSince time.Time
	restart       restartBackoff
	failures      map[string]*backoff
	probeFailures int
	conditions    []metav1.Condition
	storage       *dbv1.InstanceStorageStatus
	storageAt     time.Time
	// serviceAccount is the UID of the ServiceAccount that the token is of.
	serviceAccount string
	mountError     string
	labelCheckedAt time.Time

	podsAt time.Time
	// healthyAt is when the volume and the engine last answered, by the elector's clock.
	healthyAt time.Duration
	// gone are the members whose pods the API shows as missing or not ready.
	gone map[string]bool
	// fatal is why the agent cannot go on.
	fatal error
	// progress is what a long step said last.
	progress string

	busy     bool
	busyWith stepKind
	cancel   context.CancelFunc
}

// New makes an agent.
func New(options Options) *Agent {
	return &Agent{Options: options, events: make(chan func(*memory), 16), health: &health{}, looks: make(chan struct{}, 1)}
}

// Run runs the instance until the context ends and its engine is down.
func (a *Agent) Run(ctx context.Context) error {
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	a.background = background
	var group sync.WaitGroup
	defer group.Wait()
	defer end()

	a.beat()
	if err := a.serve(background, &group); err != nil {
		return err
	}
	group.Go(func() { a.Supervisor.Run(background) })
	m, err := a.open(ctx)
	if err != nil || m == nil {
		return err
	}
	a.reporter = newReporter(a.Databases, a.Namespace, a.Instance, a.Metrics)
	group.Go(func() { a.reporter.run(background) })
	group.Go(func() { a.watch(background) })
	if a.elector != nil {
		group.Go(func() { a.elect(background) })
		group.Go(func() { a.pulse.Run(background) })
		if a.Watchdog != nil {
			group.Go(func() { a.Watchdog.Run(background) })
		}
	}
	a.loop(ctx, m)
	a.reporter.flush(background, exitMargin/2)
	return m.fatal
}

// open takes the volume, and reads what an earlier agent left there. It waits for another agent that
// still has the volume; it returns nothing when it is told to end meanwhile.
func (a *Agent) open(ctx context.Context) (*memory, error) {
	dir := filepath.Join(a.VolumeDir, "agent")
	store, err := OpenStore(dir)
	if err != nil {
		return nil, err
	}
	a.store = store
	for waited := false; ; waited = true {
		locked, err := store.TryLock()
		if err != nil {
			return nil, err
		}
		if locked {
			break
		}
		if !waited {
			klog.FromContext(ctx).Info("Another agent has the volume; waiting until it is gone")
		}
		a.beat()
		if !pause(ctx, tick) {
			return nil, nil
		}
	}
	if a.configs, err = NewConfigStore(filepath.Join(dir, "config")); err != nil {
		return nil, err
	}
	state, err := store.Load(a.PodUID)
	if err != nil {
		return nil, err
	}
	if err := a.openElection(store); err != nil {
		return nil, err
	}
	return a.remember(state), nil
}

// remember is what is known at the start.
func (a *Agent) remember(state State) *memory {
	m := &memory{spec: state.Spec, healthyAt: -1, dataID: state.DataID, engineStarts: state.EngineStarts, failures: map[string]*backoff{}}
	m.engine = engineDown
	m.awaitUntil = time.Now().Add(awaitSpec)
	m.operation = state.Operation
	// Whatever was running ended with the container.
	m.operationDown = true
	m.accounts = map[string]accountFacts{}
	m.retryAt = map[string]time.Time{}
	m.config.current, m.config.good = a.configs.Current(), a.configs.Good()
	if r := state.Refused; r != nil {
		m.config.refused, m.config.refusal = r.Hash, r.Words
	}
	if a.elector != nil {
		m.repl = &replication{}
	}
	return m
}

func (a *Agent) loop(ctx context.Context, m *memory) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	stopping := ctx.Done()
	for {
		if done := a.turn(ctx, m); done {
			return
		}
		wake, stop := wakeUp(m)
		select {
		case <-stopping:
			stopping = nil
			m.stopping, m.stoppingSince = true, time.Now()
			m.leaveUntil = m.stoppingSince.Add((a.GracePeriod - exitMargin) * 9 / 10)
			if m.busy && m.busyWith != stepRewind {
				// Data whose rewind is cut short is copied anew.
				m.cancel()
			}
		case event := <-a.events:
			event(m)
		case <-wake:
		case <-ticker.C:
		}
		stop()
	}
}

// wakeUp is a timer for a restart that is due between two ticks.
func wakeUp(m *memory) (<-chan time.Time, func()) {
	delay := time.Until(m.restartAt)
	if delay <= 0 {
		return nil, func() {}
	}
	timer := time.NewTimer(delay)
	return timer.C, func() { timer.Stop() }
}

// turn looks, decides, reports, and begins the next step. It says whether the agent is done.
func (a *Agent) turn(ctx context.Context, m *memory) bool {
	a.beat()
	a.observe(m)
	a.tellElection(m)
	a.lookAtPods(m)
	next := nextStep(&m.observed, a.Driver.Engine(), m.spec)
	if next.kind == stepWait && m.instance != nil {
		m.settledGeneration = m.instance.Generation
	}
	a.publish(m, next)
	switch {
	case next.kind == stepExit && !m.busy:
		return true
	case next.kind == stepWait, next.kind == stepExit, m.busy:
		return false
	}
	a.begin(ctx, m, next)
	return false
}

// observe looks at what changes without an event.
func (a *Agent) observe(m *memory) {
	m.now = time.Now()
	if m.now.Sub(m.storageAt) >= storagePeriod {
		m.storage, m.storageAt = readStorage(a.VolumeDir, m.storage), m.now
		m.serviceAccount = tokenOwner(a.TokenFile, m.serviceAccount)
	}
	// While the wanted configuration is in use, the mount may lag or lead: nobody acts on it.
	if spec := m.spec; spec != nil && spec.ConfigHash != "" && spec.ConfigHash == m.config.current {
		m.config.mounted = m.config.current
	} else {
		a.observeMount(m)
	}
	if a.pulse != nil && (a.Watchdog == nil || a.Watchdog.Healthy()) {
		// Without a watchdog an engine is as good as one that hangs: it does not become primary.
		m.healthyAt = a.pulse.At()
	}
	m.labelDue = m.now.Sub(m.labelCheckedAt) >= labelPeriod
	m.answered = !m.readyAt.IsZero()
	m.fresh = m.instance != nil
	m.awaitSpec = !m.fresh && m.now.Before(m.awaitUntil)
}

func (a *Agent) observeMount(m *memory) {
	hash, _, err := mountedHash(a.ConfigDir)
	m.mountError = ""
	if err != nil {
		m.mountError = err.Error()
		return
	}
	m.config.mounted = hash
}

// begin carries out a step beside the loop.
func (a *Agent) begin(ctx context.Context, m *memory, next step) {
	logger := klog.FromContext(ctx)
	logger.V(2).Info("Step", "step", next.kind, "account", next.account, "why", next.message)
	base := a.background
	stepCtx, cancel := context.WithCancel(base)
	m.busy, m.busyWith, m.cancel = true, next.kind, cancel
	m.between = next.kind == stepStart || next.kind == stepStop
	action := a.action(m, next)
	go func() {
		defer cancel()
		update, err := action(stepCtx)
		if err != nil && stepCtx.Err() != nil {
			// A program that was killed for it does not say why.
			err = errors.Join(stepCtx.Err(), err)
		}
		a.post(base, func(m *memory) {
			m.busy, m.cancel, m.between = false, nil, false
			if update != nil {
				update(m)
			}
			a.finish(logger, m, next, err)
		})
	}()
}

// finish notes how a step ended.
func (a *Agent) finish(logger klog.Logger, m *memory, next step, err error) {
	key := next.key()
	if err == nil {
		delete(m.failures, key)
		return
	}
	if errors.Is(err, context.Canceled) {
		return
	}
	if m.failures[key] == nil {
		m.failures[key] = &backoff{}
	}
	m.retryAt[key] = m.failures[key].fail(time.Now())
	a.Metrics.stepFailed(next.kind)
	logger.Error(err, "Step failed", "step", next.kind, "account", next.account)
}

// elect runs the elector; its end is the end of the process, because nobody else may fence the engine.
func (a *Agent) elect(ctx context.Context) {
	err := a.elector.Run(ctx)
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "The election ended; so does the agent")
		a.post(ctx, func(m *memory) { m.stopping, m.stoppingSince, m.fatal = true, time.Now(), err })
	}
}

// post gives the loop an event.
func (a *Agent) post(ctx context.Context, event func(*memory)) {
	select {
	case a.events <- event:
	case <-ctx.Done():
	}
}

func (a *Agent) beat() { a.heartbeat.Store(time.Now().UnixNano()) }

// pause waits, and says whether the context still holds.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
