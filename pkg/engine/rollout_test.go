package engine_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/resources"
)

// rollout carries plans out, one at a time, as an operator, a kubelet and agents would, and notes each
// disruption. After every step it looks at what must hold whatever happens.
type rollout struct {
	*testing.T
	scene
	history []string
	pods    int
	// refuse makes agents refuse switchovers; breaks makes the next restarted instance stay down.
	refuse bool
	breaks bool
	// rejects makes engines not start with the new configuration: agents go back to the one before.
	rejects bool
}

func (r *rollout) note(format string, args ...any) {
	r.history = append(r.history, fmt.Sprintf(format, args...))
}

// until carries plans out until nothing more happens, and returns what happened.
func (r *rollout) until(limit int) []string {
	r.Helper()
	for range limit {
		before := len(r.history)
		p := r.plan()
		r.check(p)
		settled := cmp.Equal(r.Database.Status, p.Status)
		r.Database.Status = *p.Status.DeepCopy()
		r.carryOut(p)
		if settled && len(r.history) == before && !r.heal() {
			return r.history
		}
		r.Now = r.Now.Add(time.Second)
	}
	r.Fatalf("it does not come to rest: %v", r.history)
	return nil
}

// check is what must hold of every plan.
func (r *rollout) check(p *engine.Plan) {
	r.Helper()
	disruptions := 0
	for _, a := range p.Actions {
		if d, ok := a.(engine.Delete); ok && d.Resource == engine.Pods {
			disruptions++
			if r.Instances[d.Name].Status.Role == dbv1.RolePrimary && len(r.Instances) > 1 {
				r.Errorf("the primary's pod is deleted: %v", r.history)
			}
		}
	}
	for name, dbi := range r.Instances {
		if spec := r.spec(name); spec != nil && spec.Operation != nil && *spec.Operation.Kind == dbv1.OperationRestart &&
			(dbi.Spec.Operation == nil || dbi.Spec.Operation.ID != *spec.Operation.ID) {
			disruptions++
		}
	}
	if op := p.Status.Operation; op != nil && op.Phase == dbv1.OperationRunning && disruptions > 0 {
		r.Errorf("a restart during an operation: %v", r.history)
	}
	if disruptions > 1 {
		r.Errorf("%d disruptions at once: %v", disruptions, r.history)
	}
	for name := range r.Instances {
		if disruptions > 0 && !r.Instances[name].Status.Ready {
			r.Errorf("a disruption while %s is not ready: %v", name, r.history)
		}
	}
}

func (r *rollout) carryOut(p *engine.Plan) {
	hash := confighash.ConfigHash(eng.Shape(r.Database).Config)
	for _, name := range names(r.Instances) {
		spec := r.spec(name)
		if spec == nil {
			continue
		}
		dbi := r.Instances[name]
		dbi.Spec.ConfigHash = hash
		dbi.Spec.Members = nil
		for _, m := range spec.Members {
			dbi.Spec.Members = append(dbi.Spec.Members, dbv1.InstanceMember{Name: *m.Name})
		}
		r.operate(dbi, spec.Operation != nil, func() dbv1.InstanceOperation {
			op := dbv1.InstanceOperation{ID: *spec.Operation.ID, Kind: *spec.Operation.Kind}
			if spec.Operation.Target != nil {
				op.Target = *spec.Operation.Target
			}
			return op
		})
	}
	for _, a := range p.Actions {
		if d, ok := a.(engine.Delete); ok && d.Resource == engine.Pods {
			r.note("delete %s", d.Name)
			r.replacePod(d.Name)
		}
	}
	r.refreshTemplate()
}

