package engine_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/record"
)

// size is that of the StatefulSet after a sync.
func (s scene) size() int32 {
	for _, o := range s.plan().Objects {
		if set, ok := o.(*appsv1ac.StatefulSetApplyConfiguration); ok {
			return *set.Spec.Replicas
		}
	}
	return -1
}

// members are those that an instance is told of.
func (s scene) members(name string) []string {
	var names []string
	for _, m := range s.spec(name).Members {
		names = append(names, *m.Name)
	}
	return names
}

// scaled is a settled replica set of three that is to have another size.
func scaled(instances int32) scene {
	s := settled(replicated(3))
	s.Database.Status = s.plan().Status
	s.Database.Spec.Topology.Replicas = instances
	return s
}

// told makes instances have read who the members are.
func (s scene) told(members ...string) scene {
	for _, dbi := range s.Instances {
		dbi.Spec.Members = nil
		for _, name := range members {
			dbi.Spec.Members = append(dbi.Spec.Members, dbv1.InstanceMember{Name: name})
		}
	}
	return s
}

// candidates is a record that has these.
func candidates(names ...string) record.Record {
	r := record.Record{Name: "data-id-" + names[0]}
	for _, name := range names {
		r.Candidates = append(r.Candidates, record.Candidate{Name: "data-id-" + name, Instance: name})
	}
	return r
}

// strike takes an instance from the candidates.
func (s scene) strike(names ...string) scene {
	r, err := record.Parse(s.Lease.Annotations["db.platform.io/record"])
	if err != nil {
		panic(err)
	}
	r.Candidates = slices.DeleteFunc(r.Candidates, func(c record.Candidate) bool { return slices.Contains(names, c.Instance) })
	s.setRecord(r)
	return s
}

func TestANewInstanceIsOnlyMade(t *testing.T) {
	s := scaled(5)
	if got := s.size(); got != 5 {
		t.Errorf("the StatefulSet has %d", got)
	}
	if spec := s.spec("db-4"); spec == nil || *spec.Bootstrap || len(spec.Members) != 5 {
		t.Errorf("the new one is told %+v", spec)
	}
	if p := s.plan(); p.Status.Phase != dbv1.PhaseScaling || p.Status.Ready != "3/5" {
		t.Errorf("phase %s, ready %s", p.Status.Phase, p.Status.Ready)
	}
}

func TestAnInstanceGoesWhenItIsNotNeeded(t *testing.T) {
	const two, three = int32(2), int32(3)
	left := func() scene { return scaled(2).told("db-0", "db-1").strike("db-2") }
	for name, c := range map[string]struct {
		scene scene
		size  int32
		says  string
	}{
		"at first":                       {scaled(2), three, "the other instances are not told yet"},
		"told, and still a candidate":    {scaled(2).told("db-0", "db-1"), three, "still a candidate"},
		"struck, and not told":           {scaled(2).strike("db-2"), three, "not told yet"},
		"told and struck":                {left(), two, ""},
		"the primary has not read it":    {func() scene { s := left(); s.Instances["db-0"].Generation = 2; return s }(), three, "db-0 has not read yet"},
		"a replica has not read it":      {func() scene { s := left(); s.Instances["db-1"].Generation = 2; return s }(), three, "db-1 has not read yet"},
		"a replica that is gone has not": {func() scene { s := left().stopped("db-1"); s.Instances["db-1"].Generation = 2; return s }(), two, ""},
		"its data is a candidate under a name": {func() scene {
			s := left()
			s.Instances["db-1"].Status.DataID = "data-id-db-2"
			s.Instances["db-2"].Status.DataID = "data-id-db-1"
			return s
		}(), three, "still a candidate"},
		"there is no primary":                  {left().releaseLease(), three, "no primary"},
		"it holds the Lease":                   {func() scene { s := left(); s.Lease.Spec.HolderIdentity = new("db-2/pod-uid-3"); return s }(), three, "it is the primary"},
		"the Lease cannot be read":             {func() scene { s := left(); s.Lease.Annotations["db.platform.io/record"] = "?"; return s }(), three, "record"},
		"a switchover is under way":            {running(left(), dbv1.OperationSwitchover, "db-1"), three, "Switchover is under way"},
		"two go, and the first of them cannot": {scaled(1).told("db-0").strike("db-2"), two, "still a candidate"},
		"two go, and the last of them cannot":  {scaled(1).told("db-0").strike("db-1"), three, "still a candidate"},
		"two go":                               {scaled(1).told("db-0").strike("db-1", "db-2"), 1, ""},
		"the primary goes, too, and has not read it": {func() scene {
			s := scaled(2).again(1).told("db-0").strike("db-2")
			s.elect("db-1", 5)
			s.strike("db-2").Instances["db-1"].Generation = 2
			return s
		}(), three, "db-1 has not read yet"},
		"the primary goes, too": {func() scene {
			s := scaled(2).again(1).told("db-0")
			s.elect("db-1", 5)
			return s.strike("db-2")
		}(), two, "it is the primary"},
		"somebody changed their mind": {left().again(3), three, ""},
		"the Database is paused":      {left().pause(), -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.scene.size(); got != c.size {
				t.Errorf("the StatefulSet has %d, want %d", got, c.size)
			}
			p := c.scene.plan()
			text := message(p, dbv1.ConditionUpToDate)
			for _, step := range p.Status.Plan {
				text += step.Reason
			}
			if !strings.Contains(text, c.says) {
				t.Errorf("UpToDate says %q, plan %+v", message(p, dbv1.ConditionUpToDate), p.Status.Plan)
			}
		})
	}
}

