package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/platform-io/database-operator/pkg/agent/election"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// living is an engine that lives.
type living struct{ Engine }

func TestAnEngineThatDoesNotAnswerIsWhatItWas(t *testing.T) {
	const healthyAt = 7 * time.Second
	facts := func(change func(*memory)) election.Facts {
		m := &memory{}
		m.repl = &replication{seen: Replication{Primary: true, Position: 5}, seenFor: 3, seenAt: time.Now()}
		m.process, m.engine, m.healthyAt, m.readyAt = living{}, engineRunning, healthyAt, time.Now()
		change(m)
		return m.electionFacts()
	}
	for _, test := range []struct {
		name   string
		change func(*memory)
		mode   election.Mode
	}{
		{"answers", func(*memory) {}, election.ModePrimary},
		{"lives and does not answer", func(m *memory) { m.engine = engineStarting }, election.ModePrimary},
		{"was told to stop", func(m *memory) { m.stopAsked = true }, election.ModeUnknown},
		{"was just started", func(m *memory) { m.engine, m.repl.seenAt = engineStarting, time.Time{} }, election.ModeUnknown},
		{"ended", func(m *memory) { m.process, m.engine, m.repl.seenAt = nil, engineDown, time.Time{} }, election.ModeDown},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := facts(test.change)
			if got.Mode != test.mode {
				t.Errorf("the election hears that the engine is %q, want %q", got.Mode, test.mode)
			}
			if got.HealthyAt != healthyAt {
				t.Errorf("the election hears that it answered at %s, want %s", got.HealthyAt, healthyAt)
			}
		})
	}
}

// What a primary kept for its replicas goes when it follows another one.
func TestAReplicaKeepsLogForNobody(t *testing.T) {
	source := &Source{Instance: "db-1", DataID: "b", As: standbyName("a", 7)}
	o := &observed{engine: engineRunning, now: now, repl: &replication{
		Want: election.Want{Seq: 2, Mode: election.ModeReplica, Name: "a", Epoch: 7, Source: &election.Candidate{Name: "b", Instance: "db-1"}},
		done: carriedOut{mode: StartReplica, source: source, sourceSet: true},
	}}
	next := func() stepKind {
		s, _ := electedRunning(o)
		return s.kind
	}
	if got := next(); got != stepReplicas {
		t.Errorf("the next step is %q", got)
	}
	o.repl.done.replicas = &[]string{"b"}
	if got := next(); got != stepReplicas {
		t.Errorf("the next step is %q, and something is kept", got)
	}
	o.repl.done.replicas = &[]string{}
	if got := next(); got != "" {
		t.Errorf("the next step is %q, and all is done", got)
	}
	o.repl.done.replicas, o.repl.done.source, o.repl.Want.Source = nil, nil, nil
	if got := next(); got != "" {
		t.Errorf("the next step is %q without a source", got)
	}
}

func TestTheElectionHearsThatLogIsGone(t *testing.T) {
	m := &memory{}
	m.repl = &replication{seen: Replication{LogGone: true}, seenAt: time.Now()}
	m.process, m.engine, m.readyAt = living{}, engineRunning, time.Now()
	if f := m.electionFacts(); f.Mode != election.ModeReplica || !f.LogGone {
		t.Errorf("it hears %+v", f)
	}
}

// What a primary keeps for a replica can go only when that one is gone, and it may stay until another has
// left: the election must hear meanwhile that commits do not wait for it any more.
func TestWhatIsKeptForAReplicaThatLeavesHoldsNothingUp(t *testing.T) {
	kept := []string{"a", "b"}
	o := &observed{engine: engineRunning, repl: &replication{
		Want: election.Want{Seq: 2, Mode: election.ModePrimary, Replicas: kept[:1], Admit: true},
		done: carriedOut{mode: StartPrimary, synchronous: &Synchronous{}, replicas: &kept, admit: new(true)},
	}}
	if !whole(o) {
		t.Error("the election is not told that the rest is done")
	}
	running := func(kind stepKind, _ string) (step, bool) { return step{kind: kind}, true }
	if s, ok := electedPrimary(o, running); !ok || s.kind != stepReplicas {
		t.Errorf("the next step is %s", s.kind)
	}
}

// hanging is a driver that looks at the volume with a program, which is killed when nobody waits any more.
type hanging struct{ Driver }

func (hanging) Inspect(ctx context.Context) (Volume, error) {
	<-ctx.Done()
	return Volume{}, errors.New("signal: killed")
}

// What was cut short because something else is wanted did not fail, and is tried again at once.
func TestAStepThatIsCutShortIsNoFailure(t *testing.T) {
	a := &Agent{Options: Options{Driver: hanging{}, Metrics: NewMetrics()}, events: make(chan func(*memory)), background: t.Context()}
	m := &memory{failures: map[string]*backoff{}}
	m.retryAt, m.repl = map[string]time.Time{}, &replication{}
	a.begin(t.Context(), m, step{kind: stepInspect})
	m.cancel()
	(<-a.events)(m)
	if len(m.retryAt) > 0 || len(m.failures) > 0 {
		t.Errorf("it is tried again at %v", m.retryAt)
	}
}

// refusing is a driver whose calls fail half-way.
type refusing struct{ Replicator }

func (refusing) Follow(context.Context, *Source) error { return errors.New("half done") }

func (refusing) SetSynchronous(context.Context, Synchronous) error { return errors.New("half done") }

func (refusing) SetReplicas(context.Context, []string) error { return errors.New("half done") }