// operate is the agent.
func (r *rollout) operate(dbi *dbv1.DatabaseInstance, asked bool, what func() dbv1.InstanceOperation) {
	if !asked {
		dbi.Spec.Operation = nil
		return
	}
	op := what()
	if dbi.Spec.Operation != nil && dbi.Spec.Operation.ID == op.ID {
		return
	}
	dbi.Spec.Operation = &op
	dbi.Status.Operation = &dbv1.InstanceOperationStatus{ID: op.ID, Phase: dbv1.OperationSucceeded}
	switch op.Kind {
	case dbv1.OperationRestart:
		r.note("restart %s", dbi.Name)
		r.restarted(dbi.Name)
	case dbv1.OperationSwitchover:
		if r.refuse {
			r.note("refuse to hand over")
			dbi.Status.Operation.Phase, dbi.Status.Operation.Message = dbv1.OperationFailed, "no"
			return
		}
		r.note("hand over from %s to %s", dbi.Name, op.Target)
		r.restarted(dbi.Name)
		r.elect(op.Target, *r.Lease.Spec.LeaseTransitions+1)
		dbi.Status.Ready = true
	case dbv1.OperationFailover:
		r.note("force %s", dbi.Name)
		r.elect(dbi.Name, *r.Lease.Spec.LeaseTransitions+1)
	}
}

func (r *rollout) restarted(name string) {
	status := &r.Instances[name].Status
	status.EngineStarts++
	status.PendingRestart = nil
	status.Ready = false
	if r.rejects {
		status.AppliedConfigHash, status.RefusedConfigHash = "before", r.Instances[name].Spec.ConfigHash
		status.Conditions = []metav1.Condition{{Type: dbv1.ConditionConfigApplied, Status: metav1.ConditionFalse, Reason: dbv1.ReasonConfigRefused, Message: "too much"}}
	}
	if status.Engine == nil {
		return
	}
	for name := range status.Engine.PostgreSQL.HotStandby {
		// What is no number is none of these settings.
		status.Engine.PostgreSQL.HotStandby[name], _ = strconv.ParseInt(string(r.Database.Spec.EngineConfig[name]), 10, 64)
	}
}

func (r *rollout) replacePod(name string) {
	r.pods++
	shape := eng.Shape(r.Database)
	pod, hashes := r.Pods[name].DeepCopy(), resources.PodHashes(r.Database, shape, shape.Groups[0], r.AgentImage)
	pod.UID = types.UID(fmt.Sprintf("new-pod-%d", r.pods))
	pod.Annotations["db.platform.io/template-hash"], pod.Annotations["db.platform.io/spec-hash"] = hashes.Template, hashes.Spec
	r.Pods[name] = pod
	r.restarted(name)
	r.Instances[name].Status.PodUID = string(pod.UID)
}

// heal makes what was restarted ready again, and is true when there was something.
func (r *rollout) heal() bool {
	for _, dbi := range r.Instances {
		if !dbi.Status.Ready && !r.breaks {
			dbi.Status.Ready = true
			return true
		}
	}
	return false
}

