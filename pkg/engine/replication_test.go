package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// synchronous is a Database of some instances whose writes wait for some replicas.
func synchronous(instances, wait int32) func(*dbv1.Database) {
	return func(db *dbv1.Database) {
		replicated(instances)(db)
		db.Spec.HighAvailability = &dbv1.HighAvailabilitySpec{SynchronousReplicas: wait}
	}
}

// waits makes the primary record that commits wait for so many replicas.
func waits(w int) func(scene) {
	return func(s scene) {
		r, err := record.Parse(s.Lease.Annotations[naming.AnnotationRecord])
		if err != nil {
			panic(err)
		}
		r.W = w
		s.setRecord(r)
	}
}

func (s scene) isNotReady(name, message string) scene {
	status := &s.Instances[name].Status
	status.Ready, status.Phase, status.Message = false, dbv1.InstanceStarting, message
	return s
}

func message(p *engine.Plan, kind string) string {
	if c := meta.FindStatusCondition(p.Status.Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

func TestASettledReplicaSetIsReadyAndAsksForNothing(t *testing.T) {
	p := settled(synchronous(3, 1)).plan()
	if len(p.Actions) != 0 || p.RequeueAfter != renewal {
		t.Errorf("actions %v, requeue after %s", actions(p), p.RequeueAfter)
	}
	if p.Status.Phase != dbv1.PhaseReady || p.Status.Ready != "3/3" || condition(p, dbv1.ConditionReplicationHealthy) != "True AsExpected" {
		t.Errorf("phase %s, ready %s, conditions %+v", p.Status.Phase, p.Status.Ready, p.Status.Conditions)
	}
	if n := len(slices.DeleteFunc(kinds(p), func(k string) bool { return k != "DatabaseInstance" })); n != 3 {
		t.Errorf("%d instances", n)
	}
	if again := engine.Transitions(&p.Status, &p.Status); len(again) != 0 {
		t.Errorf("said again: %v", again)
	}
}

func TestWhoIsThePrimary(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(scene)
		want    string
		says    string
	}{
		"all is well": {func(scene) {}, "True AsExpected", ""},
		"the Lease was never held (agents of an earlier release)": {func(s scene) {
			s.Lease.Spec.HolderIdentity, s.Lease.Spec.LeaseTransitions = nil, nil
		}, "True AsExpected", ""},
		"the Lease is gone, and the primary goes on": {func(s scene) { s.Observation.Lease = nil }, "True AsExpected", ""},
		"the Lease is gone, and the primary is another than before": {func(s scene) {
			s.Observation.Lease, s.Database.Status.Primary.Name = nil, "db-1"
		}, "False InstanceNotReady", ""},
		"the record cannot be read": {func(s scene) { s.Lease.Annotations["db.platform.io/record"] = "?" }, "True AsExpected", ""},
		"it is being restarted in place": {
			func(s scene) { s.isNotReady("db-0", "Starting the engine") },
			"False InstanceNotReady", "Starting the engine",
		},
		"its agent has not reported": {func(s scene) { s.Instances["db-0"].Status.PodUID = "an earlier one" }, "Unknown Unknown", "has not reported"},
		"its label is missing":       {func(s scene) { delete(s.Pods["db-0"].Labels, "db.platform.io/role") }, "False InstanceNotReady", "label"},
		"its pod is gone":            {func(s scene) { s.stopped("db-0") }, "False FailingOver", "when its lease of 15s ends, another takes over: one of db-1, db-2 may be; missing of the candidates: db-0 (pod db-0 does not exist yet"},
		"another pod has its name":   {func(s scene) { s.Pods["db-0"].UID = "another" }, "False FailingOver", "when its lease of 15s ends"},
		"the Lease is released":      {func(s scene) { s.releaseLease() }, "False FailingOver", "nobody is the primary: one of db-0, db-1, db-2 will be"},
		"too few candidates are left": {
			func(s scene) { s.releaseLease().stopped("db-0").stopped("db-1") }, "False FailingOver",
			"missing of the candidates: db-0",
		},
		"another is being promoted": {func(s scene) {
			s.stopped("db-0").Lease.Spec.HolderIdentity = new("db-1/pod-uid-2")
		}, "False FailingOver", "db-1 takes over from db-0: instance db-1 is not the primary yet"},
		"two say that they are": {func(s scene) {
			s.Instances["db-1"].Status.Role = dbv1.RolePrimary
			s.Pods["db-1"].Labels["db.platform.io/role"] = "primary"
		}, "True AsExpected", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := settled(replicated(3))
			c.disturb(s)
			p := s.plan()
			if got := condition(p, dbv1.ConditionPrimaryAvailable); got != c.want || !strings.Contains(message(p, dbv1.ConditionPrimaryAvailable), c.says) {
				t.Errorf("PrimaryAvailable is %s: %s; want %s: %s", got, message(p, dbv1.ConditionPrimaryAvailable), c.want, c.says)
			}
			if c.want == "True AsExpected" && p.Status.Primary.Name != "db-0" {
				t.Errorf("the primary is %s", p.Status.Primary.Name)
			}
		})
	}
}

