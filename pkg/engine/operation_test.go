package engine_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// request annotates the Database as kubectl database does.
func (s scene) request(text string) scene {
	s.Database.Annotations = map[string]string{"db.platform.io/request": text}
	return s
}

const (
	switchToAny  = `{"id":"r1","kind":"Switchover"}`
	switchToTwo  = `{"id":"r1","kind":"Switchover","to":"db-2"}`
	forceTwo     = `{"id":"r1","kind":"Failover","to":"db-2","acceptDataLoss":true}`
	lostMajority = "the primary and a candidate are lost"
)

// until ends a request with the time until which it may be taken up.
func until(after time.Duration) string {
	return `,"notAfter":"` + now.Add(after).UTC().Format(time.RFC3339) + `"}`
}

// beingRestarted asks an agent for a restart that it has not ended.
func beingRestarted(s scene, name string) scene {
	s.Instances[name].Spec.Operation = &dbv1.InstanceOperation{ID: "restart", Kind: dbv1.OperationRestart}
	return s
}

// lost is a scene whose primary and one candidate are gone.
func lost() scene { return settled(synchronous(3, 1)).releaseLease().stopped("db-0").stopped("db-1") }

func TestWhatAPersonAsksForIsTakenUpOnce(t *testing.T) {
	for name, c := range map[string]struct {
		scene  scene
		text   string
		target string
		phase  string
		says   string
	}{
		"a switchover":                           {settled(replicated(3)), switchToAny, "db-1", dbv1.OperationPending, "as a person asked"},
		"a switchover to one":                    {settled(replicated(3)), switchToTwo, "db-2", dbv1.OperationPending, "as a person asked"},
		"outside the window":                     {settled(replicated(3), func(db *dbv1.Database) { db.Spec.Maintenance = sundays }), switchToAny, "db-1", dbv1.OperationPending, ""},
		"a switchover, and another is down":      {settled(replicated(3)).isNotReady("db-1", "down"), switchToAny, "db-2", dbv1.OperationPending, ""},
		"to one that is down":                    {settled(replicated(3)).isNotReady("db-2", "out of memory"), switchToTwo, "db-2", dbv1.OperationAborted, "out of memory"},
		"to one that is not there":               {settled(replicated(2)), switchToTwo, "db-2", dbv1.OperationAborted, "db-2 is no instance of Database db"},
		"to the primary":                         {settled(replicated(3)), `{"id":"r1","kind":"Switchover","to":"db-0"}`, "db-0", dbv1.OperationAborted, "db-0 is the primary already"},
		"with one instance":                      {settled(), switchToAny, "", dbv1.OperationAborted, "only one instance"},
		"while nobody is the primary":            {settled(replicated(3)).releaseLease(), switchToAny, "", dbv1.OperationAborted, "no primary to hand over"},
		"a failover while there is a primary":    {settled(replicated(3)), forceTwo, "db-2", dbv1.OperationAborted, "db-0 takes writes"},
		"a failover when " + lostMajority:        {lost(), forceTwo, "db-2", dbv1.OperationPending, ""},
		"a failover to one that does not report": {lost(), strings.ReplaceAll(forceTwo, "db-2", "db-1"), "db-1", dbv1.OperationAborted, "does not report"},
		"a failover that accepts nothing":        {lost(), `{"id":"r1","kind":"Failover","to":"db-2"}`, "", dbv1.OperationAborted, "acceptDataLoss"},
		"what cannot be read":                    {settled(replicated(3)), `db-2`, "", dbv1.OperationAborted, "it is not JSON"},
		"a failover while the primary may live":  {lastRenewed(15 * time.Second), forceTwo, "db-2", dbv1.OperationAborted, "db-0 may still take writes"},
		"while an engine is being restarted":     {beingRestarted(settled(replicated(3)), "db-2"), switchToAny, "db-1", dbv1.OperationAborted, "db-2 is being restarted"},
		"in time":                                {settled(replicated(3)), strings.Replace(switchToAny, "}", until(time.Minute), 1), "db-1", dbv1.OperationPending, ""},
		"too late":                               {settled(replicated(3)), strings.Replace(switchToAny, "}", until(-time.Minute), 1), "db-1", dbv1.OperationAborted, "ask again if it is still wanted"},
		"a kind that is a book":                  {settled(replicated(3)), `{"id":"r1","kind":"` + strings.Repeat("x", 5000) + `"}`, "", dbv1.OperationAborted, "its kind must be"},
		"an unknown kind":                        {settled(replicated(3)), `{"id":"r1","kind":"Dance"}`, "", dbv1.OperationAborted, `not "Dance"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.scene.request(c.text)
			p := s.plan()
			op := p.Status.Operation
			if op == nil || op.Phase != c.phase || op.Target != c.target || !strings.Contains(op.Message, c.says) {
				t.Fatalf("operation %+v, want %s to %q: %s", op, c.phase, c.target, c.says)
			}
			if for0 := s.spec("db-0"); for0.Operation != nil {
				t.Error("an agent is asked before the intent was read back")
			}
			s.Database.Status = p.Status
			if c.phase == dbv1.OperationPending {
				s.Database.Status.Operation.Phase = dbv1.OperationSucceeded
			}
			before := s.Database.Status.Operation.DeepCopy()
			if diff := cmp.Diff(before, s.plan().Status.Operation); diff != "" {
				t.Errorf("it is taken up again: %s", diff)
			}
		})
	}
}

func TestARequestWaitsWhilePaused(t *testing.T) {
	s := settled(replicated(3), func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = true }).request(switchToTwo)
	p := s.plan()
	want := []dbv1.PlannedStep{{Kind: "Switchover", Target: "db-2", Reason: "a person asked, request r1", HeldBy: engine.GuardPaused}}
	if diff := cmp.Diff(want, p.Status.Plan); diff != "" || p.Status.Operation != nil {
		t.Errorf("%s, operation %+v", diff, p.Status.Operation)
	}
}

// running is a scene with an operation that was read back.
func running(s scene, kind, target string) scene {
	s.Database.Status.Operation = &dbv1.OperationStatus{
		ID: "r1", Kind: kind, Target: target, Phase: dbv1.OperationPending, Message: "to " + target,
		StartedAt: new(metav1.NewTime(now)), Deadline: new(metav1.NewTime(now.Add(2 * time.Minute))),
	}
	return s
}

func TestHowOperationsEnd(t *testing.T) {
	says := func(name, phase string) func(scene) {
		return func(s scene) {
			s.Instances[name].Status.Operation = &dbv1.InstanceOperationStatus{ID: "r1", Phase: phase, Message: "too far behind"}
		}
	}
	elected := func(name string) func(scene) { return func(s scene) { s.elect(name, 5) } }
	late := func(s scene) { s.Now = now.Add(2 * time.Minute) }
	const switchover, failover = dbv1.OperationSwitchover, dbv1.OperationFailover
	for name, c := range map[string]struct {
		scene   scene
		disturb []func(scene)
		phase   string
		says    string
		asks    string
	}{
		"a switchover is asked of the primary":  {running(settled(replicated(3)), switchover, "db-1"), nil, dbv1.OperationRunning, "", "db-0"},
		"it is under way":                       {running(settled(replicated(3)), switchover, "db-1"), []func(scene){says("db-0", dbv1.OperationRunning)}, dbv1.OperationRunning, "", "db-0"},
		"the Lease is released":                 {running(settled(replicated(3)), switchover, "db-1"), []func(scene){func(s scene) { s.releaseLease() }}, dbv1.OperationRunning, "", "db-0"},
		"the target is the primary":             {running(settled(replicated(3)), switchover, "db-1"), []func(scene){elected("db-1")}, dbv1.OperationSucceeded, "db-1 is the primary", ""},
		"another is the primary":                {running(settled(replicated(3)), switchover, "db-1"), []func(scene){elected("db-2")}, dbv1.OperationFailed, "db-2 became the primary, and not db-1", ""},
		"the agent could not":                   {running(settled(replicated(3)), switchover, "db-1"), []func(scene){says("db-0", dbv1.OperationFailed)}, dbv1.OperationAborted, "too far behind", ""},
		"the old primary is back":               {running(settled(replicated(3)), switchover, "db-1"), []func(scene){elected("db-0")}, dbv1.OperationAborted, "db-0 is the primary again", ""},
		"the agent does not answer":             {running(settled(replicated(3)), switchover, "db-1"), []func(scene){late}, dbv1.OperationAborted, "not done in time", ""},
		"nobody is the primary at the deadline": {running(settled(replicated(3)), switchover, "db-1"), []func(scene){late, func(s scene) { s.releaseLease() }}, dbv1.OperationFailed, "nobody is the primary", ""},
		"a failover is asked of its target":     {running(lost(), failover, "db-2"), nil, dbv1.OperationRunning, "", "db-2"},
		"the target of a failover is the primary": {running(lost(), failover, "db-2"), []func(scene){func(s scene) {
			s.Instances = map[string]*dbv1.DatabaseInstance{"db-2": s.Instances["db-2"]}
			s.elect("db-2", 5)
		}}, dbv1.OperationSucceeded, "db-2 is the primary", ""},
		"the target is the one that was the primary last": {running(settled(replicated(3)), failover, "db-0"), []func(scene){elected("db-0")}, dbv1.OperationSucceeded, "db-0 is the primary", ""},
		"the target of a failover waits for replicas": {running(lost(), failover, "db-2"), []func(scene){late, func(s scene) {
			s.keepsOut("db-2", 5)
		}}, dbv1.OperationSucceeded, "db-2 has the Lease and lets no clients in", ""},
		"the target has the Lease and does not renew it": {running(lost(), failover, "db-2"), []func(scene){func(s scene) {
			s.keepsOut("db-2", 5).lastRenewed(15 * time.Second)
		}}, dbv1.OperationRunning, "", "db-2"},
		"another waits for replicas": {running(settled(synchronous(3, 1)), switchover, "db-1"), []func(scene){func(s scene) {
			s.stopped("db-0").stopped("db-1").keepsOut("db-2", 5)
		}}, dbv1.OperationFailed, "it was to be db-1; instance db-2 has the Lease", ""},
		"the old primary waits for replicas": {running(settled(synchronous(3, 1)), switchover, "db-1"), []func(scene){func(s scene) {
			s.stopped("db-1").stopped("db-2").keepsOut("db-0", 4)
		}}, dbv1.OperationRunning, "", "db-0"},
		"the target of a failover could not": {running(lost(), failover, "db-2"), []func(scene){says("db-2", dbv1.OperationFailed)}, dbv1.OperationAborted, "too far behind", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.scene
			for _, d := range c.disturb {
				d(s)
			}
			op := s.plan().Status.Operation
			if op.Phase != c.phase || !strings.Contains(op.Message, c.says) || (op.FinishedAt != nil) != (c.phase != dbv1.OperationRunning) {
				t.Errorf("operation %+v, want %s: %s", op, c.phase, c.says)
			}
			asked := ""
			for _, name := range []string{"db-0", "db-1", "db-2"} {
				if spec := s.spec(name); spec != nil && spec.Operation != nil {
					asked += name
					if *spec.Operation.ID != "r1" || *spec.Operation.Target != op.Target {
						t.Errorf("asked is %+v", spec.Operation)
					}
				}
			}
			if asked != c.asks {
				t.Errorf("asked is %q, want %q", asked, c.asks)
			}
		})
	}
}

// The API server takes no status with a longer text, and the operation would never end.
func TestLongWordsDoNotKeepAnOperationFromEnding(t *testing.T) {
	s := running(lost(), dbv1.OperationFailover, "db-2")
	s.Instances["db-2"].Status.Operation = &dbv1.InstanceOperationStatus{ID: "r1", Phase: dbv1.OperationFailed, Message: strings.Repeat("é", 4000)}
	if op := s.plan().Status.Operation; op.Phase != dbv1.OperationAborted || utf8.RuneCountInString(op.Message) != 1024 {
		t.Errorf("%s with %d characters", op.Phase, utf8.RuneCountInString(op.Message))
	}
}

// The others must not wait for one whose engine stays down: it is no candidate for as long as that is so.
func TestAFencedInstanceHasNoVote(t *testing.T) {
	s := settled(replicated(3))
	s.Database.Annotations = map[string]string{"db.platform.io/fenced": "db-1"}
	for _, name := range []string{"db-0", "db-1", "db-2"} {
		for _, m := range s.spec(name).Members {
			if *m.Voter != (*m.Name != "db-1") {
				t.Errorf("%s is told that %s votes: %v", name, *m.Name, *m.Voter)
			}
		}
	}
}

// An engine that is restarted while the primary hands over to it would have both down.
func TestNoRestartBeginsWithAnOperation(t *testing.T) {
	s := settled(replicated(3))
	setting("max_connections", "200", 100)(s)
	restarts := func() (names []string) {
		for _, name := range []string{"db-0", "db-1", "db-2"} {
			if op := s.spec(name).Operation; op != nil && *op.Kind == dbv1.OperationRestart {
				names = append(names, name)
			}
		}
		return names
	}
	if got := restarts(); len(got) != 1 {
		t.Fatalf("%v are restarted", got)
	}
	s = s.request(switchToAny)
	if got := restarts(); len(got) != 0 {
		t.Errorf("%v are restarted", got)
	}
}

// What nobody waits for any more is not left for an agent that was away.
func TestWhatWasGivenUpIsNotAskedForAnyMore(t *testing.T) {
	s := settled(replicated(3))
	s.Instances["db-0"].Spec.Operation = &dbv1.InstanceOperation{ID: "r1", Kind: dbv1.OperationSwitchover, Target: "db-1"}
	s.Instances["db-1"].Spec.Operation = &dbv1.InstanceOperation{ID: "old", Kind: dbv1.OperationRestart}
	if spec := s.spec("db-0"); spec.Operation != nil {
		t.Errorf("still asked: %+v", spec.Operation)
	}
	if spec := s.spec("db-1"); spec.Operation == nil || *spec.Operation.ID != "old" {
		t.Error("taking a restart that was done away is only a write")
	}
}

func TestAFence(t *testing.T) {
	s := settled(replicated(3))
	s.Database.Annotations = map[string]string{"db.platform.io/fenced": " db-1 ,, db-7"}
	if spec := s.spec("db-1"); spec.Fenced == nil || !*spec.Fenced {
		t.Error("db-1 is not fenced")
	}
	if spec := s.spec("db-0"); spec.Fenced != nil && *spec.Fenced {
		t.Error("db-0 is fenced")
	}
	s.Database.Annotations["db.platform.io/request"] = strings.ReplaceAll(switchToTwo, "db-2", "db-1")
	if op := s.plan().Status.Operation; op.Phase != dbv1.OperationAborted || !strings.Contains(op.Message, "fenced") {
		t.Errorf("operation %+v", op)
	}
}
