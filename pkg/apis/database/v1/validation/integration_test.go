//go:build integration

package validation

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	databasev1 "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/typed/database/v1"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
)

var databases = schema.GroupVersionResource{Group: dbv1.GroupName, Version: "v1", Resource: "databases"}

// connect gives a client of the Databases in a namespace of the test's own, and one for objects that no Go type holds.
func connect(t *testing.T) (databasev1.DatabaseInterface, dynamic.ResourceInterface) {
	t.Helper()
	config := apiserver.Start(t)
	namespace := apiserver.Namespace(t, config)
	return versioned.NewForConfigOrDie(config).DatabaseV1().Databases(namespace),
		dynamic.NewForConfigOrDie(config).Resource(databases).Namespace(namespace)
}

// named gives a Database a name of its own, unless its name is what is wrong with it.
func named(db *dbv1.Database, name string) *dbv1.Database {
	if db = db.DeepCopy(); db.Name == "good" {
		db.Name = name
	}
	db.Namespace = ""
	return db
}

func TestTheAPIServerAndGoGiveTheSameVerdict(t *testing.T) {
	client, _ := connect(t)
	for i, c := range ruleCases {
		name := "case-" + strings.Repeat("a", i/26) + string(rune('a'+i%26))
		t.Run(c.rule+": "+c.wrong, func(t *testing.T) {
			before, after := c.made()
			before, after = named(before, name), named(after, name)
			if !c.change {
				before = nil
			}
			err := submit(t, client, before, after)
			if ruleOf(c.rule).CEL == "" {
				if err != nil {
					t.Errorf("Go alone was to refuse it, but the API server does: %v", err)
				}
				return
			}
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), ruleOf(c.rule).Message) {
				t.Errorf("the API server does not say %q, but: %v", ruleOf(c.rule).Message, err)
			}
		})
	}
}

