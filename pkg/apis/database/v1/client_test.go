package v1_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
)

// The fakes know fields only with the types' OpenAPI models, which generation must hand them.
func TestTheFakeClientsetAppliesFieldByField(t *testing.T) {
	client := fake.NewClientset().DatabaseV1().Databases("team")
	apply := func(manager string, spec *dbv1ac.DatabaseSpecApplyConfiguration) *dbv1.Database {
		t.Helper()
		db, err := client.Apply(t.Context(), dbv1ac.Database("db", "team").WithSpec(spec), metav1.ApplyOptions{FieldManager: manager})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	apply("one", dbv1ac.DatabaseSpec().WithEngine(dbv1.PostgreSQL).WithVersion("15.0").WithImage("registry.example.com/postgres:15.0"))
	apply("two", dbv1ac.DatabaseSpec().WithTopology(dbv1ac.TopologySpec().WithReplicas(3)))
	db := apply("one", dbv1ac.DatabaseSpec().WithEngine(dbv1.PostgreSQL).WithVersion("15.4"))
	if db.Spec.Version != "15.4" || db.Spec.Image != "" || db.Spec.Topology.Replicas != 3 {
		t.Errorf("a field was not changed, removed or kept: %+v", db.Spec)
	}
	mine, err := dbv1ac.ExtractDatabase(db, "two")
	if err != nil || mine.Spec == nil || mine.Spec.Engine != nil || mine.Spec.Topology == nil || *mine.Spec.Topology.Replicas != 3 {
		t.Errorf("what manager two owns is %+v, %v", mine, err)
	}
}
