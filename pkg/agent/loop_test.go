package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	databasefake "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
)

// The loop, with a clock of its own and an engine that lives in this process: nothing in the agent
// may need a child process.

type fakeEngine struct {
	mu    sync.Mutex
	modes []StopMode
	// obeys is the softest mode that ends it.
	obeys StopMode
	done  chan struct{}
	once  sync.Once
	err   error
}

func (e *fakeEngine) Stop(mode StopMode) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.modes = append(e.modes, mode)
	if mode >= e.obeys {
		e.end(nil)
	}
}

func (e *fakeEngine) end(err error) {
	e.once.Do(func() {
		e.err = err
		close(e.done)
	})
}

func (e *fakeEngine) Done() <-chan struct{} { return e.done }

func (e *fakeEngine) Err() error {
	<-e.done
	return e.err
}

type fakeDriver struct {
	mu      sync.Mutex
	volume  Volume
	starts  []time.Time
	engines []*fakeEngine
	obeys   StopMode
	// endsWith makes every start fail.
	endsWith error
	silent   bool
	accounts []Account
	// configDir is the folder that the engine was last started with; loads are the configurations that
	// it read, by starts and reloads.
	configDir string
	loads     []string
	// started is the one that it was last started with; alive makes it say that it is, and no more.
	started string
	alive   bool
	// late is how many reloads will not be done in time; pending waits for a restart after them; unchecked is why the next check fails; checks
	// makes it last until somebody cancels it.
	late      int
	pending   []string
	unchecked error
	checks    bool
	// frozen is how long the next probe takes, which then fails.
	frozen time.Duration
}

// What configurations do to the engine: lockedOut lets in nobody but the agent, deaf not even the agent,
// and deafStart not until the engine is started without it.
const (
	lockedOut = "nobody comes in"
	deaf      = "nobody comes in, not even the agent"
	deafStart = "nobody comes in, not even the agent, until the next start"
)

// load reads the configuration. Its lock is held.
func (d *fakeDriver) load() {
	content, _ := os.ReadFile(filepath.Join(d.configDir, "engine.conf"))
	d.loads = append(d.loads, string(content))
}

// refusal is what a session meets with the configuration that was read last. Its lock is held.
func (d *fakeDriver) refusal() *Refusal {
	if n := len(d.loads); n > 0 && d.loads[n-1] == lockedOut {
		return &Refusal{Setting: "a new session", Words: "no such library"}
	}
	return nil
}

// isDeaf says whether the engine answers nobody. Its lock is held.
func (d *fakeDriver) isDeaf() bool {
	n := len(d.loads)
	return n > 0 && (d.loads[n-1] == deaf || d.started == deafStart)
}

func (d *fakeDriver) Engine() dbv1.Engine { return dbv1.SQLite }

func (d *fakeDriver) Inspect(context.Context) (Volume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.volume, nil
}

func (d *fakeDriver) Bootstrap(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.volume = Volume{State: VolumeReady, SystemID: "7"}
	return nil
}

func (d *fakeDriver) Start(_ context.Context, configDir string) (Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.configDir = configDir
	d.load()
	d.started = d.loads[len(d.loads)-1]
	engine := &fakeEngine{done: make(chan struct{}), obeys: d.obeys}
	d.starts, d.engines = append(d.starts, time.Now()), append(d.engines, engine)
	if d.endsWith != nil {
		engine.end(d.endsWith)
	}
	return engine, nil
}

func (d *fakeDriver) PrepareStop(context.Context) error { return nil }

func (d *fakeDriver) Probe(context.Context) (Report, error) {
	d.mu.Lock()
	frozen := d.frozen
	d.frozen = 0
	d.mu.Unlock()
	if time.Sleep(frozen); frozen > 0 {
		return Report{}, context.DeadlineExceeded
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.alive:
		return Report{}, ErrAlive
	case d.silent || d.isDeaf() || d.endsWith != nil:
		return Report{}, errors.New("no answer")
	}
	return Report{Role: dbv1.RolePrimary, ServerVersion: "3", Refusal: d.refusal()}, nil
}

func (d *fakeDriver) CheckConfig(ctx context.Context, _ string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.checks {
		d.mu.Unlock()
		<-ctx.Done()
		d.mu.Lock()
		return ctx.Err()
	}
	err := d.unchecked
	d.unchecked = nil
	return err
}

func (d *fakeDriver) Reload(context.Context) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.load()
	if refusal := d.refusal(); refusal != nil {
		return nil, refusal
	}
	d.late--
	if d.late >= 0 || d.alive || d.silent || d.isDeaf() {
		return nil, context.DeadlineExceeded
	}
	return d.pending, nil
}

func (d *fakeDriver) Account(_ context.Context, account Account) AccountResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accounts = append(d.accounts, account)
	return AccountResult{Applied: true, Verified: true}
}