// submit changes one Database into another, or creates it when there was none.
func submit(t *testing.T, client databasev1.DatabaseInterface, before, after *dbv1.Database) error {
	t.Helper()
	if before == nil {
		_, err := client.Create(t.Context(), after, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	stored, err := client.Create(t.Context(), before, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("the good Database is refused: %v", err)
	}
	after.ResourceVersion = stored.ResourceVersion
	_, err = client.Update(t.Context(), after, metav1.UpdateOptions{})
	return err
}

func TestTheAPIServerAcceptsAGoodDatabaseOfEveryEngine(t *testing.T) {
	client, _ := connect(t)
	for _, engine := range engines {
		db, err := client.Create(t.Context(), named(good(engine), strings.ToLower(string(engine))), metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%s: %v", engine, err)
			continue
		}
		if errs := ValidateDatabase(db, Context{}); len(errs) > 0 {
			t.Errorf("%s: Go refuses what the API server has stored: %v", engine, errs)
		}
	}
}

// The expression reads text, where Go knows what it means: it must not refuse what Go accepts.
func TestTheAPIServerAcceptsEveryLagThatGoAccepts(t *testing.T) {
	client, _ := connect(t)
	for _, lag := range []string{"64Ki", "65536", "65536.0", "+65536", "70k", "66.0k", "0.0625Mi", ".1Mi", "1M", "16Mi", "1e6", "1.5E5", "1Gi", "0.001E", "100000000m"} {
		db := named(good(dbv1.PostgreSQL), "lag")
		db.Spec.HighAvailability = &dbv1.HighAvailabilitySpec{MaxLag: quantity(lag)}
		if errs := ValidateDatabase(db, Context{}); len(errs) > 0 {
			t.Errorf("%s: Go refuses it: %v", lag, errs)
		}
		if err := submit(t, client, nil, db); err != nil {
			t.Errorf("%s: the API server refuses it: %v", lag, err)
		}
	}
}

func TestEveryExampleAppliesUnchanged(t *testing.T) {
	client, raw := connect(t)
	for file, data := range exampleFiles(t) {
		_, err := raw.Create(t.Context(), object(t, string(data)), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		db, err := client.Get(t.Context(), examples[file], metav1.GetOptions{})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if errs := ValidateDatabase(db, Context{}); len(errs) > 0 {
			t.Errorf("%s, with the defaults of the API server: %v", file, errs)
		}
	}
}

func TestADatabaseOfFewWordsGetsItsDefaults(t *testing.T) {
	client, raw := connect(t)
	few := object(t, `{metadata: {name: few}, spec: {engine: PostgreSQL, version: "15", storage: {size: 10Gi}, highAvailability: {}, backup: {history: {}}}}`)
	if _, err := raw.Create(t.Context(), few, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	db, err := client.Get(t.Context(), "few", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale, err := client.GetScale(t.Context(), "few", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 1 {
		t.Errorf("scale is %v, %v", scale, err)
	}
	ha := db.Spec.HighAvailability
	if db.Spec.Topology.Mode != dbv1.Standalone || db.Spec.Topology.Replicas != 1 || db.Spec.Profile != dbv1.ProfileStandard ||
		db.Spec.Lifecycle.DeletionPolicy != dbv1.DeletionRetain || db.Spec.Backup.Retention != 7 ||
		ha.LeaseDuration.Duration != dbv1.DefaultLeaseDuration || ha.MaxLag.String() != "16Mi" {
		t.Errorf("defaults are not those of the documentation: %+v", db.Spec)
	}
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	_, raw := connect(t)
	for name, c := range map[string]struct{ document, says string }{
		"an unknown field":                   {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, replicas: 3}}`, `unknown field "spec.replicas"`},
		"an unknown engine":                  {`{spec: {engine: Oracle, version: "15", storage: {size: 1Gi}}}`, "supported values"},
		"no engine":                          {`{spec: {version: "15", storage: {size: 1Gi}}}`, "spec.engine: Required value"},
		"a version that is a number":         {`{spec: {engine: PostgreSQL, version: 15, storage: {size: 1Gi}}}`, "spec.version in body must be of type string"},
		"replicas that are a word":           {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, topology: {mode: Replicated, replicas: three}}}`, "must be of type integer"},
		"a size of zero as a number":         {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 0}}}`, "storage.size must be greater than zero"},
		"a negative size as a number":        {`{spec: {engine: PostgreSQL, version: "15", storage: {size: -5}}}`, "storage.size must be greater than zero"},
		"a size that Go cannot decode":       {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1e1.5}}}`, "storage.size"},
		"a size that takes for ever":         {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1e999999999}}}`, "storage.size"},
		"a request that Go cannot decode":    {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, resources: {requests: {cpu: 1e1.5}}}}`, "spec.resources.requests.cpu"},
		"a duration that Go cannot decode":   {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, highAvailability: {leaseDuration: 1d}}}`, "leaseDuration"},
		"a negative duration":                {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, auth: {rotationPolicy: {gracePeriod: "-1h"}}}}`, "gracePeriod"},
		"a time that Go cannot decode":       {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, restore: {backupName: x, pointInTime: "2026-05-04t03:02:01z"}}}`, "pointInTime"},
		"a day that the month does not have": {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, restore: {backupName: x, pointInTime: "2026-02-30T03:02:01Z"}}}`, "pointInTime"},
		"a number beyond int32":              {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, scheduling: {topologySpreadConstraints: [{maxSkew: 3000000000, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}}}`, "maxSkew"},
		"a number beyond int64":              {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, scheduling: {podSecurityContext: {runAsUser: 100000000000000000000}}}}`, "runAsUser"},
		"257 settings":                       {`{spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, engineConfig: {` + settings(257) + `}}}`, "engineConfig"},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, c.document)
			o.SetName("wrong")
			_, err := raw.Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the API server does not say %q: %v", c.says, err)
			}
		})
	}
}

