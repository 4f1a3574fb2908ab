package resources_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
	"github.com/platform-io/database-operator/pkg/testing/golden"
)

func database(change ...func(*dbv1.Database)) *dbv1.Database {
	db := &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "prod", UID: "uid"},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.PostgreSQL, Version: "15.4",
			Storage: &dbv1.StorageSpec{Size: new(resource.MustParse("10Gi")), StorageClassName: new("fast")},
		},
	}
	for _, c := range change {
		c(db)
	}
	return db
}

var shape = resources.Shape{
	Image: "docker.io/library/postgres:15.4", User: 999, ClientPort: 5432, GracePeriod: 180e9,
	Config: map[string]string{"postgresql.conf": "port = 5432\n"},
	Groups: []resources.Group{{Name: "shop", Replicas: 1}}, Elects: true,
	Recorded: map[string]string{naming.AnnotationEngine: "PostgreSQL"},
}

func render(t *testing.T, object any) []byte {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestObjects(t *testing.T) {
	db := database()
	for name, object := range map[string]any{
		"statefulset":      resources.StatefulSet(db, shape, shape.Groups[0], "agent:1", nil),
		"role":             resources.Role(db, shape),
		"service-primary":  resources.PrimaryService(db, shape),
		"service-readonly": resources.ReadOnlyService(db, shape),
		"service-headless": resources.HeadlessService(db, shape),
	} {
		t.Run(name, func(t *testing.T) { golden.Compare(t, name+".yaml", render(t, object)) })
	}
}

// What decides about a restart: the user's fields do, the operator's release does not.
func TestPodHashes(t *testing.T) {
	base := resources.PodHashes(database(), shape, shape.Groups[0], "agent:1")
	if again := resources.PodHashes(database(), shape, shape.Groups[0], "agent:1"); again != base {
		t.Errorf("the same gives %v and %v", base, again)
	}
	release := resources.PodHashes(database(), shape, shape.Groups[0], "agent:2")
	if release.Template == base.Template || release.Spec != base.Spec {
		t.Errorf("another release gives %v, before %v", release, base)
	}
	for name, change := range map[string]func(*dbv1.Database){
		"resources": func(db *dbv1.Database) {
			db.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
		},
		"a node selector": func(db *dbv1.Database) {
			db.Spec.Scheduling = &dbv1.SchedulingSpec{NodeSelector: map[string]string{"a": "b"}}
		},
		"a pod label": func(db *dbv1.Database) {
			db.Spec.PodMetadata = &dbv1.PodMetadata{Labels: map[string]dbv1.LabelValue{"a": "b"}}
		},
		"anti-affinity": func(db *dbv1.Database) { db.Spec.Topology.AntiAffinity = new(true) },
		"the log's level": func(db *dbv1.Database) {
			db.Spec.Observability = &dbv1.ObservabilitySpec{Logging: &dbv1.LoggingSpec{Level: "debug"}}
		},
	} {
		if got := resources.PodHashes(database(change), shape, shape.Groups[0], "agent:1"); got.Spec == base.Spec || got.Template == base.Template {
			t.Errorf("%s gives %v, before %v", name, got, base)
		}
	}
	for name, change := range map[string]func(*dbv1.Database){
		"a setting":         func(db *dbv1.Database) { db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"work_mem": "8MB"} },
		"a backup":          func(db *dbv1.Database) { db.Spec.Backup = &dbv1.BackupSpec{Enabled: true} },
		"a larger volume":   func(db *dbv1.Database) { db.Spec.Storage.Size = new(resource.MustParse("20Gi")) },
		"a deletion policy": func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionDelete },
		"a Service's address": func(db *dbv1.Database) {
			db.Spec.Networking = &dbv1.NetworkingSpec{ServiceType: corev1.ServiceTypeNodePort}
		},
	} {
		if got := resources.PodHashes(database(change), shape, shape.Groups[0], "agent:1"); got != base {
			t.Errorf("%s would restart the pod: %v, before %v", name, got, base)
		}
	}
}

// Two budgets on one pod would make every eviction of it fail.
func TestDisruptionBudgets(t *testing.T) {
	for instances, want := range map[int32]map[string]int{
		1: {}, 2: {"primary": 1}, 3: {"primary": 1, "replica": 1}, 5: {"primary": 1, "replica": 3},
	} {
		shape := shape
		shape.Groups = []resources.Group{{Name: "shop", Replicas: instances}}
		got := map[string]int{}
		for _, budget := range resources.DisruptionBudgets(database(), shape) {
			role := budget.Spec.Selector.MatchLabels[naming.LabelRole]
			if *budget.Name != "shop-"+role {
				t.Errorf("the budget of role %s is called %s", role, *budget.Name)
			}
			got[role] = budget.Spec.MinAvailable.IntValue()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d instances: %s", instances, diff)
		}
	}
}

func TestReadsGoToReplicasWhenThereAreAny(t *testing.T) {
	shape := shape
	shape.Groups = []resources.Group{{Name: "shop", Replicas: 2}}
	if role := resources.ReadOnlyService(database(), shape).Spec.Selector[naming.LabelRole]; role != "replica" {
		t.Errorf("the Service selects role %q", role)
	}
}

func TestAPersonsSecurityContextWinsFieldByField(t *testing.T) {
	db := database(func(db *dbv1.Database) {
		db.Spec.Scheduling = &dbv1.SchedulingSpec{PodSecurityContext: &corev1.PodSecurityContext{FSGroup: new(int64(2000))}}
	})
	pod := resources.StatefulSet(db, shape, shape.Groups[0], "agent:1", nil).Spec.Template.Spec.SecurityContext
	if diff := cmp.Diff([]int64{999, 2000}, []int64{*pod.RunAsUser, *pod.FSGroup}); diff != "" || !*pod.RunAsNonRoot {
		t.Error(diff)
	}
}
