package engine_test

import (
	"strings"
	"testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// step is a change of the scene, and what the status then is.
type step struct {
	what  string
	do    func(scene)
	phase dbv1.DatabasePhase
	ready string
}

// follow carries the status on from step to step.
func follow(t *testing.T, s scene, steps []step) {
	t.Helper()
	var p *engine.Plan
	for _, step := range steps {
		step.do(s)
		p = s.plan()
		if got := condition(p, dbv1.ConditionReady); p.Status.Phase != step.phase || got != step.ready {
			t.Errorf("%s: phase %s, Ready is %s (%s); want %s and %s", step.what, p.Status.Phase, got, message(p, dbv1.ConditionReady), step.phase, step.ready)
		}
		s.Database.Status = *p.Status.DeepCopy()
	}
}

// clones makes an instance one whose data is being copied; copied one that starts with the copy.
func clones(name string) func(scene) {
	return func(s scene) { s.isNotReady(name, "Copying the data of db-0").Instances[name].Status.DataID = "" }
}

func copied(name string) func(scene) {
	return func(s scene) {
		s.isNotReady(name, "Starting the engine").Instances[name].Status.DataID = "data-id-" + name
	}
}

func serves(name string) func(scene) {
	return func(s scene) {
		s.Instances[name].Status.Ready, s.Instances[name].Status.Message, s.Instances[name].Status.Phase = true, "", dbv1.InstanceRunning
	}
}

func TestTheFirstStartOfAReplicaSet(t *testing.T) {
	s := settled(replicated(3))
	s.Database.Status = dbv1.DatabaseStatus{EngineStatus: eng.Record(systemID)}
	configPending := func(s scene) { s.Instances["db-2"].Status.AppliedConfigHash = "" }
	follow(t, s, []step{
		{"the first instance starts", func(s scene) { copied("db-0")(s); clones("db-1")(s); clones("db-2")(s) }, dbv1.PhaseProvisioning, "False InstanceNotReady"},
		{"one of three", serves("db-0"), dbv1.PhaseProvisioning, "False Provisioning"},
		{"the second starts with its copy", copied("db-1"), dbv1.PhaseProvisioning, "False Provisioning"},
		{"two of three", serves("db-1"), dbv1.PhaseScaling, "True AsExpected"},
		{"the third starts with its copy", func(s scene) { copied("db-2")(s); configPending(s) }, dbv1.PhaseScaling, "True AsExpected"},
		{"all", func(s scene) {
			serves("db-2")(s)
			s.Instances["db-2"].Status.AppliedConfigHash = s.Instances["db-1"].Status.AppliedConfigHash
		}, dbv1.PhaseReady, "True AsExpected"},
		{"one is lost", func(s scene) { s.isNotReady("db-2", "down") }, dbv1.PhaseDegraded, "True AsExpected"},
		{"all but the primary are lost", func(s scene) { s.isNotReady("db-1", "down") }, dbv1.PhaseDegraded, "False InstanceNotReady"},
		{"one is back", serves("db-1"), dbv1.PhaseDegraded, "True AsExpected"},
	})
	s.isNotReady("db-1", "out of memory")
	if got := message(s.plan(), dbv1.ConditionReady); !strings.Contains(got, "only db-0 of 3 instances serves") || !strings.Contains(got, "out of memory") {
		t.Errorf("Ready says: %s", got)
	}
}

// Whoever wrote before goes on writing.
func TestTheFirstReplicasOfADatabaseThatIsReady(t *testing.T) {
	s := settled(replicated(3))
	clones("db-1")(s)
	clones("db-2")(s)
	before := settled()
	s.Database.Status = before.plan().Status
	follow(t, s, []step{
		{"both are copied", func(scene) {}, dbv1.PhaseScaling, "True AsExpected"},
		{"one starts with its copy", copied("db-1"), dbv1.PhaseScaling, "True AsExpected"},
		{"it serves", serves("db-1"), dbv1.PhaseScaling, "True AsExpected"},
		{"the other starts", copied("db-2"), dbv1.PhaseScaling, "True AsExpected"},
		{"it serves, too", serves("db-2"), dbv1.PhaseReady, "True AsExpected"},
	})
}

func TestTheOnlyReplicaIsRestarted(t *testing.T) {
	s := settled(replicated(2))
	s.Database.Status = s.plan().Status
	follow(t, s, []step{
		{"its pod is to be made anew", moreMemory, dbv1.PhaseUpdating, "True AsExpected"},
		{"its pod is away", func(s scene) { s.stopped("db-1") }, dbv1.PhaseUpdating, "True AsExpected"},
	})
	s = settled(replicated(2))
	s.Database.Status = s.plan().Status
	follow(t, s, []step{{"its pod goes by itself", func(s scene) { s.stopped("db-1") }, dbv1.PhaseDegraded, "False InstanceNotReady"}})
}

// Whoever lost the volume must not wait for an update to end.
func TestAnInstanceThatFailedIsNotBeingUpdated(t *testing.T) {
	lost := func(phase dbv1.InstancePhase) func(scene) {
		return func(s scene) {
			s.isNotReady("db-0", "The volume is empty").Instances["db-0"].Status.Phase = phase
			s.Instances["db-0"].Status.AppliedConfigHash, s.Instances["db-0"].Status.SystemID = "", ""
		}
	}
	for name, c := range map[string]step{
		"it failed":   {"", lost(dbv1.InstanceFailed), dbv1.PhaseDegraded, "False InstanceNotReady"},
		"it starts":   {"", lost(dbv1.InstanceStarting), dbv1.PhaseUpdating, "False InstanceNotReady"},
		"its setting": {"", func(s scene) { s.Instances["db-0"].Status.AppliedConfigHash = "before" }, dbv1.PhaseUpdating, "True AsExpected"},
	} {
		s := settled()
		s.Database.Status = s.plan().Status
		c.what = name
		follow(t, s, []step{c})
	}
}