func (refusing) AdmitClients(_ context.Context, _ bool) error { return errors.New("half done") }

// What fails may have been carried out in part: what was there before is not known to be there still, and is made
// again when the election wants it back.
func TestWhatFailedHalfWayIsNotWhatItWas(t *testing.T) {
	before := election.Want{Seq: 1, Mode: election.ModePrimary, Name: "d0", Epoch: 1, Synchronous: election.Synchronous{W: 1, Names: []string{"d1"}}, Admit: true}
	for _, kind := range []stepKind{stepSynchronous, stepReplicas, stepAdmit} {
		m := &memory{}
		m.engine = engineRunning
		m.repl = &replication{Want: before, done: carriedOut{
			mode: StartPrimary, synchronous: new(wantedSynchronous(before)), replicas: &[]string{}, admit: new(true),
		}}
		if _, due := electedPrimary(&m.observed, func(kind stepKind, _ string) (step, bool) { return step{kind: kind}, true }); due {
			t.Fatal("it is not as it must be")
		}
		a := &Agent{Options: Options{Driver: refusing{}}}
		if _, err := a.replicationAction(m, step{kind: kind})(t.Context()); err == nil {
			t.Fatal("it did not fail")
		}
		next, due := electedPrimary(&m.observed, func(kind stepKind, _ string) (step, bool) { return step{kind: kind}, true })
		if !due || next.kind != kind {
			t.Errorf("after a %s that failed the next step is %q", kind, next.kind)
		}
		if kind == stepSynchronous && whole(&m.observed) {
			t.Error("the election is told that commits wait as they did")
		}
	}
}

func TestAPrimaryThatKeepsClientsOutSaysWhatItWaitsFor(t *testing.T) {
	o, spec := settledInstance()
	want := election.Want{Mode: election.ModePrimary, Synchronous: election.Synchronous{W: 1, Names: []string{"d1"}}}
	o.repl = &replication{Want: want, done: carriedOut{
		mode: StartPrimary, synchronous: new(wantedSynchronous(want)), replicas: &[]string{}, admit: new(false),
	}}
	o.labelled = o.role()
	if got := nextStep(o, dbv1.PostgreSQL, spec); got.kind != stepWait || !strings.Contains(got.message, "synchronousReplicas") {
		t.Errorf("the next step is %+v", got)
	}
}

// A holder that the spec does not list is followed all the same.
func TestAHolderThatIsNoMemberIsFollowed(t *testing.T) {
	a := New(Options{Database: "db", Namespace: "n", Port: 5432})
	w := &election.Want{Source: &election.Candidate{Instance: "db-3", Name: "d3"}}
	spec := &dbv1.DatabaseInstanceSpec{Members: []dbv1.InstanceMember{{Name: "db-1", Host: "elsewhere"}}}
	if got := a.sourceOf(w, spec); got == nil || got.Host != naming.InstanceHost("db-3", "db", "n") {
		t.Errorf("it is looked for at %+v", got)
	}
	w.Source.Instance = "db-1"
	if got := a.sourceOf(w, spec); got.Host != "elsewhere" {
		t.Errorf("a member is looked for at %+v", got)
	}
}

func TestWhoHasNoVoteIsNoMember(t *testing.T) {
	a := New(Options{Instance: "db-0"})
	m := &memory{}
	m.volume = &Volume{State: VolumeReady}
	m.spec = &dbv1.DatabaseInstanceSpec{Replication: &dbv1.InstanceReplication{}, Members: []dbv1.InstanceMember{
		{Name: "db-0", Voter: true}, {Name: "db-1"}, {Name: "db-2", Voter: true},
	}}
	if got := a.electionSpec(m).Members; !slices.Equal(got, []string{"db-0", "db-2"}) {
		t.Errorf("the election hears that the members are %v", got)
	}
}

// A write whose answer is lost, as when something else is wanted meanwhile, may have been carried out.
func TestALabelWhoseWriteFailedIsNotKnown(t *testing.T) {
	kube := fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "db-0", Labels: map[string]string{"db.platform.io/role": "primary"}}})
	kube.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, context.Canceled })
	a := &Agent{Options: Options{Kube: kube, Namespace: "n", Instance: "db-0"}}
	m := &memory{}
	m.labelled = dbv1.RolePrimary
	update, err := a.label(dbv1.RoleNone, nil)(t.Context())
	if err == nil || update == nil {
		t.Fatalf("got %v", err)
	}
	if update(m); m.labelled != "" {
		t.Errorf("it is still taken for %s", m.labelled)
	}
}

// empty is a driver that finds nothing on the volume.
type empty struct{ Driver }

func (empty) Inspect(context.Context) (Volume, error) { return Volume{State: VolumeEmpty}, nil }

func TestAnEmptiedVolumeHasNoConfigurationEither(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	configs, err := NewConfigStore(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if err := configs.Use("abc"); err != nil {
		t.Fatal(err)
	}
	a := &Agent{Options: Options{Driver: empty{}}, configs: configs, background: t.Context()}
	m := &memory{}
	m.config.current, m.retryAt = "abc", map[string]time.Time{}
	look := func() string {
		update, err := a.inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		update(m)
		return m.config.current
	}
	if got := look(); got != "abc" {
		t.Errorf("the configuration is %q", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != "" {
		t.Errorf("the configuration is %q, and there is none", got)
	}
	if err := writeFile(filepath.Join(dir, "state.json"), nil); err != nil {
		t.Error(err)
	}
}
