package validation

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"pgregory.net/rapid"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// An object whose stored form does not decode into its Go type breaks every typed informer that lists it. So these
// tests follow the Go types through the schemas, and put whatever a schema accepts into the type.

// leaf is a place where a schema meets a Go type that not every JSON value of its kind fits.
type leaf struct {
	path   string
	kind   reflect.Type
	schema apiextensions.JSONSchemaProps
}

var (
	quantityType = reflect.TypeFor[resource.Quantity]()
	durationType = reflect.TypeFor[metav1.Duration]()
	timeType     = reflect.TypeFor[metav1.Time]()
)

// leaves follows a Go type and its schema to the places that matter.
func leaves(t *testing.T, path string, kind reflect.Type, schema apiextensions.JSONSchemaProps, found *[]leaf) {
	t.Helper()
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	switch {
	case kind == quantityType, kind == durationType, kind == timeType, kind.Kind() >= reflect.Int && kind.Kind() <= reflect.Uint64:
		*found = append(*found, leaf{path, kind, schema})
	case kind.Kind() == reflect.Slice && schema.Items != nil:
		leaves(t, path+"[]", kind.Elem(), *schema.Items.Schema, found)
	case kind.Kind() == reflect.Map && schema.AdditionalProperties != nil:
		leaves(t, path+"{}", kind.Elem(), *schema.AdditionalProperties.Schema, found)
	case kind.Kind() == reflect.Struct:
		fieldLeaves(t, path, kind, schema, found)
	}
}

func fieldLeaves(t *testing.T, path string, kind reflect.Type, schema apiextensions.JSONSchemaProps, found *[]leaf) {
	t.Helper()
	for field := range kind.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "metadata" {
			continue // the API server itself decodes these
		}
		property, ok := schema.Properties[name]
		if !ok {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		leaves(t, path+"."+name, field.Type, property, found)
	}
}

func allLeaves(t *testing.T) []leaf {
	t.Helper()
	var found []leaf
	kinds := map[string]reflect.Type{
		"Database": reflect.TypeFor[dbv1.Database](), "DatabaseBackup": reflect.TypeFor[dbv1.DatabaseBackup](),
		"DatabaseInstance": reflect.TypeFor[dbv1.DatabaseInstance](),
	}
	for kind, crd := range crds(t) {
		leaves(t, kind, kinds[kind], *rootSchema(crd), &found)
	}
	return found
}

func TestASchemaAcceptsNoNumberThatItsTypeCannotHold(t *testing.T) {
	for _, l := range allLeaves(t) {
		switch l.kind.Kind() {
		case reflect.Int32:
			if l.schema.Minimum == nil || *l.schema.Minimum < math.MinInt32 || l.schema.Maximum == nil || *l.schema.Maximum > math.MaxInt32 {
				t.Errorf("%s takes numbers beyond int32", l.path)
			}
		case reflect.Int64, reflect.Struct: // JSON integers beyond int64 are no integers to an API server
		default:
			t.Errorf("%s is a %s, of which this test knows nothing", l.path, l.kind)
		}
	}
}

func TestASchemaAcceptsNoTextThatItsTypeCannotDecode(t *testing.T) {
	patterns, found := map[string]bool{}, 0
	for _, l := range allLeaves(t) {
		if l.kind.Kind() != reflect.Struct {
			continue
		}
		found++
		if l.schema.Pattern == "" || l.schema.MaxLength == nil {
			t.Errorf("%s has no pattern or no maximum", l.path)
			continue
		}
		key := l.kind.String() + l.schema.Pattern
		if patterns[key] {
			continue // a place like one that was tried
		}
		patterns[key] = true
		t.Run(l.path, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { decodes(t, l) }) })
	}
	if found < 10 || len(patterns) < 3 {
		t.Errorf("only %d places with %d patterns were found", found, len(patterns))
	}
}

// decodes draws a text that the schema accepts, and reads, writes and reads it again.
func decodes(t *rapid.T, l leaf) {
	text := rapid.StringMatching(l.schema.Pattern).Filter(func(s string) bool {
		return int64(len(s)) <= *l.schema.MaxLength && (l.schema.Format != "date-time" || strfmt.IsDateTime(s))
	}).Draw(t, "text")
	data, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 2 {
		value := reflect.New(l.kind)
		if err := json.Unmarshal(data, value.Interface()); err != nil {
			t.Fatalf("%s: %q passes the schema and does not decode: %v", l.path, text, err)
		}
		if data, err = json.Marshal(value.Interface()); err != nil {
			t.Fatalf("%s: %q does not encode: %v", l.path, text, err)
		}
	}
	if spent := time.Since(began); spent > time.Second {
		t.Fatalf("%s: %q takes %s", l.path, text, spent)
	}
}
