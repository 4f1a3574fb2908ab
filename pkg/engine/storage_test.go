package engine_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// sized asks for volumes of a size, which may grow by themselves.
func sized(size string, grow *dbv1.AutoGrowSpec) func(*dbv1.Database) {
	return func(db *dbv1.Database) {
		db.Spec.Storage = &dbv1.StorageSpec{Size: new(resource.MustParse(size)), AutoGrow: grow}
	}
}

// asks makes the claims of instances ask for a size, and have another.
func (s scene) asks(request, capacity string, names ...string) scene {
	for _, name := range names {
		claim := s.Claims["data-"+name]
		claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(request)}
		claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(capacity)}
	}
	return s
}

// uses says how full the volume of an instance is, of 1000.
func (s scene) uses(name string, used int64) scene {
	s.Instances[name].Status.Storage = &dbv1.InstanceStorageStatus{UsedBytes: used << 20, CapacityBytes: 1000 << 20}
	return s
}

// growth are the sizes that claims are told to ask for, and whether the StatefulSet goes.
func growth(p *engine.Plan) (sizes map[string]string, recreates bool) {
	sizes = map[string]string{}
	for _, a := range p.Actions {
		if claim, ok := a.(engine.GrowClaim); ok {
			sizes[claim.Name] = claim.Size.String()
		}
		if d, ok := a.(engine.Delete); ok && d.Resource == engine.StatefulSets && d.Orphan {
			recreates = true
		}
	}
	return sizes, recreates
}

func TestVolumesGrow(t *testing.T) {
	always := &dbv1.AutoGrowSpec{Enabled: true, Step: new(resource.MustParse("512Mi")), MaxSize: new(resource.MustParse("3Gi"))}
	none := map[string]string{}
	both := func(size string) map[string]string { return map[string]string{"data-db-0": size, "data-db-1": size} }
	sick := func(s scene) scene { return s.isNotReady("db-0", "full").isNotReady("db-1", "full").releaseLease() }
	two := func(change func(*dbv1.Database)) scene { return settled(replicated(2), change) }
	for name, c := range map[string]struct {
		scene     scene
		want      map[string]string
		recreates bool
		says      string
	}{
		"nothing":                                 {two(sized("1Gi", nil)), none, false, "True AsExpected"},
		"the spec asks for more":                  {two(sized("2Gi", nil)), both("2Gi"), false, "False Resizing"},
		"and nobody is well":                      {sick(two(sized("2Gi", nil))), both("2Gi"), false, "False Resizing"},
		"one of them asks already":                {two(sized("2Gi", nil)).asks("2Gi", "1Gi", "db-0"), map[string]string{"data-db-1": "2Gi"}, false, "False Resizing"},
		"all ask, and have not got it":            {two(sized("2Gi", nil)).asks("2Gi", "1Gi", "db-0", "db-1"), none, true, "False Resizing"},
		"all have it":                             {two(sized("2Gi", nil)).asks("2Gi", "2Gi", "db-0", "db-1"), none, true, "True AsExpected"},
		"one is larger":                           {two(sized("1Gi", nil)).asks("1536Mi", "1536Mi", "db-0"), none, false, "False InvalidSpec"},
		"the Database is paused":                  {two(sized("2Gi", nil)).pause(), none, false, "False Resizing"},
		"one is nearly full, and may not":         {two(sized("1Gi", nil)).uses("db-1", 950), none, false, "False VolumeNearlyFull"},
		"one is filling, and may not":             {two(sized("1Gi", nil)).uses("db-1", 800), none, false, "False VolumeFilling"},
		"none is filling, and may":                {two(sized("1Gi", always)).uses("db-1", 799), none, false, "True AsExpected"},
		"one is filling, and may":                 {two(sized("1Gi", always)).uses("db-1", 800), both("1536Mi"), false, "False Resizing"},
		"one asks already for a step":             {two(sized("1Gi", always)).uses("db-1", 900).stepped("1536Mi", "db-1"), map[string]string{"data-db-0": "1536Mi"}, false, "False Resizing"},
		"the step has not arrived":                {two(sized("1Gi", always)).uses("db-1", 900).stepped("1536Mi", "db-0", "db-1"), none, true, "False Resizing"},
		"the step has arrived, and is not enough": {two(sized("1Gi", always)).stepped("1536Mi", "db-0", "db-1").arrived("1536Mi", 1300), both("2Gi"), false, "False Resizing"},
		"a step would be too large":               {two(sized("1Gi", always)).stepped("2816Mi", "db-0", "db-1").arrived("2816Mi", 1300), both("3Gi"), false, "False Resizing"},
		"it may not be larger":                    {two(sized("1Gi", always)).stepped("3Gi", "db-0", "db-1").arrived("3Gi", 1300), none, true, "False VolumeFilling"},
		"only one that is to go lacks it": {
			scaled(2).withSize("2Gi").asks("2Gi", "2Gi", "db-0", "db-1"), map[string]string{"data-db-2": "2Gi"}, false, "False Resizing",
		},
		"an instance is to go": {func() scene {
			s := settled(replicated(3))
			s.Database.Spec.Topology.Replicas = 2
			return s.asks("2Gi", "2Gi", "db-0", "db-1", "db-2").withSize("2Gi")
		}(), none, false, "True AsExpected"},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.scene.plan()
			sizes, recreates := growth(p)
			if diff := cmp.Diff(c.want, sizes); diff != "" || recreates != c.recreates {
				t.Errorf("%s; the StatefulSet is made anew: %v, want %v", diff, recreates, c.recreates)
			}
			if got := condition(p, dbv1.ConditionStorageReady); got != c.says && condition(p, dbv1.ConditionValidated) != c.says {
				t.Errorf("StorageReady is %s: %s; want %s", got, message(p, dbv1.ConditionStorageReady), c.says)
			}
		})
	}
}

