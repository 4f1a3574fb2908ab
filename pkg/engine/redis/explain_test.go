package redis

import (
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Whoever asks `kubectl explain` must not wait for what is not built. What no engine has is in the test of
// package postgres.
func TestWhatIsNotBuiltIsExplainedAsThat(t *testing.T) {
	data, err := os.ReadFile("../../../manifests/crd/db.platform.io_databases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	for path, asked := range map[string]func(*dbv1.Database){
		"spec.topology.mode":    func(db *dbv1.Database) { db.Spec.Topology.Mode = dbv1.Cluster },
		"spec.storage":          func(db *dbv1.Database) { db.Spec.Storage = nil },
		"spec.storage.size":     func(*dbv1.Database) {},
		"spec.engineConfig":     config("maxmemory-policy", "allkeys-lru"),
		"spec.storage.autoGrow": func(db *dbv1.Database) { db.Spec.Storage.AutoGrow = &dbv1.AutoGrowSpec{Enabled: true} },
	} {
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		for name := range strings.SplitSeq(path, ".") {
			property, ok := schema.Properties[name]
			if !ok {
				t.Fatalf("there is no field %s", path)
			}
			schema = &property
		}
		gaps := Engine{}.Gaps(database7(asked))
		if says := strings.Contains(schema.Description, "Not in this release"); says != (len(gaps) > 0) {
			t.Errorf("%s has %d gaps, and its description is: %s", path, len(gaps), schema.Description)
		}
	}
}