// A fenced instance does not take over, and nobody need lose data for that: it can be unfenced.
func TestFencedInstancesDoNotTakeOver(t *testing.T) {
	for name, c := range map[string]struct {
		fenced  string
		disturb func(scene)
		says    string
	}{
		"all": {
			"db-0,db-1,db-2", func(scene) {},
			"nobody is the primary: fenced of the candidates: db-0, db-1, db-2; kubectl database unfence db-0 db-1 db-2 lets them take over",
		},
		"the former primary": {
			"db-0", func(scene) {},
			"nobody is the primary: one of db-1, db-2 may be; fenced of the candidates: db-0; kubectl database unfence db-0 lets them take over",
		},
		"all that are left": {
			"db-1,db-2", func(s scene) { s.stopped("db-0") },
			"nobody is the primary: missing of the candidates: db-0 (pod db-0 does not exist yet; if it does not come, kubectl describe statefulset db says why); " +
				"fenced of the candidates: db-1, db-2; kubectl database unfence db-1 db-2 lets them take over",
		},
	} {
		s := settled(replicated(3)).releaseLease()
		s.Database.Annotations = map[string]string{naming.AnnotationFenced: c.fenced}
		c.disturb(s)
		if got := message(s.plan(), dbv1.ConditionPrimaryAvailable); got != c.says {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestWhetherReplicationIsHealthy(t *testing.T) {
	notStreaming := func(name string) func(scene) {
		return func(s scene) { s.Instances[name].Status.Replication.Streaming = false }
	}
	for name, c := range map[string]struct {
		wait    int32
		disturb []func(scene)
		want    string
		says    string
		phase   dbv1.DatabasePhase
	}{
		"all is well":               {0, nil, "True AsExpected", "", dbv1.PhaseReady},
		"a replica does not stream": {0, []func(scene){notStreaming("db-1")}, "False ReplicaNotReady", "replica db-1 does not stream from db-0", dbv1.PhaseReady},
		"a replica follows another": {0, []func(scene){func(s scene) { s.Instances["db-2"].Status.Replication.Source = "db-1" }}, "False ReplicaNotReady", "db-2 does not stream from db-0", dbv1.PhaseReady},
		"a replica's pod is gone":   {0, []func(scene){func(s scene) { s.stopped("db-2") }}, "False ReplicaNotReady", "pod db-2 does not exist yet", dbv1.PhaseDegraded},
		"a replica has other data":  {0, []func(scene){func(s scene) { s.Instances["db-1"].Status.DataID = "new" }}, "False ReplicaNotReady", "cannot take over yet", dbv1.PhaseReady},
		"a replica is far behind": {0, []func(scene){func(s scene) {
			s.isNotReady("db-1", "Catching up").Instances["db-1"].Status.LagBytes = new(int64(1 << 30))
		}}, "False ReplicaNotReady", "Catching up (1073741824 bytes behind)", dbv1.PhaseDegraded},
		"there is no primary":          {0, []func(scene){func(s scene) { s.releaseLease() }}, "Unknown Unknown", "PrimaryAvailable", dbv1.PhaseDegraded},
		"one of two is enough":         {1, []func(scene){notStreaming("db-1")}, "False ReplicaNotReady", "db-1 does not stream", dbv1.PhaseReady},
		"none is too few":              {1, []func(scene){notStreaming("db-1"), notStreaming("db-2")}, "False WritesWait", "must reach 1 replica before it is acknowledged, and of them stream: none", dbv1.PhaseReady},
		"one is too few for two":       {2, []func(scene){func(s scene) { s.stopped("db-1") }}, "False WritesWait", "stream: db-2", dbv1.PhaseDegraded},
		"one that streams and is none": {2, []func(scene){func(s scene) { s.Instances["db-1"].Status.DataID = "new" }}, "False WritesWait", "stream: db-2", dbv1.PhaseReady},
		// What commits wait for is what the primary recorded, not what it was told.
		"more was asked for than the primary waits for": {1, []func(scene){waits(0)}, "False ReplicaNotReady", "reached 0 replicas, and not yet 1", dbv1.PhaseReady},
		"more was asked for, and too few stream":        {1, []func(scene){waits(0), notStreaming("db-1"), notStreaming("db-2")}, "False ReplicaNotReady", "reached 0 replicas, and not yet 1", dbv1.PhaseReady},
		"less is asked for, and writes still wait":      {0, []func(scene){waits(1), notStreaming("db-1"), notStreaming("db-2")}, "False WritesWait", "must reach 1 replica", dbv1.PhaseReady},
		"less is asked for":                             {0, []func(scene){waits(1)}, "True AsExpected", "", dbv1.PhaseReady},
	} {
		t.Run(name, func(t *testing.T) {
			s := settled(synchronous(3, c.wait))
			for _, d := range c.disturb {
				d(s)
			}
			p := s.plan()
			if got := condition(p, dbv1.ConditionReplicationHealthy); got != c.want || !strings.Contains(message(p, dbv1.ConditionReplicationHealthy), c.says) {
				t.Errorf("ReplicationHealthy is %s: %s; want %s: %s", got, message(p, dbv1.ConditionReplicationHealthy), c.want, c.says)
			}
			if p.Status.Phase != c.phase {
				t.Errorf("phase %s, want %s", p.Status.Phase, c.phase)
			}
		})
	}
}

// keepsOut makes an instance the holder, whose engine is the primary and lets no clients in.
func (s scene) keepsOut(name string, epoch int32) scene {
	s.Lease.Spec.HolderIdentity, s.Lease.Spec.LeaseTransitions = new(name+"/"+string(s.Pods[name].UID)), &epoch
	s.isNotReady(name, "Clients are let in once 1 replica is here").Pods[name].Labels[naming.LabelRole] = "none"
	status := &s.Instances[name].Status
	status.Role, status.Phase, status.Epoch, status.Replication = dbv1.RoleNone, dbv1.InstanceRunning, int64(epoch), &dbv1.InstanceReplicationStatus{}
	return s
}

// A primary that was restarted or promoted lets clients in when enough replicas have all that it has. While too few
// are there, that may take for ever.
func TestAPrimaryThatWaitsForReplicasSaysSo(t *testing.T) {
	const notReady, wait = "False InstanceNotReady", "False WritesWait"
	away := func(names ...string) func(scene) {
		return func(s scene) {
			for _, name := range names {
				s.stopped(name)
			}
		}
	}
	for name, c := range map[string]struct {
		disturb func(scene)
		want    string
		says    string
	}{
		"enough follow": {away("db-2"), notReady, "instance db-0 is Running: Clients are let in once"},
		"one is ready, and is about to follow": {func(s scene) {
			receivesNothing(s.stopped("db-2"), "db-1")
		}, notReady, "instance db-0 is Running: Clients are let in once"},
		"one follows, and is behind": {func(s scene) { s.stopped("db-2").isNotReady("db-1", "Catching up") }, notReady, "instance db-0 is Running: Clients are let in once"},
		"all are away": {
			away("db-1", "db-2"), wait,
			"it waits for 1 replica with all that it has, and of them are here: none; missing: db-1 (pod db-1 does not exist yet",
		},
		"that is the way out":    {away("db-1", "db-2"), wait, "a lower spec.highAvailability.synchronousReplicas"},
		"one follows another":    {func(s scene) { receivesNothing(s.stopped("db-2").isNotReady("db-1", "no route"), "db-1") }, wait, "no route"},
		"the data is not theirs": {func(s scene) { s.stopped("db-2").Instances["db-1"].Status.DataID = "new" }, wait, "db-1 (it has other data now)"},
		"one of two is there":    {func(s scene) { waits(2)(s.stopped("db-2")) }, wait, "are here: db-1; missing: db-2"},
		"another took over":      {func(s scene) { s.stopped("db-0").stopped("db-2").keepsOut("db-1", 5) }, wait, "db-1 has the Lease and lets no clients in"},
		"another is taking over": {func(s scene) {
			s.stopped("db-0").stopped("db-2").keepsOut("db-1", 5).Instances["db-1"].Status.Role = dbv1.RoleReplica
		}, "False FailingOver", "db-1 takes over from db-0"},
		"its engine starts": {func(s scene) { away("db-1", "db-2")(s.isNotReady("db-0", "Starting the engine")) }, notReady, "Starting the engine"},
		"it is of an epoch before": {func(s scene) {
			s.stopped("db-1").stopped("db-2").Lease.Spec.LeaseTransitions = new(int32(5))
		}, notReady, "instance db-0 is Running"},
		"nobody is waited for": {func(s scene) { waits(0)(s.stopped("db-1").stopped("db-2")) }, notReady, "instance db-0 is Running"},
	} {
		s := settled(synchronous(3, 1)).keepsOut("db-0", 4)
		c.disturb(s)
		p := s.plan()
		if got := condition(p, dbv1.ConditionPrimaryAvailable); got != c.want || !strings.Contains(message(p, dbv1.ConditionPrimaryAvailable), c.says) {
			t.Errorf("%s: PrimaryAvailable is %s: %s; want %s: %s", name, got, message(p, dbv1.ConditionPrimaryAvailable), c.want, c.says)
		}
		if got := condition(p, dbv1.ConditionReady); got != c.want {
			t.Errorf("%s: Ready is %s", name, got)
		}
	}
}

func TestAStandaloneDatabaseHasNoReplication(t *testing.T) {
	if got := condition(settled().plan(), dbv1.ConditionReplicationHealthy); got != "none" {
		t.Errorf("ReplicationHealthy is %s", got)
	}
}

// An instance that never had data is being added; one that lost it is missing.
func TestScalingIsToldFromALoss(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(scene)
		want    dbv1.DatabasePhase
	}{
		"a new instance without a pod": {func(s scene) { s.stopped("db-2"); delete(s.Instances, "db-2") }, dbv1.PhaseScaling},
		"one that is being cloned":     {func(s scene) { s.isNotReady("db-2", "Cloning").Instances["db-2"].Status.DataID = "" }, dbv1.PhaseScaling},
		"one that is restarted":        {func(s scene) { s.isNotReady("db-2", "Starting") }, dbv1.PhaseDegraded},
	} {
		s := settled(replicated(3))
		s.Database.Status = s.plan().Status
		c.disturb(s)
		if phase := s.plan().Status.Phase; phase != c.want && (c.want != dbv1.PhaseScaling || phase != dbv1.PhaseUpdating) {
			t.Errorf("%s: phase %s, want %s", name, phase, c.want)
		}
	}
}

// The identity is given to each instance on its own: that a new claim has no facts yet must not take
// it from those that serve.
func TestANewClaimTakesNothingFromOthers(t *testing.T) {
	s := settled(replicated(2))
	delete(s.Claims["data-db-1"].Annotations, "db.platform.io/system-id")
	s.Instances["db-1"].Spec.SystemID, s.Instances["db-1"].Status = "", dbv1.DatabaseInstanceStatus{}
	if spec := s.spec("db-0"); spec.SystemID == nil {
		t.Error("the primary's identity is taken away")
	}
	if spec := s.spec("db-1"); spec.SystemID != nil || *spec.Bootstrap {
		t.Errorf("the new one is told %+v before its claim is marked", spec)
	}
	s.Claims["data-db-1"].Annotations["db.platform.io/system-id"] = systemID
	if spec := s.spec("db-1"); spec.SystemID == nil || *spec.Bootstrap {
		t.Errorf("the new one is told %+v", spec)
	}
}

func TestOnlyTheFirstInstanceMakesADatabase(t *testing.T) {
	s := settled(replicated(3))
	s.Database.Status, s.Claims, s.Instances = dbv1.DatabaseStatus{}, nil, nil
	for _, name := range []string{"db-0", "db-1", "db-2"} {
		if spec := s.spec(name); *spec.Bootstrap != (name == "db-0") || len(spec.Members) != 3 {
			t.Errorf("%s: bootstrap %v, members %v", name, *spec.Bootstrap, spec.Members)
		}
	}
}

func TestFailoverIsToldOnceAndASwitchoverIsNone(t *testing.T) {
	s := settled(replicated(3))
	was := s.plan().Status
	down := s.stopped("db-0").plan().Status
	up := settled(replicated(3))
	up.elect("db-1", 5)
	up.Instances["db-1"].Status.Replication.LostBytes = new(int64(42))
	up.Database.Status = *down.DeepCopy()
	is := up.plan().Status
	if is.Primary.Name != "db-1" || is.Primary.Epoch != 5 {
		t.Fatalf("the primary is %+v", is.Primary)
	}
	reasons := func(before, after *dbv1.DatabaseStatus) []string {
		var out []string
		for _, e := range engine.Transitions(before, after) {
			if strings.HasPrefix(e.Reason, "Fail") || strings.HasPrefix(e.Reason, "Switch") || e.Reason == "DataLost" {
				out = append(out, e.Type+" "+e.Reason)
			}
		}
		return out
	}
	if diff := cmp.Diff([]string{"Warning FailoverStarted"}, reasons(&was, &down)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Normal FailoverCompleted", "Warning DataLost"}, reasons(&down, &is)); diff != "" {
		t.Error(diff)
	}
	if got := reasons(&is, &is); got != nil {
		t.Errorf("said again: %v", got)
	}
	again := settled(synchronous(3, 1))
	again.Database.Status = *down.DeepCopy()
	again.stopped("db-1").stopped("db-2").keepsOut("db-0", 6)
	waits := again.plan().Status
	again = settled(synchronous(3, 1))
	again.elect("db-0", 6)
	again.Database.Status = *waits.DeepCopy()
	back := again.plan().Status
	if diff := cmp.Diff([]string{"Normal FailoverCompleted"}, reasons(&waits, &back)); diff != "" {
		t.Errorf("after it waited for replicas: %s", diff)
	}
	op := dbv1.OperationStatus{ID: "1", Kind: dbv1.OperationSwitchover, Phase: dbv1.OperationPending, Message: "to db-1"}
	started := *was.DeepCopy()
	started.Operation = &op
	going := *down.DeepCopy()
	going.Operation = op.DeepCopy()
	going.Operation.Phase = dbv1.OperationRunning
	done := *is.DeepCopy()
	done.Primary.LostBytes = nil
	done.Operation = op.DeepCopy()
	done.Operation.Phase = dbv1.OperationSucceeded
	for _, c := range []struct {
		before, after dbv1.DatabaseStatus
		want          []string
	}{
		{was, started, []string{"Normal SwitchoverStarted"}},
		{started, going, nil},
		{going, done, []string{"Normal SwitchoverCompleted"}},
	} {
		if diff := cmp.Diff(c.want, reasons(&c.before, &c.after)); diff != "" {
			t.Error(diff)
		}
	}
}

// Who fences the primary is not warned of what comes of it.
func TestAFenceOfThePrimaryIsNoFailureOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(scene)
		want    string
	}{
		"its engine stops":      {func(s scene) { s.isNotReady("db-0", "The instance is fenced") }, "InstanceNotReady"},
		"it released the Lease": {func(s scene) { s.isNotReady("db-0", "The instance is fenced").releaseLease() }, "FailoverStarted"},
	} {
		s := settled(replicated(3))
		was := s.plan().Status
		c.disturb(s)
		is := s.plan().Status
		warnings := func(fenced ...string) []string {
			var out []string
			for _, e := range engine.Transitions(&was, &is, fenced...) {
				if e.Type == "Warning" {
					out = append(out, e.Reason)
				}
			}
			return out
		}
		if got := warnings("db-0"); got != nil {
			t.Errorf("%s: %v", name, got)
		}
		for _, fenced := range [][]string{nil, {"db-1"}} {
			if diff := cmp.Diff([]string{c.want}, warnings(fenced...)); diff != "" {
				t.Errorf("%s, and fenced is %v: %s", name, fenced, diff)
			}
		}
	}
}

