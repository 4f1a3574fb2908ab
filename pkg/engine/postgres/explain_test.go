package postgres

import (
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// explain is what kubectl explain says of a field of a Database.
func explain(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile("../../../manifests/crd/db.platform.io_databases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	for name := range strings.SplitSeq(path, ".") {
		property, ok := schema.Properties[name]
		if !ok {
			t.Fatalf("there is no field %s", path)
		}
		schema = &property
	}
	return strings.Join(strings.Fields(schema.Description), " ")
}

// A profile gives what its text names, and nothing else is named.
func TestTheProfilesPresetsAreThoseThatAreExplained(t *testing.T) {
	of := func(profile dbv1.Profile) map[string]any {
		db := database(func(db *dbv1.Database) { db.Spec.Profile = profile })
		return map[string]any{"resources": dbv1.Resources(db), "anti-affinity": dbv1.AntiAffinity(db)}
	}
	dev, prod := of(dbv1.ProfileDev), of(dbv1.ProfileProd)
	_, text, _ := strings.Cut(explain(t, "spec.profile"), "(")
	text, _, _ = strings.Cut(text, ")")
	named := strings.Split(text, ", ")
	for _, preset := range named {
		if dev[preset] == nil || equality.Semantic.DeepEqual(dev[preset], prod[preset]) {
			t.Errorf("%q is named, and is the same in all profiles", preset)
		}
	}
	if len(named) != len(dev) {
		t.Errorf("named are %v", named)
	}
}

// Two fields together delete volumes of a Database that lives: each names the other.
func TestWhatDeletesVolumesIsExplained(t *testing.T) {
	for path, other := range map[string]string{"spec.topology.replicas": "lifecycle.deletionPolicy is Delete", "spec.lifecycle.deletionPolicy": "topology.replicas is lowered"} {
		if text := explain(t, path); !strings.Contains(text, other) {
			t.Errorf("%s does not name %q: %s", path, other, text)
		}
	}
}

// Whoever asks `kubectl explain` must not wait for what is not built; nor do without what is.
func TestWhatIsNotBuiltIsExplainedAsThat(t *testing.T) {
	spec := func(edit func(*dbv1.DatabaseSpec)) func(*dbv1.Database) {
		return func(db *dbv1.Database) { edit(&db.Spec) }
	}
	for path, asked := range map[string]func(*dbv1.Database){
		"spec.backup":  spec(func(s *dbv1.DatabaseSpec) { s.Backup = &dbv1.BackupSpec{Enabled: true} }),
		"spec.restore": spec(func(s *dbv1.DatabaseSpec) { s.Restore = &dbv1.RestoreSpec{BackupName: "b"} }),
		"spec.version": func(db *dbv1.Database) { db.Status.CurrentVersion, db.Spec.Version = "15.4", "16.1" },
		"spec.networking.tls": spec(func(s *dbv1.DatabaseSpec) {
			s.Networking = &dbv1.NetworkingSpec{TLS: &dbv1.TLSSpec{Enabled: true}}
		}),
		"spec.auth.consul": spec(func(s *dbv1.DatabaseSpec) { s.Auth = &dbv1.AuthSpec{Consul: &dbv1.ConsulSpec{Enabled: true}} }),
		"spec.auth.rotationPolicy": spec(func(s *dbv1.DatabaseSpec) {
			s.Auth = &dbv1.AuthSpec{RotationPolicy: &dbv1.RotationPolicy{Enabled: true}}
		}),
		"spec.maintenance.autoUpgrade": spec(func(s *dbv1.DatabaseSpec) { s.Maintenance = &dbv1.MaintenanceSpec{AutoUpgrade: true} }),
		"spec.maintenance.windows": spec(func(s *dbv1.DatabaseSpec) {
			s.Maintenance = &dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{{StartTime: "02:00"}}}
		}),
		"spec.observability.metrics": spec(func(s *dbv1.DatabaseSpec) {
			s.Observability = &dbv1.ObservabilitySpec{Metrics: &dbv1.MetricsSpec{Enabled: new(true)}}
		}),
		"spec.observability.logging": spec(func(s *dbv1.DatabaseSpec) {
			s.Observability = &dbv1.ObservabilitySpec{Logging: &dbv1.LoggingSpec{Level: "debug"}}
		}),
		"spec.observability.tracing": spec(func(s *dbv1.DatabaseSpec) {
			s.Observability = &dbv1.ObservabilitySpec{Tracing: &dbv1.TracingSpec{Enabled: true}}
		}),
		"spec.lifecycle.hibernated":     spec(func(s *dbv1.DatabaseSpec) { s.Lifecycle.Hibernated = true }),
		"spec.lifecycle.deletionPolicy": spec(func(s *dbv1.DatabaseSpec) { s.Lifecycle.DeletionPolicy = dbv1.DeletionSnapshot }),
		"spec.lifecycle.paused":         spec(func(s *dbv1.DatabaseSpec) { s.Lifecycle.Paused = true }),
		"spec.storage.autoGrow": spec(func(s *dbv1.DatabaseSpec) {
			s.Storage = &dbv1.StorageSpec{AutoGrow: &dbv1.AutoGrowSpec{Enabled: true}}
		}),
		"spec.topology.replicas":                    spec(func(s *dbv1.DatabaseSpec) { s.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 3} }),
		"spec.highAvailability.synchronousReplicas": spec(func(s *dbv1.DatabaseSpec) { s.HighAvailability = &dbv1.HighAvailabilitySpec{SynchronousReplicas: 1} }),
	} {
		description := explain(t, path)
		gaps := Engine{}.Gaps(database(asked))
		if says := strings.Contains(description, "Not in this release"); says != (len(gaps) > 0) {
			t.Errorf("%s has the gaps %+v, and its description is: %s", path, conditions(gaps), description)
		}
		for _, gap := range gaps {
			if !strings.Contains(description, "condition "+gap.Condition) && gap.Condition != dbv1.ConditionContinuousArchiving {
				t.Errorf("%s does not name condition %s: %s", path, gap.Condition, description)
			}
		}
	}
}

func conditions(gaps []engine.Gap) []string {
	var names []string
	for _, gap := range gaps {
		names = append(names, gap.Condition)
	}
	return names
}
