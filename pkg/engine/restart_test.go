package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/resources"
)

// A window on Sundays; now is a Monday.
var sundays = &dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{
	{DayOfWeek: 0, StartTime: "02:00", Duration: metav1.Duration{Duration: 4 * time.Hour}, TimeZone: "UTC"},
}}

// pending is a settled Database whose engine waits for a restart.
func pending(change ...func(*dbv1.Database)) scene {
	s := settled(change...)
	s.Instances["db-0"].Status.PendingRestart = []string{"max_connections"}
	return s
}

// outdated is a settled Database whose pod was made with less memory.
func outdated(change ...func(*dbv1.Database)) scene {
	s := settled(change...)
	s.Database.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	s.refreshTemplate()
	return s
}

// refreshTemplate gives the StatefulSet the template of the spec, as a sync before would have.
func (s scene) refreshTemplate() {
	shape := eng.Shape(s.Database)
	hashes := resources.PodHashes(s.Database, shape, shape.Groups[0], s.AgentImage)
	set := s.StatefulSets["db"].DeepCopy()
	set.Spec.Template.Annotations = map[string]string{"db.platform.io/template-hash": hashes.Template}
	s.StatefulSets["db"] = set
}

func TestRestarts(t *testing.T) {
	const id = "-pod-uid--1"
	for name, c := range map[string]struct {
		scene   scene
		kind    string
		heldBy  string
		deletes bool
		asks    bool
	}{
		"a setting that needs one":              {scene: pending(), kind: "RestartEngine", asks: true},
		"a setting, outside the window":         {scene: pending(func(db *dbv1.Database) { db.Spec.Maintenance = sundays }), kind: "RestartEngine", heldBy: engine.GuardMaintenanceWindow},
		"a setting, while paused":               {scene: pending(func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = true }), kind: "RestartEngine", heldBy: engine.GuardPaused},
		"a pod that is made differently":        {scene: outdated(), kind: "RestartPod", deletes: true},
		"a pod, outside the window":             {scene: outdated(func(db *dbv1.Database) { db.Spec.Maintenance = sundays }), kind: "RestartPod", heldBy: engine.GuardMaintenanceWindow},
		"a pod that does not serve, outside it": {scene: broken(outdated(func(db *dbv1.Database) { db.Spec.Maintenance = sundays })), kind: "RestartPod", deletes: true},
		"a new release of the operator":         {scene: released(settled()), kind: "RestartPod", heldBy: engine.GuardOperatorRelease},
		"a new release, outside the window":     {scene: released(settled(func(db *dbv1.Database) { db.Spec.Maintenance = sundays })), kind: "RestartPod", heldBy: engine.GuardOperatorRelease},
		"a new release, inside the window":      {scene: inWindow(released(settled(func(db *dbv1.Database) { db.Spec.Maintenance = sundays }))), kind: "RestartPod", deletes: true},
		"a restart that is under way":           {scene: asked(pending(), dbv1.OperationRunning), kind: "RestartEngine", heldBy: engine.GuardRestarting, asks: true},
		"a restart that did not help":           {scene: restarted(pending()), kind: "RestartEngine", heldBy: engine.GuardDidNotHelp, asks: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.scene.plan()
			if len(p.Status.Plan) != 1 || p.Status.Plan[0].Kind != c.kind || p.Status.Plan[0].HeldBy != c.heldBy {
				t.Fatalf("plan %+v, want %s held by %q", p.Status.Plan, c.kind, c.heldBy)
			}
			deletes := false
			for _, a := range p.Actions {
				if d, ok := a.(engine.Delete); ok {
					deletes = d.Name == "db-0" && d.UID == "pod-uid-1"
				}
			}
			if deletes != c.deletes {
				t.Errorf("deletes the pod: %v, want %v (%v)", deletes, c.deletes, actions(p))
			}
			if spec := c.scene.instanceSpec(); c.asks != (spec != nil && spec.Operation != nil && *spec.Operation.ID == c.scene.Instances["db-0"].Spec.ConfigHash+id) {
				t.Errorf("the instance is asked: %v, want %v", !c.asks, c.asks)
			}
		})
	}
}

// hungry is an engine that needs memory.
type hungry struct {
	engine.Engine
	bytes int64
}

func (h hungry) MemoryNeeded(*dbv1.DatabaseInstanceStatus) int64 { return h.bytes }

