package validation

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// examples are the documents that users are told to apply, by file, with the names that they promise.
var examples = map[string]string{
	"db_v1_database.yaml":      "postgres-sample",
	"postgres-basic.yaml":      "postgres-basic",
	"postgres-replicated.yaml": "postgres-replicated",
	"postgres-production.yaml": "prod-postgres",
	"mongodb-replicated.yaml":  "mongodb-replicated",
	"redis-basic.yaml":         "redis-basic",
	"redis-cluster.yaml":       "redis-cluster",
	"elasticsearch.yaml":       "elasticsearch",
	"sqlite.yaml":              "sqlite",
}

// exampleFiles are all files of artifacts/examples.
func exampleFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../../../../../artifacts/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		if out[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestEveryExampleIsADatabaseThatBreaksNoRule(t *testing.T) {
	found := exampleFiles(t)
	for file, name := range examples {
		if _, ok := found[file]; !ok {
			t.Errorf("%s is missing, with Database %s", file, name)
		}
	}
	for file, data := range found {
		t.Run(file, func(t *testing.T) {
			db := &dbv1.Database{}
			if err := yaml.UnmarshalStrict(data, db); err != nil {
				t.Fatal(err)
			}
			if db.APIVersion != "db.platform.io/v1" || db.Kind != "Database" || db.Name != examples[file] {
				t.Errorf("it is %s %s %q, want Database %q", db.APIVersion, db.Kind, db.Name, examples[file])
			}
			context := Context{ConsulPrefixes: []string{"database/credentials/"}}
			if errs := ValidateDatabase(db, context); len(errs) > 0 {
				t.Error(errs)
			}
		})
	}
}