// Who lists Databases is not shown a primary that is down.
func TestTheCurrentPrimaryIsOneThatTakesWrites(t *testing.T) {
	s := settled(replicated(3))
	if p := s.plan(); p.Status.CurrentPrimary != "db-0" {
		t.Errorf("it is %q", p.Status.CurrentPrimary)
	}
	s.Database.Status = s.plan().Status
	s.isNotReady("db-0", "The instance is fenced").releaseLease()
	if p := s.plan(); p.Status.CurrentPrimary != "" || p.Status.Primary.Name != "db-0" {
		t.Errorf("after a fence it is %q, and the last was %s", p.Status.CurrentPrimary, p.Status.Primary.Name)
	}
}

func TestARecordWithUnknownHolderNamesIsNoPanic(t *testing.T) {
	s := settled(replicated(2))
	s.setRecord(record.Record{Candidates: []record.Candidate{{Name: "gone", Instance: "db-9"}}})
	s.Lease.Spec.HolderIdentity = new("db-9/uid")
	if got := message(s.plan(), dbv1.ConditionPrimaryAvailable); !strings.Contains(got, "db-9") {
		t.Error(got)
	}
	s.Lease.Spec.HolderIdentity = new("somebody")
	s.Database.Status.Primary = &dbv1.PrimaryStatus{Name: "db-1", Epoch: 4, Since: &metav1.Time{}}
	if got := condition(s.plan(), dbv1.ConditionPrimaryAvailable); got == "True AsExpected" {
		t.Error(got)
	}
}

