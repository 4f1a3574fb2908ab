package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// afterRetain is a new Database with so many instances, and the volumes of as many of one before it.
func afterRetain(instances int32, volumes int) scene {
	s := settled(replicated(instances))
	s.Database.Status = dbv1.DatabaseStatus{}
	s.StatefulSets, s.Pods, s.Instances, s.Lease = nil, nil, nil, nil
	s.Claims = map[string]*corev1.PersistentVolumeClaim{}
	for _, name := range []string{"data-db-0", "data-db-1", "data-db-2"}[:volumes] {
		s.Claims[name] = claim("an earlier one", systemID)
		s.Claims[name].Name = name
	}
	return s
}

// The last primary may have been an instance that the new Database does not have.
func TestFewerInstancesThanThereAreVolumesTakeNoneOver(t *testing.T) {
	unused := func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{naming.AnnotationDatabaseUID: "an earlier one", naming.AnnotationUnused: "an earlier one"}
	}
	orphaned := func(s scene, instances ...string) {
		r := record.Record{Name: "data-id"}
		for _, name := range instances {
			r.Candidates = append(r.Candidates, record.Candidate{Name: "data-id-" + name, Instance: name})
		}
		s.Lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db-primary"}}
		s.setRecord(r)
	}
	for name, c := range map[string]struct {
		instances int32
		volumes   int
		disturb   func(scene)
		refused   bool
	}{
		"as many":                      {3, 3, nil, false},
		"more":                         {3, 2, nil, false},
		"fewer":                        {2, 3, nil, true},
		"one of three":                 {1, 3, nil, true},
		"the first volume is gone":     {1, 2, func(s scene) { delete(s.Claims, "data-db-0") }, true},
		"nobody knows what is on it":   {1, 2, func(s scene) { s.Claims["data-db-1"].Annotations = nil }, true},
		"nobody was ever let in there": {1, 2, func(s scene) { unused(s.Claims["data-db-1"]) }, false},
		"a Lease that outlived the Database names another":   {1, 1, func(s scene) { orphaned(s, "db-0", "db-2") }, true},
		"a Lease that outlived the Database names none else": {1, 1, func(s scene) { orphaned(s, "db-0") }, false},
		"recorded, and nobody was the primary yet": {1, 2, func(s scene) {
			s.Database.Status.EngineStatus = eng.Record(systemID)
		}, true},
		"there was a primary: what is left is from scaling in": {1, 2, func(s scene) {
			s.Database.Status.EngineStatus = eng.Record(systemID)
			s.Database.Status.Primary = &dbv1.PrimaryStatus{Name: "db-0", Epoch: 1}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := afterRetain(c.instances, c.volumes)
			if c.disturb != nil {
				c.disturb(s)
			}
			recorded := eng.Identity(s.Database.Status.EngineStatus)
			p := s.plan()
			if got := condition(p, dbv1.ConditionProvisioned) == "False AdoptionRequired"; got != c.refused {
				t.Fatalf("refused %v: %s", got, message(p, dbv1.ConditionProvisioned))
			}
			if c.refused && (len(p.Objects) > 0 || eng.Identity(p.Status.EngineStatus) != recorded) {
				t.Errorf("it goes on all the same: objects %v, identity %q", kinds(p), eng.Identity(p.Status.EngineStatus))
			}
		})
	}
	text := message(afterRetain(1, 3).plan(), dbv1.ConditionProvisioned)
	for _, part := range []string{"volume data-db-2", "replicas 3", "lower it again"} {
		if !strings.Contains(text, part) {
			t.Errorf("the message does not say %q: %s", part, text)
		}
	}
}