func (d *fakeDriver) last() *fakeEngine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engines[len(d.engines)-1]
}

func (d *fakeDriver) set(edit func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	edit()
}

// simulation is a loop under test.
type simulation struct {
	t        *testing.T
	agent    *Agent
	driver   *fakeDriver
	memory   *memory
	end      context.CancelFunc
	finished chan struct{}
}

// simulate runs a loop in a bubble, with a spec that it was told of.
func simulate(t *testing.T, driver *fakeDriver, spec dbv1.DatabaseInstanceSpec) *simulation {
	t.Helper()
	dir := t.TempDir()
	spec.ConfigHash = mountConfig(t, dir, "a = 1\n")
	return simulateIn(t, dir, "pod-uid", driver, spec)
}

// mountConfig plays the kubelet, and returns the hash of the files.
func mountConfig(t *testing.T, dir, content string) string {
	t.Helper()
	config := filepath.Join(dir, "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "engine.conf"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return confighash.ConfigHash(map[string]string{"engine.conf": content})
}

// simulateIn runs a loop on a volume that may have been in use.
func simulateIn(t *testing.T, dir, podUID string, driver *fakeDriver, spec dbv1.DatabaseInstanceSpec) *simulation {
	t.Helper()
	config := filepath.Join(dir, "config")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0", Namespace: "n", UID: types.UID(podUID), ResourceVersion: "1"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n"}, Data: map[string][]byte{"k": []byte("word")}}
	a := New(Options{
		Instance: "db-0", Namespace: "n", PodUID: podUID, VolumeDir: dir, ConfigDir: config, GracePeriod: 32 * time.Second,
		Driver: driver, Kube: kubefake.NewClientset(pod, secret), Databases: databasefake.NewSimpleClientset(), Metrics: NewMetrics(),
	})
	ctx, end := context.WithCancel(t.Context())
	a.background = t.Context()
	m, err := a.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a.reporter = newReporter(a.Databases, "n", "db-0", a.Metrics)
	spec.Engine = dbv1.SQLite
	a.take(m, &dbv1.DatabaseInstance{ObjectMeta: metav1.ObjectMeta{Name: "db-0", UID: "u", Generation: 1}, Spec: spec})
	s := &simulation{t: t, agent: a, driver: driver, memory: m, end: end, finished: make(chan struct{})}
	go func() {
		defer close(s.finished)
		a.loop(ctx, m)
	}()
	return s
}

// status is what the agent last published.
func (s *simulation) status() dbv1.DatabaseInstanceStatus {
	synctest.Wait()
	s.agent.reporter.mu.Lock()
	defer s.agent.reporter.mu.Unlock()
	return *s.agent.reporter.wanted
}

func (s *simulation) stop() {
	s.end()
	<-s.finished
	_ = s.agent.store.lock.Close()
}

// change edits the spec, as the operator does.
func (s *simulation) change(edit func(*dbv1.DatabaseInstanceSpec)) {
	s.agent.post(s.t.Context(), func(m *memory) {
		next := m.instance.DeepCopy()
		edit(&next.Spec)
		s.agent.take(m, next)
	})
}

func ready() *fakeDriver {
	return &fakeDriver{volume: Volume{State: VolumeReady, SystemID: "7"}}
}

func TestEmptyVolumeBecomesAReadyInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := &fakeDriver{volume: Volume{State: VolumeEmpty}}
		s := simulate(t, driver, dbv1.DatabaseInstanceSpec{Bootstrap: true})
		defer s.stop()
		time.Sleep(2 * time.Second)
		status := s.status()
		if status.Phase != dbv1.InstanceRunning || status.Ready || status.SystemID != "7" || status.DataID == "" {
			t.Fatalf("before the system identifier is recorded: %+v", status)
		}
		s.agent.post(t.Context(), func(m *memory) {
			next := m.instance.DeepCopy()
			next.Generation, next.Spec.SystemID, next.Spec.Bootstrap = 2, "7", false
			next.Spec.Accounts = []dbv1.InstanceAccount{{Username: "app", PasswordVersion: "1", PasswordRef: &dbv1.SecretKeyReference{Name: "s", Key: "k"}}}
			s.agent.take(m, next)
		})
		time.Sleep(2 * time.Second)
		status = s.status()
		pod, err := s.agent.Kube.CoreV1().Pods("n").Get(t.Context(), "db-0", metav1.GetOptions{})
		if err != nil || pod.Labels["db.platform.io/role"] != "primary" {
			t.Errorf("the label is not set: %v, %v", pod.Labels, err)
		}
		if !status.Ready || status.Role != dbv1.RolePrimary || status.ObservedGeneration != 2 || status.EngineStarts != 1 {
			t.Errorf("after it is recorded: %+v", status)
		}
		if len(driver.accounts) != 1 || driver.accounts[0].Password != "word" || !status.Accounts[0].Verified || status.Accounts[0].PasswordVersion != "1" {
			t.Errorf("the account: %+v, reported as %+v", driver.accounts, status.Accounts)
		}
	})
}

func TestEngineThatEndsAtOnceIsStartedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		driver.endsWith = errors.New("out of memory")
		s := simulate(t, driver, dbv1.DatabaseInstanceSpec{SystemID: "7"})
		time.Sleep(3 * time.Minute)
		status := s.status()
		if status.Phase != dbv1.InstanceFailed || status.Ready {
			t.Errorf("unexpected status %+v", status)
		}
		var pauses []time.Duration
		for i := 1; i < len(driver.starts); i++ {
			pauses = append(pauses, driver.starts[i].Sub(driver.starts[i-1]).Round(100*time.Millisecond))
		}
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses between starts: %v, want %v", pauses, want)
		}
		s.stop()
	})
}

func TestStableEngineThatEndsIsStartedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s := simulate(t, driver, dbv1.DatabaseInstanceSpec{SystemID: "7"})
		defer s.stop()
		time.Sleep(2 * time.Minute)
		begin := time.Now()
		driver.last().end(errors.New("killed"))
		time.Sleep(time.Second)
		if status := s.status(); !status.Ready || status.EngineStarts != 2 {
			t.Errorf("unexpected status %+v", status)
		}
		if after := driver.starts[1].Sub(begin); after > 100*time.Millisecond {
			t.Errorf("started again after %s", after)
		}
	})
}

func TestSilentEngineIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		s := simulate(t, driver, dbv1.DatabaseInstanceSpec{SystemID: "7"})
		defer s.stop()
		time.Sleep(5*time.Second + 500*time.Millisecond)
		driver.set(func() { driver.silent = true })
		time.Sleep(time.Second)
		if !s.status().Ready {
			t.Error("one answer that was lost ended readiness")
		}
		time.Sleep(2 * time.Second)
		if s.status().Ready {
			t.Error("a silent engine is ready")
		}
		driver.set(func() { driver.silent = false })
		time.Sleep(2 * time.Second)
		if status := s.status(); !status.Ready || status.EngineStarts != 1 {
			t.Errorf("it answers again: %+v", status)
		}
	})
}

func TestStopGetsHarderBeforeTheGracePeriodEnds(t *testing.T) {
	for name, test := range map[string]struct {
		obeys StopMode
		modes []StopMode
		took  time.Duration
	}{
		"obeys":                {StopFast, []StopMode{StopFast}, 0},
		"obeys the second":     {StopImmediate, []StopMode{StopFast, StopImmediate}, 21 * time.Second},
		"obeys SIGKILL, in 32": {StopKill, []StopMode{StopFast, StopImmediate, StopKill}, 27 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver := ready()
				driver.obeys = test.obeys
				s := simulate(t, driver, dbv1.DatabaseInstanceSpec{SystemID: "7"})
				time.Sleep(5 * time.Second)
				begin := time.Now()
				s.stop()
				if took := time.Since(begin); took.Round(time.Second) != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				if got := driver.last().modes; !slices.Equal(got, test.modes) {
					t.Errorf("modes %v, want %v", got, test.modes)
				}
				if status := s.status(); status.Phase != dbv1.InstanceStopped || status.Ready {
					t.Errorf("the last status is %+v", status)
				}
			})
		})
	}
}

func TestStopInTheMiddleOfARestartHasItsWholeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := ready()
		driver.obeys = StopKill
		s := simulate(t, driver, dbv1.DatabaseInstanceSpec{SystemID: "7"})
		time.Sleep(5 * time.Second)
		s.agent.post(t.Context(), func(m *memory) {
			next := m.instance.DeepCopy()
			next.Spec.Operation = &dbv1.InstanceOperation{ID: "x", Kind: dbv1.OperationRestart}
			s.agent.take(m, next)
		})
		time.Sleep(20 * time.Second)
		begin := time.Now()
		s.stop()
		if took := time.Since(begin); took > 28*time.Second {
			t.Errorf("it took %s of 32s", took)
		}
		if len(driver.starts) != 1 {
			t.Error("it was started again while the pod stops")
		}
	})
}

func TestUnknownOperationFailsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, ready(), dbv1.DatabaseInstanceSpec{SystemID: "7", Operation: &dbv1.InstanceOperation{ID: "x", Kind: "Dance"}})
		defer s.stop()
		time.Sleep(5 * time.Second)
		status := s.status()
		if status.Operation == nil || status.Operation.Phase != dbv1.OperationFailed || !status.Ready || status.EngineStarts != 1 {
			t.Errorf("unexpected status %+v", status)
		}
	})
}