// stepped makes claims ask for more by themselves, from a capacity that the agents still report.
func (s scene) stepped(size string, names ...string) scene {
	s.asks(size, "1Gi", names...)
	for _, name := range names {
		maps.Copy(s.Claims["data-"+name].Annotations, map[string]string{"db.platform.io/size": "1Gi", "db.platform.io/grown-from": "1048576000"})
	}
	return s
}

// arrived gives volumes the size that they ask for.
func (s scene) arrived(size string, used int64) scene {
	for name, dbi := range s.Instances {
		s.asks(size, size, name)
		dbi.Status.Storage = &dbv1.InstanceStorageStatus{UsedBytes: used << 20, CapacityBytes: 1600 << 20}
	}
	return s
}

func (s scene) withSize(size string) scene {
	s.Database.Spec.Storage.Size = new(resource.MustParse(size))
	return s
}

// What a volume grew by itself does not make the spec too small.
func TestASpecIsNotTooSmallForAVolumeThatGrewByItself(t *testing.T) {
	s := settled(sized("1Gi", &dbv1.AutoGrowSpec{Enabled: true})).stepped("2Gi", "db-0")
	if got := condition(s.plan(), dbv1.ConditionValidated); got != "True AsExpected" {
		t.Errorf("Validated is %s", got)
	}
	s.Claims["data-db-0"].Annotations["db.platform.io/size"] = "1536Mi"
	if got := condition(s.plan(), dbv1.ConditionValidated); got != "False InvalidSpec" {
		t.Errorf("Validated is %s: it was asked for 1536Mi before", got)
	}
}