func (s scene) again(instances int32) scene {
	s.Database.Spec.Topology.Replicas = instances
	return s
}

func (s scene) pause() scene {
	s.Database.Spec.Lifecycle.Paused = true
	return s
}

func TestAPrimaryThatIsToGoHandsOverFirst(t *testing.T) {
	s := settled(replicated(3))
	s.elect("db-2", 5)
	s.Database.Spec.Topology.Replicas = 2
	p := s.plan()
	if op := p.Status.Operation; op == nil || op.Kind != dbv1.OperationSwitchover || op.Target != "db-0" {
		t.Fatalf("operation %+v", op)
	}
	if diff := cmp.Diff([]string{"db-0", "db-1", "db-2"}, s.members("db-1")); diff != "" {
		t.Errorf("nobody could follow a primary that is no member: %s", diff)
	}
	s.elect("db-0", 6)
	if diff := cmp.Diff([]string{"db-0", "db-1"}, s.members("db-2")); diff != "" {
		t.Error(diff)
	}
	s.Database.Spec.Topology.Replicas = 1
	s.elect("db-2", 7)
	if op := s.plan().Status.Operation; op == nil || op.Target != "db-0" {
		t.Errorf("one alone is to stay: operation %+v", op)
	}
}

func TestWhatIsLeftOfAnInstance(t *testing.T) {
	const instance, volume = "delete databaseinstances db-2", "delete persistentvolumeclaims data-db-2"
	for name, c := range map[string]struct {
		policy  dbv1.DeletionPolicy
		disturb func(scene)
		want    []string
	}{
		"Retain keeps the volume":            {dbv1.DeletionRetain, func(scene) {}, []string{instance}},
		"Snapshot, too":                      {dbv1.DeletionSnapshot, func(scene) {}, []string{instance}},
		"Delete does not":                    {dbv1.DeletionDelete, func(scene) {}, []string{instance, volume}},
		"its pod is still there":             {dbv1.DeletionDelete, func(s scene) { s.Pods["db-2"] = s.Pods["db-1"] }, nil},
		"the StatefulSet has not noticed":    {dbv1.DeletionDelete, func(s scene) { s.StatefulSets["db"].Generation = 2 }, nil},
		"the volume is not this Database's":  {dbv1.DeletionDelete, func(s scene) { s.Claims["data-db-2"].Annotations["db.platform.io/database-uid"] = "another" }, []string{instance}},
		"the StatefulSet is being made anew": {dbv1.DeletionDelete, func(s scene) { s.StatefulSets = nil }, nil},
		"it is a candidate again":            {dbv1.DeletionDelete, func(s scene) { s.setRecord(candidates("db-0", "db-2")) }, nil},
		"it was the primary, and nobody is":  {dbv1.DeletionDelete, func(s scene) { s.Lease.Spec.HolderIdentity = new("db-2/pod-uid-3") }, nil},
		"nobody is the primary":              {dbv1.DeletionDelete, func(s scene) { s.releaseLease() }, nil},
		"it cannot be known who is needed":   {dbv1.DeletionDelete, func(s scene) { s.Lease = nil }, nil},
	} {
		s := scaled(2).told("db-0", "db-1").strike("db-2").stopped("db-2")
		s.Database.Spec.Lifecycle.DeletionPolicy = c.policy
		s.StatefulSets = maps.Clone(s.StatefulSets)
		s.StatefulSets["db"].Spec.Replicas = new(int32(2))
		c.disturb(s)
		got := slices.DeleteFunc(actions(s.plan()), func(a string) bool {
			return !strings.HasPrefix(a, "delete databasei") && !strings.HasPrefix(a, "delete pers")
		})
		if !slices.Equal(c.want, got) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// With neither the StatefulSet nor its pod, an instance that may have the only copy is still known.
func TestAnInstanceWithoutAPodIsNotForgottenWithTheStatefulSet(t *testing.T) {
	s := scaled(1).stopped("db-2")
	s.StatefulSets = nil
	if got := s.size(); got != 3 {
		t.Errorf("the new StatefulSet has %d", got)
	}
	s.told("db-0").strike("db-1", "db-2")
	if got := s.size(); got != 1 {
		t.Errorf("nobody needs it any more, and the new StatefulSet has %d", got)
	}
	s = scaled(1).stopped("db-1").stopped("db-2")
	s.StatefulSets = nil
	for name, dbi := range s.Instances {
		if name != "db-0" {
			dbi.OwnerReferences[0].UID = "an earlier Database"
		}
	}
	if got := s.size(); got != 1 {
		t.Errorf("what an earlier Database had counts: %d", got)
	}
}

func TestTheLeaseIsLookedAtWhileAnythingOfAnInstanceIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(scene)
		want    bool
	}{
		"all are there":              {func(s scene) { s.again(3) }, false},
		"one is to go":               {func(scene) {}, true},
		"the StatefulSet has shrunk": {func(s scene) { s.StatefulSets["db"].Spec.Replicas = new(int32(2)) }, true},
		"the StatefulSet is away":    {func(s scene) { delete(s.StatefulSets, "db") }, true},
		"nothing is left": {func(s scene) {
			s.StatefulSets["db"].Spec.Replicas = new(int32(2))
			delete(s.Instances, "db-2")
		}, false},
	} {
		s := scaled(2)
		c.disturb(s)
		if got := engine.IsShrinking(s.Observation, eng); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