func names(instances map[string]*dbv1.DatabaseInstance) []string {
	var out []string
	for name := range instances {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// moreMemory changes what all pods are made of.
func moreMemory(s scene) {
	s.Database.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	hash := confighash.ConfigHash(eng.Shape(s.Database).Config)
	for _, dbi := range s.Instances {
		dbi.Status.AppliedConfigHash = hash
	}
	s.refreshTemplate()
}

// setting changes a setting that needs a restart, on instances that run with other values.
func setting(name, value string, running int64) func(scene) {
	return func(s scene) {
		s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{name: dbv1.ConfigValue(value)}
		hash := confighash.ConfigHash(eng.Shape(s.Database).Config)
		for _, dbi := range s.Instances {
			dbi.Status.AppliedConfigHash, dbi.Status.PendingRestart = hash, []string{name}
			dbi.Status.Engine = &dbv1.InstanceEngineStatus{PostgreSQL: &dbv1.PostgreSQLInstanceStatus{HotStandby: map[string]int64{name: running}}}
		}
	}
}

func newRollout(t *testing.T, s scene, change ...func(scene)) *rollout {
	t.Helper()
	s.Database.Status = s.plan().Status
	for _, c := range change {
		c(s)
	}
	return &rollout{T: t, scene: s}
}

func TestRollingChanges(t *testing.T) {
	for name, c := range map[string]struct {
		scene  scene
		change func(scene)
		want   []string
	}{
		"pods, replicas first": {
			settled(replicated(3)), moreMemory,
			[]string{"delete db-1", "delete db-2", "hand over from db-0 to db-1", "delete db-0"},
		},
		"pods, with one that commits wait for": {
			settled(synchronous(3, 1)), moreMemory,
			[]string{"delete db-1", "delete db-2", "hand over from db-0 to db-1", "delete db-0"},
		},
		"pods, with all that commits wait for": {
			settled(synchronous(2, 1)), moreMemory,
			[]string{"delete db-1", "hand over from db-0 to db-1", "delete db-0"},
		},
		"pods, and the primary is the second": {
			func() scene { s := settled(replicated(3)); s.elect("db-1", 5); return s }(), moreMemory,
			[]string{"delete db-0", "delete db-2", "hand over from db-1 to db-0", "delete db-1"},
		},
		// The old primary has restarted by handing over.
		"a setting": {
			settled(replicated(3)), setting("shared_buffers", "1GB", 0),
			[]string{"restart db-1", "restart db-2", "hand over from db-0 to db-1"},
		},
		"a setting that replicas must not have lower grows": {
			settled(replicated(3)), setting("max_connections", "200", 100),
			[]string{"restart db-1", "restart db-2", "hand over from db-0 to db-1"},
		},
		"a setting that replicas must not have lower shrinks": {
			settled(replicated(3)), setting("max_connections", "50", 100),
			[]string{"restart db-0", "restart db-1", "restart db-2"},
		},
		"one instance, replicated": {settled(replicated(1)), moreMemory, []string{"delete db-0"}},
		"one instance":             {settled(), setting("max_connections", "50", 100), []string{"restart db-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t, c.scene, c.change)
			if diff := cmp.Diff(c.want, r.until(60)); diff != "" {
				t.Error(diff)
			}
			if p := r.plan(); condition(p, dbv1.ConditionUpToDate) != "True AsExpected" || len(p.Status.Plan) != 0 {
				t.Errorf("UpToDate is %s, plan %+v", condition(p, dbv1.ConditionUpToDate), p.Status.Plan)
			}
		})
	}
}

func TestARolloutStopsAtTheFirstInstanceThatStaysDown(t *testing.T) {
	r := newRollout(t, settled(replicated(3)), moreMemory)
	r.breaks = true
	if diff := cmp.Diff([]string{"delete db-1"}, r.until(20)); diff != "" {
		t.Error(diff)
	}
	r.Instances["db-1"].Status.Message = "out of memory"
	p := r.plan()
	if got := message(p, dbv1.ConditionUpToDate); !strings.Contains(got, "db-2 waits") || !strings.Contains(got, "OneAtATime") || !strings.Contains(got, "out of memory") {
		t.Errorf("the condition says: %s", got)
	}
}

// A value is tried on one instance: the others go on with what they have.
func TestAConfigurationThatOneInstanceRefusesRestartsNoOther(t *testing.T) {
	r := newRollout(t, settled(replicated(3)), setting("shared_buffers", "1TB", 0))
	r.rejects = true
	if diff := cmp.Diff([]string{"restart db-1"}, r.until(20)); diff != "" {
		t.Error(diff)
	}
	p := r.plan()
	for _, step := range p.Status.Plan {
		if step.HeldBy != engine.GuardConfigRefused {
			t.Errorf("plan %+v", step)
		}
	}
	if got := condition(p, dbv1.ConditionUpToDate) + ": " + message(p, dbv1.ConditionUpToDate); len(p.Status.Plan) != 2 || got != "False ConfigRefused: instance db-1: too much" {
		t.Errorf("plan %+v, UpToDate %s", p.Status.Plan, got)
	}
	// What pods are made of is another matter.
	moreMemory(r.scene)
	if diff := cmp.Diff([]string{"restart db-1", "delete db-1"}, r.until(20)[:2]); diff != "" {
		t.Error(diff)
	}
	// Another value is tried again.
	r.rejects, r.history = false, nil
	setting("shared_buffers", "1GB", 0)(r.scene)
	for _, dbi := range r.Instances {
		dbi.Status.Conditions = nil
	}
	if got := r.until(40); len(got) == 0 {
		t.Error("nothing is restarted for another value")
	}
}

// What is held, and by which guard, when all else is well.
func TestGuardsOfReplicaSets(t *testing.T) {
	const window = engine.GuardMaintenanceWindow
	for name, c := range map[string]struct {
		disturb func(scene)
		held    map[string]string
	}{
		"nothing":              {func(scene) {}, map[string]string{"RestartPod db-1": "", "RestartPod db-2": engine.GuardOneAtATime, "Switchover db-0": engine.GuardOneAtATime}},
		"outside the window":   {func(s scene) { s.Database.Spec.Maintenance = sundays }, map[string]string{"RestartPod db-1": window, "RestartPod db-2": window, "Switchover db-0": window}},
		"a replica is no copy": {func(s scene) { s.Instances["db-2"].Status.Replication.Streaming = false }, map[string]string{"RestartPod db-1": engine.GuardLastSynchronised, "RestartPod db-2": "", "Switchover db-0": engine.GuardOneAtATime}},
		"a replica is no candidate": {
			func(s scene) { s.Instances["db-2"].Status.DataID = "cloned anew" },
			map[string]string{"RestartPod db-1": engine.GuardLastSynchronised, "RestartPod db-2": "", "Switchover db-0": engine.GuardOneAtATime},
		},
		"nobody is known to be the primary": {
			func(s scene) { delete(s.Pods["db-0"].Labels, "db.platform.io/role") },
			map[string]string{"Switchover db-0": engine.GuardOneAtATime, "RestartPod db-1": engine.GuardOneAtATime, "RestartPod db-2": engine.GuardOneAtATime},
		},
		"the primary is broken, and others can take over": {
			func(s scene) { s.isNotReady("db-0", "out of memory") },
			map[string]string{"Switchover db-0": engine.GuardLastSynchronised, "RestartPod db-1": engine.GuardOneAtATime, "RestartPod db-2": engine.GuardOneAtATime},
		},
		"the primary is broken, and nobody can take over": {
			func(s scene) { s.isNotReady("db-0", "out of memory").strike("db-1", "db-2") },
			map[string]string{"RestartPod db-0": "", "RestartPod db-1": engine.GuardOneAtATime, "RestartPod db-2": engine.GuardOneAtATime},
		},
		"the primary is broken, and a replica, and nobody can take over": {func(s scene) {
			s.Database.Spec.Maintenance = sundays
			s.elect("db-1", 5)
			s.isNotReady("db-0", "nobody to follow").isNotReady("db-1", "out of memory").strike("db-0", "db-2")
		}, map[string]string{"RestartPod db-1": "", "RestartPod db-0": engine.GuardOneAtATime, "RestartPod db-2": engine.GuardOneAtATime}},
		"the primary serves, and nobody can take over": {
			func(s scene) { s.strike("db-1", "db-2") },
			map[string]string{"Switchover db-0": engine.GuardNoCandidate, "RestartPod db-1": engine.GuardLastSynchronised, "RestartPod db-2": engine.GuardLastSynchronised},
		},
		"an operation is under way": {func(s scene) {
			s.Database.Status.Operation = &dbv1.OperationStatus{ID: "1", Kind: dbv1.OperationSwitchover, Phase: dbv1.OperationRunning}
		}, map[string]string{"RestartPod db-1": engine.GuardOperation, "RestartPod db-2": engine.GuardOperation, "Switchover db-0": engine.GuardOperation}},
	} {
		s := settled(replicated(3))
		moreMemory(s)
		c.disturb(s)
		got := map[string]string{}
		for _, step := range s.plan().Status.Plan {
			got[step.Kind+" "+step.Target] = step.HeldBy
		}
		if diff := cmp.Diff(c.held, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Its pod is the same whatever its containers do, so it would hold the Lease for ever.
func TestAPrimaryThatOnlyABetterSpecHelpsIsRestarted(t *testing.T) {
	s := settled(replicated(2))
	moreMemory(s)
	s.isNotReady("db-0", "out of memory").strike("db-1")
	deleted := func() bool { return slices.Contains(actions(s.plan()), "delete pods db-0") }
	if !deleted() {
		t.Errorf("actions %v, plan %+v", actions(s.plan()), s.plan().Status.Plan)
	}
	shape := eng.Shape(s.Database)
	hashes := resources.PodHashes(s.Database, shape, shape.Groups[0], s.AgentImage)
	s.Pods["db-0"].Annotations = map[string]string{"db.platform.io/template-hash": hashes.Template, "db.platform.io/spec-hash": hashes.Spec}
	if deleted() {
		t.Error("it is made as the spec says, and is restarted again")
	}
}

func TestAPrimaryThatOnlyAnotherSettingHelpsIsRestarted(t *testing.T) {
	s := settled(replicated(2))
	setting("shared_buffers", "1GB", 0)(s)
	s.isNotReady("db-0", "out of memory").strike("db-1")
	if op := s.spec("db-0").Operation; op == nil || *op.Kind != dbv1.OperationRestart {
		t.Errorf("it is asked for %+v, plan %+v", op, s.plan().Status.Plan)
	}
}

func TestASwitchoverBeforeARestart(t *testing.T) {
	// Only the primary's pod is outdated.
	prepare := func(disturb ...func(scene)) *rollout {
		s := settled(replicated(3))
		moreMemory(s)
		r := newRollout(t, s)
		for _, name := range []string{"db-1", "db-2"} {
			r.replacePod(name)
			r.heal()
			r.Instances[name].Status.Ready = true
		}
		for _, d := range disturb {
			d(s)
		}
		return r
	}
	t.Run("without a candidate", func(t *testing.T) {
		p := prepare(func(s scene) {
			for _, name := range []string{"db-1", "db-2"} {
				s.Instances[name].Status.Replication.Streaming = false
			}
		}).plan()
		if len(p.Status.Plan) != 1 || p.Status.Plan[0].HeldBy != engine.GuardNoCandidate || p.Status.Operation != nil {
			t.Errorf("plan %+v, operation %+v", p.Status.Plan, p.Status.Operation)
		}
	})
	t.Run("the closest takes over", func(t *testing.T) {
		p := prepare(func(s scene) { s.Instances["db-1"].Status.LagBytes = new(int64(1 << 20)) }).plan()
		if op := p.Status.Operation; op == nil || op.Target != "db-2" || op.Phase != dbv1.OperationPending {
			t.Errorf("operation %+v", op)
		}
	})
	t.Run("that is refused is tried again later", func(t *testing.T) {
		r := prepare()
		r.refuse = true
		if diff := cmp.Diff([]string{"refuse to hand over"}, r.until(20)); diff != "" {
			t.Error(diff)
		}
		p := r.plan()
		if op := p.Status.Operation; op.Phase != dbv1.OperationAborted || op.Message != "no" || op.FinishedAt == nil {
			t.Errorf("operation %+v", op)
		}
		if step := p.Status.Plan[0]; step.HeldBy != engine.GuardSwitchoverAborted || step.NotBefore == nil {
			t.Errorf("plan %+v", step)
		}
		r.refuse, r.Now = false, r.Now.Add(6*time.Minute)
		if diff := cmp.Diff([]string{"refuse to hand over", "hand over from db-0 to db-1", "delete db-0"}, r.until(20)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestThePrimaryLeavesANodeBeforeItIsDrained(t *testing.T) {
	for name, c := range map[string]struct {
		cordoned []string
		disturb  func(scene)
		want     string
	}{
		"its node":                         {[]string{"node-0"}, func(scene) {}, "db-1"},
		"its node, outside the window":     {[]string{"node-0"}, func(s scene) { s.Database.Spec.Maintenance = sundays }, "db-1"},
		"its node and that of the next":    {[]string{"node-0", "node-1"}, func(scene) {}, "db-2"},
		"its node, and a replica is down":  {[]string{"node-0"}, func(s scene) { s.isNotReady("db-1", "down") }, "db-2"},
		"every node":                       {[]string{"node-0", "node-1", "node-2"}, func(scene) {}, ""},
		"the node of a replica":            {[]string{"node-1"}, func(scene) {}, ""},
		"its node, while paused":           {[]string{"node-0"}, func(s scene) { s.Database.Spec.Lifecycle.Paused = true }, ""},
		"its node, and no replica streams": {[]string{"node-0"}, func(s scene) { s.releaseLease() }, ""},
	} {
		s := settled(replicated(3))
		s.Cordoned = map[string]bool{}
		for _, node := range c.cordoned {
			s.Cordoned[node] = true
		}
		c.disturb(s)
		got := ""
		if op := s.plan().Status.Operation; op != nil {
			got = op.Target
		}
		if got != c.want {
			t.Errorf("%s: the primary is to be %q, want %q", name, got, c.want)
		}
	}
}
