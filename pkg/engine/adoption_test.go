package engine_test

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
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