func TestTheLargestConfigurationFitsTheCostLimit(t *testing.T) {
	_, raw := connect(t)
	o := object(t, `{metadata: {name: large}, spec: {engine: PostgreSQL, version: "15", storage: {size: 1Gi}, engineConfig: {`+settings(256)+`}}}`)
	if _, err := raw.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

func TestABackupIsImmutableExceptForRetain(t *testing.T) {
	config := apiserver.Start(t)
	client := versioned.NewForConfigOrDie(config).DatabaseV1().DatabaseBackups(apiserver.Namespace(t, config))
	backup := &dbv1.DatabaseBackup{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: dbv1.DatabaseBackupSpec{DatabaseName: "db"}}
	if _, err := client.Create(t.Context(), backup, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := func(spec string) error {
		_, err := client.Patch(t.Context(), "b", types.MergePatchType, []byte(`{"spec":`+spec+`}`), metav1.PatchOptions{})
		return err
	}
	if err := patch(`{"retain":true}`); err != nil {
		t.Errorf("retain: %v", err)
	}
	for id, spec := range map[string]string{"backup-database-immutable": `{"databaseName":"other"}`, "backup-method-immutable": `{"method":"Dump"}`} {
		if err := patch(spec); err == nil || !strings.Contains(err.Error(), ruleOf(id).Message) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// TestAnObjectStoredBeforeTheRulesCanStillBeReportedOnAndDeleted stores what every rule of the spec refuses, under a CRD
// without rules, as a release before them would have.
func TestAnObjectStoredBeforeTheRulesCanStillBeReportedOnAndDeleted(t *testing.T) {
	if apiserver.Shared() {
		t.Skip("this test replaces the CRDs, which a cluster that others use must keep")
	}
	client := storedBeforeTheRules(t)
	patches := []struct {
		what, patch string
		subresource []string
	}{
		{"a finalizer", `{"metadata":{"finalizers":["db.platform.io/cleanup"]}}`, nil},
		{"a status", `{"status":{"phase":"Failed"}}`, []string{"status"}},
		{"a label", `{"metadata":{"labels":{"a":"b"}}}`, nil},
		{"no finalizer", `{"metadata":{"finalizers":null}}`, nil},
	}
	for _, p := range patches {
		if _, err := client.Patch(t.Context(), "old", types.MergePatchType, []byte(p.patch), metav1.PatchOptions{}, p.subresource...); err != nil {
			t.Errorf("%s cannot be written: %v", p.what, err)
		}
	}
	db, err := client.Get(t.Context(), "old", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if errs := ValidateDatabase(db, Context{}); len(errs) < 6 {
		t.Errorf("Go must say what is wrong with it; it says %v", errs)
	}
	if err := client.Delete(t.Context(), "old", metav1.DeleteOptions{}); err != nil {
		t.Errorf("it cannot be deleted: %v", err)
	}
}

// storedBeforeTheRules has an API server of its own store the Database "old", and then brings the rules into force.
func storedBeforeTheRules(t *testing.T) databasev1.DatabaseInterface {
	t.Helper()
	config := apiserver.Start(t, "--", "--v=0") // a server of its own
	current, err := apiserver.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	var old []*unstructured.Unstructured
	for _, crd := range current {
		if crd.GetName() == "databases.db.platform.io" {
			old = append(old, withoutRules(t, crd))
		}
	}
	if err := apiserver.InstallCRDs(t.Context(), config, old...); err != nil {
		t.Fatal(err)
	}
	namespace := apiserver.Namespace(t, config)
	raw := dynamic.NewForConfigOrDie(config).Resource(databases).Namespace(namespace)
	stored := object(t, `{metadata: {name: old}, spec: {engine: SQLite, version: latest, topology: {mode: Sharded, replicas: 2},
		resources: {claims: [{name: gpu}]}, backup: {enabled: true}, networking: {port: 8008, tls: {enabled: true}}, engineConfig: {"a b": "c\nd"}}}`)
	eventually(t, func() error {
		_, err := raw.Create(t.Context(), stored, metav1.CreateOptions{})
		return err
	})
	if err := apiserver.InstallCRDs(t.Context(), config, current...); err != nil {
		t.Fatal(err)
	}
	client := versioned.NewForConfigOrDie(config).DatabaseV1().Databases(namespace)
	eventually(t, func() error { // until the new rules are in force
		if _, err := client.Create(t.Context(), &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: dbv1.DatabaseSpec{Engine: dbv1.SQLite, Version: "latest"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsInvalid(err) {
			return context.DeadlineExceeded
		}
		return nil
	})
	return client
}

func withoutRules(t *testing.T, crd *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	crd = crd.DeepCopy()
	var strip func(node any)
	strip = func(node any) {
		switch n := node.(type) {
		case map[string]any:
			delete(n, "x-kubernetes-validations")
			for _, child := range n {
				strip(child)
			}
		case []any:
			for _, child := range n {
				strip(child)
			}
		}
	}
	strip(crd.Object)
	return crd
}

func settings(n int) string {
	var out []string
	for i := range n {
		out = append(out, "a"+strings.Repeat("b", i/26)+string(rune('a'+i%26))+`: "`+strings.Repeat("x", 1024)+`"`)
	}
	return strings.Join(out, ", ")
}

func object(t *testing.T, document string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatal(err)
	}
	// Whole numbers stay whole, as kubectl would send them.
	o := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(content)}
	o.SetAPIVersion("db.platform.io/v1")
	o.SetKind("Database")
	return o
}

// eventually tries until there is no error: a CRD takes effect a moment after it is stored.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	if err := apiserver.Eventually(t.Context(), try); err != nil {
		t.Fatal(err)
	}
}