// The StatefulSet that takes the pods over is made when the old one is gone, and has the new size; it
// does not let anybody go.
func TestAStatefulSetIsMadeAnewWithItsPods(t *testing.T) {
	s := settled(replicated(3), sized("2Gi", nil)).asks("2Gi", "2Gi", "db-0", "db-1", "db-2")
	s.Database.Spec.Topology.Replicas = 2
	set := s.StatefulSets["db"].DeepCopy()
	set.DeletionTimestamp = &metav1.Time{Time: now}
	s.StatefulSets = map[string]*appsv1.StatefulSet{"db": set}
	if slices.Contains(kinds(s.plan()), "StatefulSet") {
		t.Error("it is written while the old one is going")
	}
	s.StatefulSets = nil
	for _, o := range s.plan().Objects {
		set, ok := o.(*appsv1ac.StatefulSetApplyConfiguration)
		if !ok {
			continue
		}
		if size := (*set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests)[corev1.ResourceStorage]; size.String() != "2Gi" || *set.Spec.Replicas != 3 {
			t.Errorf("it is made with %s and %d instances", size.String(), *set.Spec.Replicas)
		}
		return
	}
	t.Error("it is not made anew")
}

func TestWhatIsSaidOfAVolumeThatDoesNotGrow(t *testing.T) {
	for kind, c := range map[corev1.PersistentVolumeClaimConditionType]struct{ status, says string }{
		corev1.PersistentVolumeClaimFileSystemResizePending: {"False Resizing", "when the pod is restarted"},
		corev1.PersistentVolumeClaimControllerResizeError:   {"False ResizeFailed", "which fails: quota"},
		corev1.PersistentVolumeClaimResizing:                {"False Resizing", "volume data-db-0 grows from 1Gi to 2Gi"},
	} {
		s := settled(sized("2Gi", nil)).asks("2Gi", "1Gi", "db-0")
		s.Claims["data-db-0"].Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: kind, Status: corev1.ConditionTrue, Message: "quota"}}
		p := s.plan()
		if got := condition(p, dbv1.ConditionStorageReady); got != c.status || !strings.Contains(message(p, dbv1.ConditionStorageReady), c.says) {
			t.Errorf("%s: StorageReady is %s: %s", kind, got, message(p, dbv1.ConditionStorageReady))
		}
	}
}

func TestAFullVolumeStaysFullWhileNobodyKnowsBetter(t *testing.T) {
	s := settled(replicated(2), sized("1Gi", nil)).uses("db-1", 950)
	s.Database.Status = s.plan().Status
	s.Now = now.Add(time.Hour)
	s.stopped("db-1")
	if got := message(s.plan(), dbv1.ConditionStorageReady); !strings.Contains(got, "data-db-1 is 95% full; raise spec.storage.size") {
		t.Errorf("StorageReady says: %s", got)
	}
	grown := settled(replicated(2), sized("1Gi", nil)).plan().Status
	growing := settled(replicated(2), sized("2Gi", nil)).asks("2Gi", "1Gi", "db-0", "db-1").plan().Status
	var reasons []string
	for _, e := range engine.Transitions(&growing, &grown) {
		reasons = append(reasons, e.Reason)
	}
	if !slices.Contains(reasons, "StorageGrown") {
		t.Errorf("events %v", reasons)
	}
}

// Logs come and go: a warning is not taken back and given again all the time.
func TestAVolumeNearAThresholdIsWarnedOfOnce(t *testing.T) {
	s := settled(replicated(2), sized("1Gi", nil))
	var warnings []string
	for _, step := range []struct {
		used int64
		want string
	}{
		{790, "True AsExpected"},
		{800, "False VolumeFilling"},
		{780, "False VolumeFilling"},
		{810, "False VolumeFilling"},
		{900, "False VolumeNearlyFull"},
		{870, "False VolumeNearlyFull"},
		{840, "False VolumeFilling"},
		{890, "False VolumeFilling"},
		{740, "True AsExpected"},
		{790, "True AsExpected"},
	} {
		s.uses("db-1", step.used)
		p := s.plan()
		if got := condition(p, dbv1.ConditionStorageReady); got != step.want {
			t.Errorf("at %d: StorageReady is %s, want %s", step.used, got, step.want)
		}
		for _, e := range engine.Transitions(&s.Database.Status, &p.Status) {
			warnings = append(warnings, e.Reason)
		}
		s.Database.Status = *p.Status.DeepCopy()
	}
	want := []string{"Provisioned", "Ready", "VolumeFilling", "VolumeNearlyFull", "VolumeFilling"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
}
