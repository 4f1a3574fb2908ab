package engine_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/resources"
)

// The order in which instances are restarted, where something is in the way for a moment. All of it was seen on real clusters.

// Agents read a new configuration one after the other, and the primary's may be the first to say what waits.
func TestSettingsRestartNobodyBeforeAllHaveReadThem(t *testing.T) {
	r := newRollout(t, settled(replicated(3)), setting("max_connections", "200", 100))
	for _, name := range []string{"db-1", "db-2"} {
		status := &r.Instances[name].Status
		status.AppliedConfigHash, status.PendingRestart = "before", nil
	}
	if got := r.until(20); len(got) != 0 {
		t.Errorf("%v was done before the replicas had read the configuration", got)
	}
	if p := r.plan(); len(p.Status.Plan) != 1 || p.Status.Plan[0].HeldBy != engine.GuardConfigPending {
		t.Errorf("the plan is %+v", p.Status.Plan)
	}
	setting("max_connections", "200", 100)(r.scene)
	if diff := cmp.Diff([]string{"restart db-1", "restart db-2", "hand over from db-0 to db-1"}, r.until(60)); diff != "" {
		t.Error(diff)
	}
}

// Pods that must not share a node keep those out that may, until they are made anew.
func TestNewInstancesThatFindNoNodeHoldNoRestartUp(t *testing.T) {
	s := settled(replicated(3))
	r := newRollout(t, s, func(s scene) {
		s.Database.Spec.Topology.Replicas = 4
		s.addInstance(eng.Shape(s.Database), 3)
		moreMemory(s)
		s.Pods["db-3"].Spec.NodeName = ""
		s.Pods["db-3"].Status.Conditions = nil
		s.Instances["db-3"].Status = dbv1.DatabaseInstanceStatus{}
	})
	if p := r.plan(); len(p.Status.Plan) == 0 || p.Status.Plan[0].HeldBy != "" {
		t.Errorf("the plan is %+v", p.Status.Plan)
	}
	// One that had data is missed.
	r.Instances["db-3"].Status.DataID = "data-id-db-3"
	if p := r.plan(); len(p.Status.Plan) == 0 || p.Status.Plan[0].HeldBy != engine.GuardOneAtATime {
		t.Errorf("the plan is %+v", p.Status.Plan)
	}
}

// A primary that is restarted in place is for a moment not known to be one, and keeps the Lease.
func TestAPrimaryThatIsRestartedInPlaceKeepsItsPod(t *testing.T) {
	r := newRollout(t, settled(replicated(3)), moreMemory)
	r.Instances["db-0"].Status.Ready = false
	p := r.plan()
	if got := actions(p); slices.Contains(got, "delete pods db-0") {
		t.Errorf("the plan is %v", got)
	}
	for _, step := range p.Status.Plan {
		if step.Target == "db-0" && step.HeldBy == "" {
			t.Errorf("the plan is %+v", p.Status.Plan)
		}
	}
}

// While replicas connect again, none may be restarted. That is no reason to hand over to one that is next.
func TestNoHandoverBeforeReplicasAreRestarted(t *testing.T) {
	r := newRollout(t, settled(replicated(3)), moreMemory)
	shape := eng.Shape(r.Database)
	hashes := resources.PodHashes(r.Database, shape, shape.Groups[0], r.AgentImage)
	r.Pods["db-2"].Annotations = map[string]string{"db.platform.io/template-hash": hashes.Template, "db.platform.io/spec-hash": hashes.Spec}
	r.Instances["db-2"].Status.Replication.Streaming = false
	if op := r.plan().Status.Operation; op != nil {
		t.Errorf("%s begins: %s", op.Kind, op.Message)
	}
	plan := r.plan().Status.Plan
	if last := plan[len(plan)-1]; last.Kind != "Switchover" || last.HeldBy != engine.GuardReplicasFirst {
		t.Errorf("the plan is %+v", plan)
	}
}

// A replica that is restarted before the primary still has what the primary has.
func TestReplicasWaitForAPrimaryThatMustHaveLessFirst(t *testing.T) {
	r := newRollout(t, settled(replicated(3)), setting("max_connections", "50", 100))
	r.Instances["db-2"].Status.Ready = false
	for _, step := range r.plan().Status.Plan {
		if step.HeldBy == "" {
			t.Errorf("%s %s is not held", step.Kind, step.Target)
		}
	}
}