func TestCredentialsAreJudgedByThePrimary(t *testing.T) {
	for name, c := range map[string]struct {
		before  metav1.ConditionStatus
		disturb func(primary, replica *dbv1.DatabaseInstanceStatus)
		want    string
	}{
		"all is well":                           {"", func(_, _ *dbv1.DatabaseInstanceStatus) {}, "True AsExpected"},
		"a replica says nothing":                {"", func(_, r *dbv1.DatabaseInstanceStatus) { r.Accounts = nil }, "True AsExpected"},
		"a replica has not made it":             {"", func(_, r *dbv1.DatabaseInstanceStatus) { r.Accounts[0].Applied = false }, "True AsExpected"},
		"a replica refuses it":                  {"", func(_, r *dbv1.DatabaseInstanceStatus) { r.Accounts[0].Message = "no" }, "False CredentialsPending"},
		"the primary has not made it":           {"", func(p, _ *dbv1.DatabaseInstanceStatus) { p.Accounts = nil }, "False CredentialsPending"},
		"a new primary has not looked":          {metav1.ConditionTrue, func(p, _ *dbv1.DatabaseInstanceStatus) { p.Accounts = nil }, "True AsExpected"},
		"the primary has another password":      {metav1.ConditionTrue, func(p, _ *dbv1.DatabaseInstanceStatus) { p.Accounts[0].PasswordVersion = "old" }, "False CredentialsPending"},
		"the primary does not answer":           {"", func(p, _ *dbv1.DatabaseInstanceStatus) { p.PodUID = "old" }, "Unknown Unknown"},
		"it did before, and does not now":       {metav1.ConditionTrue, func(p, _ *dbv1.DatabaseInstanceStatus) { p.PodUID = "old" }, "True AsExpected"},
		"the primary has not logged in with it": {metav1.ConditionTrue, func(p, _ *dbv1.DatabaseInstanceStatus) { p.Accounts[0].Verified = false }, "False CredentialsPending"},
	} {
		s := settled(replicated(2))
		if c.before != "" {
			s.Database.Status.Conditions = []metav1.Condition{{Type: dbv1.ConditionCredentialsSynced, Status: c.before, Reason: dbv1.ReasonAsExpected}}
		}
		c.disturb(&s.Instances["db-0"].Status, &s.Instances["db-1"].Status)
		if got := condition(s.plan(), dbv1.ConditionCredentialsSynced); got != c.want {
			t.Errorf("%s: CredentialsSynced is %s, want %s", name, got, c.want)
		}
	}
}