// An annotation does not make a server read the files of another version.
func TestTheRemedyForAVolumeFitsWhatIsWrongWithIt(t *testing.T) {
	for name, c := range map[string]struct {
		disturb     func(scene)
		says, never string
	}{
		"another major version": {
			func(s scene) { s.Claims["data-db-0"].Annotations[naming.AnnotationMajorVersion] = "14" }, "set spec.version to 14", naming.AnnotationAdopt,
		},
		"another engine": {
			func(s scene) { s.Claims["data-db-0"].Annotations[naming.AnnotationEngine] = "MongoDB" }, "engine MongoDB", naming.AnnotationAdopt,
		},
		"the accounts are gone": {
			func(s scene) { delete(s.Secrets, "db-accounts") }, naming.AnnotationAdopt + "=" + systemID, "<",
		},
		"no facts": {
			func(s scene) { s.Claims["data-db-0"].Annotations = nil }, naming.AnnotationAdopt + "=<system identifier>", "spec.version",
		},
		"a word for other data": {func(s scene) {
			s.Database.Annotations = map[string]string{naming.AnnotationAdopt: "1"}
		}, naming.AnnotationAdopt + "=" + systemID, "<"},
	} {
		t.Run(name, func(t *testing.T) {
			s := afterRetain(1, 1)
			c.disturb(s)
			text := message(s.plan(), dbv1.ConditionProvisioned)
			if !strings.Contains(text, c.says) || strings.Contains(text, c.never) {
				t.Errorf("must say %q, and not %q: %s", c.says, c.never, text)
			}
		})
	}
}

// A person who looks at one condition is not sent after a pod that nobody makes.
func TestWhatStandsAgainstEverythingIsSaidByEveryCondition(t *testing.T) {
	fresh := func(change ...func(*dbv1.Database)) scene {
		s := settled(change...)
		s.Database.Status = dbv1.DatabaseStatus{}
		s.Claims, s.Pods, s.Instances, s.StatefulSets, s.Lease = nil, nil, nil, nil, nil
		return s
	}
	for name, c := range map[string]struct {
		scene  scene
		reason string
		says   string
		events int
	}{
		"volumes of another":            {afterRetain(1, 3), dbv1.ReasonAdoptionRequired, "volume data-db-2", 1},
		"a restore that cannot be done": {fresh(func(db *dbv1.Database) { db.Spec.Restore = &dbv1.RestoreSpec{BackupName: "b"} }), dbv1.ReasonNotSupported, "spec.restore", 1},
		"it is paused":                  {fresh(func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = true }), dbv1.ReasonPaused, "spec.lifecycle.paused", 0},
	} {
		p := c.scene.plan()
		for _, kind := range []string{
			dbv1.ConditionProvisioned, dbv1.ConditionReady, dbv1.ConditionPrimaryAvailable, dbv1.ConditionStorageReady,
			dbv1.ConditionCredentialsSynced, dbv1.ConditionUpToDate,
		} {
			if got := condition(p, kind); got != "False "+c.reason || !strings.Contains(message(p, kind), c.says) {
				t.Errorf("%s: %s is %s: %s", name, kind, got, message(p, kind))
			}
		}
		warnings := 0
		for _, e := range engine.Transitions(&dbv1.DatabaseStatus{}, &p.Status) {
			if e.Type == "Warning" && e.Reason == c.reason {
				warnings++
			}
		}
		if warnings != c.events {
			t.Errorf("%s: %d warnings, want %d", name, warnings, c.events)
		}
	}
}

// A condition that is said twice in one plan would get a new time, and so a write, in every sync.
func TestAMajorUpgradeThatCannotBeDoneWritesItsStatusOnce(t *testing.T) {
	s := settled()
	s.Database.Spec.Version = "16.1"
	s.Database.Status = s.plan().Status
	if got := condition(s.plan(), dbv1.ConditionUpToDate); got != "False NotSupported" {
		t.Errorf("UpToDate is %s", got)
	}
	s.Now = s.Now.Add(time.Minute)
	if diff := cmp.Diff(s.Database.Status, s.plan().Status); diff != "" {
		t.Errorf("the status is written again: %s", diff)
	}
}