func TestAPodIsNotReplacedByOneThatCannotHoldItsData(t *testing.T) {
	for name, c := range map[string]struct {
		scene  scene
		bytes  int64
		heldBy string
		says   string
	}{
		"it fits":                       {outdated(), 1 << 30, "", ""},
		"it does not":                   {outdated(), 1<<30 + 1, engine.GuardMemoryInUse, "raise spec.resources.limits.memory by at least 1Mi"},
		"a setting, which makes no pod": {pending(), 1 << 40, "", ""},
		"it does not serve anyway":      {broken(outdated()), 1 << 40, "", ""},
	} {
		c.scene.Instances["db-0"].Status.AppliedConfigHash = confighash.ConfigHash(eng.Shape(c.scene.Database).Config)
		p := engine.New(c.scene.Observation, hungry{eng, c.bytes})
		if len(p.Status.Plan) != 1 || p.Status.Plan[0].HeldBy != c.heldBy {
			t.Errorf("%s: plan %+v, want it held by %q", name, p.Status.Plan, c.heldBy)
		}
		upToDate := meta.FindStatusCondition(p.Status.Conditions, dbv1.ConditionUpToDate)
		if upToDate == nil || !strings.Contains(upToDate.Message, c.says) {
			t.Errorf("%s: condition %+v, want %q", name, upToDate, c.says)
		}
	}
}

func broken(s scene) scene {
	s.Pods["db-0"].Status.Conditions[0].Status = corev1.ConditionFalse
	return s
}

func released(s scene) scene {
	s.AgentImage = "agent:2"
	s.refreshTemplate()
	return s
}

func inWindow(s scene) scene {
	s.Now = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	return s
}

func asked(s scene, phase string) scene {
	id := s.Instances["db-0"].Spec.ConfigHash + "-pod-uid--1"
	s.Instances["db-0"].Spec.Operation = &dbv1.InstanceOperation{ID: id, Kind: dbv1.OperationRestart}
	s.Instances["db-0"].Status.Operation = &dbv1.InstanceOperationStatus{ID: id, Phase: phase}
	return s
}

func restarted(s scene) scene {
	s = asked(s, dbv1.OperationSucceeded)
	s.Instances["db-0"].Status.EngineStarts = 2
	return s
}

// The agent says of a setting that waits for a restart that it is not applied; that is no refusal.
func TestTheConditionTellsARefusalFromARestart(t *testing.T) {
	for name, c := range map[string]struct {
		scene     scene
		reason    string
		corrected bool
		want      string
	}{
		"waits for a restart that begins":       {pending(), dbv1.ReasonRestartPending, false, "False Restarting"},
		"waits for a restart in a window":       {pending(func(db *dbv1.Database) { db.Spec.Maintenance = sundays }), dbv1.ReasonRestartPending, false, "False RestartPending"},
		"is refused":                            {settled(), dbv1.ReasonConfigRefused, false, "False ConfigRefused"},
		"takes the place of a refused one":      {settled(), dbv1.ReasonConfigRefused, true, "True AsExpected"},
		"was refused, and is not asked for now": {settled(func(db *dbv1.Database) { db.Spec.Maintenance = nil }), dbv1.ReasonAsExpected, false, "True AsExpected"},
	} {
		status := metav1.ConditionFalse
		if c.reason == dbv1.ReasonAsExpected {
			status = metav1.ConditionTrue
		}
		instance := c.scene.Instances["db-0"]
		instance.Status.Conditions = []metav1.Condition{{Type: dbv1.ConditionConfigApplied, Status: status, Reason: c.reason}}
		if c.reason == dbv1.ReasonConfigRefused {
			instance.Status.RefusedConfigHash = instance.Spec.ConfigHash
		}
		if c.corrected {
			instance.Status.RefusedConfigHash = "before"
		}
		if got := condition(c.scene.plan(), dbv1.ConditionUpToDate); got != c.want {
			t.Errorf("a configuration that %s: UpToDate is %s, want %s", name, got, c.want)
		}
	}
}

func TestAPodIsNotDeletedBeforeTheStatefulSetHasTheNewTemplate(t *testing.T) {
	s := outdated()
	s.StatefulSets["db"].Spec.Template.Annotations = nil
	if p := s.plan(); len(p.Actions) != 0 {
		t.Errorf("%v: it would come back as it was", actions(p))
	}
}

func TestTheWindowIsWaitedFor(t *testing.T) {
	p := pending(func(db *dbv1.Database) { db.Spec.Maintenance = sundays }).plan()
	opens := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
	if want := opens.Sub(now); p.RequeueAfter != want {
		t.Errorf("requeue after %s, want %s", p.RequeueAfter, want)
	}
	if got := p.Status.Plan[0].NotBefore; got == nil || !got.Time.Equal(opens) {
		t.Errorf("not before %v", got)
	}
	if got := condition(p, dbv1.ConditionUpToDate); got != "False RestartPending" {
		t.Errorf("UpToDate is %s", got)
	}
}

func TestTransitionsAreSaidOnce(t *testing.T) {
	s := settled()
	after := s.plan().Status
	var reasons []string
	for _, e := range engine.Transitions(&dbv1.DatabaseStatus{}, &after) {
		reasons = append(reasons, e.Type+" "+e.Reason)
	}
	want := []string{"Normal Provisioned", "Normal Ready"}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Error(diff)
	}
	if again := engine.Transitions(&after, &after); len(again) != 0 {
		t.Errorf("said again: %v", again)
	}
}
