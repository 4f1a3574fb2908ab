package validation

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// oldest is the first Kubernetes that the CRDs must work with.
var oldest = version.MajorMinor(1, 25)

// crds are the CRDs of manifests/crd, by kind.
func crds(t *testing.T) map[string]*apiextensions.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob("../../../../../manifests/crd/db.platform.io_*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("want 3 CRDs, got %v, %v", files, err)
	}
	out := map[string]*apiextensions.CustomResourceDefinition{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v1, internal := &apiextensionsv1.CustomResourceDefinition{}, &apiextensions.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, v1); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(v1, internal, nil); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[v1.Spec.Names.Kind] = internal
	}
	return out
}

func rootSchema(crd *apiextensions.CustomResourceDefinition) *apiextensions.JSONSchemaProps {
	if crd.Spec.Validation != nil {
		return crd.Spec.Validation.OpenAPIV3Schema
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// visit calls back for every schema below one, with its path and its CEL context.
func visit(path string, schema *apiextensions.JSONSchemaProps, c *crdvalidation.CELSchemaContext,
	each func(path string, schema *apiextensions.JSONSchemaProps, c *crdvalidation.CELSchemaContext),
) {
	each(path, schema, c)
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := schema.Properties[name]
		visit(strings.TrimPrefix(path+"."+name, "."), &property, c.ChildPropertyContext(&property, name), each)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		visit(path+"[]", schema.Items.Schema, c.ChildItemsContext(schema.Items.Schema), each)
	}
	if values := schema.AdditionalProperties; values != nil && values.Schema != nil {
		visit(path+"{}", values.Schema, c.ChildAdditionalPropertiesContext(values.Schema), each)
	}
}

func TestEveryCELRuleCompilesInTheOldestKubernetesAtATenthOfTheCostLimit(t *testing.T) {
	env := environment.MustBaseEnvSet(oldest)
	rules := 0
	for kind, crd := range crds(t) {
		root := crdvalidation.RootCELContext(rootSchema(crd))
		total := uint64(0)
		visit("", rootSchema(crd), root, func(path string, schema *apiextensions.JSONSchemaProps, c *crdvalidation.CELSchemaContext) {
			if len(schema.XValidations) == 0 {
				return
			}
			info, err := c.TypeInfo()
			if err != nil {
				t.Fatalf("%s %s: %v", kind, path, err)
			}
			results, err := cel.Compile(info.Schema, info.DeclType, celconfig.PerCallLimit, env, cel.NewExpressionsEnvLoader())
			if err != nil {
				t.Fatalf("%s %s: %v", kind, path, err)
			}
			for i, result := range results {
				rules++
				expression := schema.XValidations[i].Rule
				if result.Error != nil {
					t.Errorf("%s %s: %s: %v", kind, path, expression, result.Error)
					continue
				}
				cost := result.MaxCost * result.MaxCardinality
				if c.MaxCardinality != nil {
					cost = result.MaxCost * *c.MaxCardinality
				}
				total += cost
				if limit := uint64(crdvalidation.StaticEstimatedCostLimit / 10); cost > limit {
					t.Errorf("%s %s: costs %d, more than %d: %s", kind, path, cost, limit, expression)
				}
			}
		})
		t.Logf("%s: all rules cost %d, of %d", kind, total, crdvalidation.StaticEstimatedCRDCostLimit)
		if limit := uint64(crdvalidation.StaticEstimatedCRDCostLimit / 10); total > limit {
			t.Errorf("%s: all rules cost %d, more than %d", kind, total, limit)
		}
	}
	if rules == 0 {
		t.Error("no rule was compiled")
	}
}

// stands is one CEL rule at one place.
type stands struct{ Kind, Path, CEL, Message string }

func TestTheCRDsHoldExactlyTheRulesOfTheList(t *testing.T) {
	compare := func(a, b stands) int {
		return strings.Compare(fmt.Sprint(a.Kind, a.Path, "\x00", a.CEL), fmt.Sprint(b.Kind, b.Path, "\x00", b.CEL))
	}
	var want, got []stands
	for _, rule := range Rules {
		for _, path := range rule.Paths {
			kind := rule.Kind
			if kind == "" {
				kind = "Database"
			}
			want = append(want, stands{kind, path, rule.CEL, rule.Message})
		}
	}
	for kind, crd := range crds(t) {
		visit("", rootSchema(crd), nil, func(path string, schema *apiextensions.JSONSchemaProps, _ *crdvalidation.CELSchemaContext) {
			for _, rule := range schema.XValidations {
				got = append(got, stands{kind, path, rule.Rule, rule.Message})
				if rule.MessageExpression != "" || rule.FieldPath != "" || rule.Reason != nil || rule.OptionalOldSelf != nil {
					t.Errorf("%s %s: what Kubernetes %s does not know: %s", kind, path, oldest, rule.Rule)
				}
			}
		})
	}
	slices.SortFunc(want, compare)
	slices.SortFunc(got, compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the CRDs differ from the list (-list +CRDs):\n%s", diff)
	}
}

func TestNoRuleReadsStatus(t *testing.T) {
	for _, rule := range Rules {
		if strings.Contains(rule.CEL, "status") {
			t.Errorf("%s reads status: %s", rule.ID, rule.CEL)
		}
		for _, path := range rule.Paths {
			if strings.HasPrefix(path, "status") {
				t.Errorf("%s stands in status", rule.ID)
			}
		}
	}
}

func TestEveryRuleHasItsOwnNameAndOneSentence(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range Rules {
		switch {
		case rule.ID == "" || seen[rule.ID]:
			t.Errorf("a rule without a name of its own: %q", rule.ID)
		case rule.CEL == "" && rule.Check == nil:
			t.Errorf("%s is enforced nowhere", rule.ID)
		case (rule.CEL == "") != (len(rule.Paths) == 0):
			t.Errorf("%s: an expression stands somewhere, and nothing else does", rule.ID)
		case rule.Message == "" || strings.ContainsAny(rule.Message, "\n\r") || strings.HasSuffix(rule.Message, "."):
			t.Errorf("%s: not one sentence: %q", rule.ID, rule.Message)
		case rule.CEL != "" && !strings.Contains(rule.Message, ";"):
			t.Errorf("%s: the message does not say what to do: %q", rule.ID, rule.Message)
		}
		seen[rule.ID] = true
	}
}

// unlimited are the embedded types of Kubernetes that no rule walks.
var unlimited = []string{"spec.scheduling.", "spec.resources."}

func TestEveryStringListAndMapHasAMaximum(t *testing.T) {
	for kind, crd := range crds(t) {
		visit("", rootSchema(crd), nil, func(path string, schema *apiextensions.JSONSchemaProps, _ *crdvalidation.CELSchemaContext) {
			embedded := slices.ContainsFunc(unlimited, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
			if embedded || path == "apiVersion" || path == "kind" || path == "metadata" {
				return
			}
			switch {
			case schema.Type == "string" && schema.MaxLength == nil && len(schema.Enum) == 0,
				schema.Type == "array" && schema.MaxItems == nil,
				schema.AdditionalProperties != nil && schema.MaxProperties == nil:
				t.Errorf("%s %s has no maximum", kind, path)
			}
		})
	}
}

// kubectl get shows what runs; an upgrade that is only wished for would look done.
func TestTheVersionColumnIsWhatRuns(t *testing.T) {
	crd := crds(t)["Database"]
	for _, column := range slices.Concat(crd.Spec.AdditionalPrinterColumns, crd.Spec.Versions[0].AdditionalPrinterColumns) {
		if column.Name == "Version" {
			if column.JSONPath != ".status.currentVersion" {
				t.Errorf("column Version shows %s", column.JSONPath)
			}
			return
		}
	}
	t.Error("there is no column Version")
}

// Kubernetes before 1.30 runs every expression at every write, whether its field changed or not: a Database that was
// stored with claims of devices, while they were ignored, must stay writable there.
func TestClaimsOfDevicesAreRefusedForWhoAddsThem(t *testing.T) {
	schema, err := structuralschema.NewStructural(rootSchema(crds(t)["Database"]))
	if err != nil {
		t.Fatal(err)
	}
	validator := cel.NewValidator(schema, true, celconfig.PerCallLimit)
	written := func(db *dbv1.Database) any {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(db)
		if err != nil {
			t.Fatal(err)
		}
		return object
	}
	for name, c := range map[string]struct {
		before, after *corev1.ResourceRequirements
		refused       bool
	}{
		"none, as before":            {nil, nil, false},
		"the first one":              {nil, &corev1.ResourceRequirements{Claims: devices(1)}, true},
		"the first one, with limits": {&corev1.ResourceRequirements{Limits: memory("1Gi")}, &corev1.ResourceRequirements{Limits: memory("1Gi"), Claims: devices(1)}, true},
		"one, as before":             {&corev1.ResourceRequirements{Claims: devices(1)}, &corev1.ResourceRequirements{Claims: devices(1)}, false},
		"one, and another limit":     {&corev1.ResourceRequirements{Claims: devices(1)}, &corev1.ResourceRequirements{Limits: memory("1Gi"), Claims: devices(1)}, false},
		"one more":                   {&corev1.ResourceRequirements{Claims: devices(1)}, &corev1.ResourceRequirements{Claims: devices(2)}, true},
		"one fewer":                  {&corev1.ResourceRequirements{Claims: devices(2)}, &corev1.ResourceRequirements{Claims: devices(1)}, false},
		"none any more":              {&corev1.ResourceRequirements{Claims: devices(1)}, nil, false},
	} {
		before, after := good(dbv1.PostgreSQL), good(dbv1.PostgreSQL)
		before.Spec.Resources, after.Spec.Resources = c.before, c.after
		got, _ := validator.Validate(t.Context(), nil, schema, written(after), written(before), celconfig.RuntimeCELCostBudget)
		if refused := len(got) > 0; refused != c.refused || refused && !strings.Contains(got.ToAggregate().Error(), claimsMessage) {
			t.Errorf("%s: the API server says %v", name, got)
		}
		runs := Context{CurrentVersion: "15.4"}
		if errs := ValidateDatabase(after, runs); len(errs) > 0 {
			t.Errorf("%s: what runs is not maintained: %v", name, errs)
		}
		runs.Old = before
		if errs := ValidateDatabase(after, runs); len(errs) > 0 != c.refused {
			t.Errorf("%s: Go says %v", name, errs)
		}
	}
}
