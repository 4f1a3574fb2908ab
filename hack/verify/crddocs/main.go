// Command crddocs checks that the CRDs read like documentation, because `kubectl explain` is where most users read
// them. It prints what is missing, and fails if anything is.
//
//  1. Every field has a description of at least three words.
//  2. It names the largest length, number of items or value, and every allowed word, and the default that the API server sets.
//  3. In a spec that users write, it also says "Required" or "Default:".
//
// The fields inside of types of Kubernetes (affinity, tolerations, conditions) have the words of Kubernetes.
package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// foreign are the fields whose content is of a type of Kubernetes.
var foreign = []string{
	"spec.resources", "spec.scheduling.tolerations", "spec.scheduling.affinity", "spec.scheduling.topologySpreadConstraints",
	"spec.scheduling.podSecurityContext", "status.conditions",
}

// machine are the kinds whose spec no user writes.
var machine = []string{"DatabaseInstance"}

func main() {
	folder := "manifests/crd"
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	problems, err := check(folder)
	for _, problem := range problems {
		fmt.Println(problem)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case len(problems) > 0:
		fmt.Fprintf(os.Stderr, "%d descriptions are not complete; correct the comments in pkg/apis, and run `make generate`\n", len(problems))
		os.Exit(1)
	}
}

// check reads the CRDs of a folder and returns what is wrong with their descriptions.
func check(folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*_*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no CRDs in %s: %w", folder, err)
	}
	var problems []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a CRD: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		l := &linter{kind: crd.Spec.Names.Kind}
		for _, version := range crd.Spec.Versions {
			l.object("", *version.Schema.OpenAPIV3Schema)
		}
		problems = append(problems, l.problems...)
	}
	return problems, nil
}

type linter struct {
	kind     string
	problems []string
}

func (l *linter) add(path, problem string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf("%s %s: %s", l.kind, path, fmt.Sprintf(problem, args...)))
}

// object checks the fields of an object and all that is below them.
func (l *linter) object(path string, schema apiextensionsv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		field := schema.Properties[name]
		at := strings.TrimPrefix(path+"."+name, ".")
		if at == "apiVersion" || at == "kind" || at == "metadata" {
			continue
		}
		l.field(at, field, slices.Contains(schema.Required, name))
		if slices.Contains(foreign, at) {
			continue
		}
		l.object(at, field)
		if field.Items != nil && field.Items.Schema != nil {
			l.object(at+"[]", *field.Items.Schema)
		}
		if field.AdditionalProperties != nil && field.AdditionalProperties.Schema != nil {
			l.object(at+"{}", *field.AdditionalProperties.Schema)
		}
	}
}

func (l *linter) field(path string, schema apiextensionsv1.JSONSchemaProps, required bool) {
	// Line breaks are the generator's, and thousands have commas or not.
	description := strings.Join(strings.Fields(schema.Description), " ")
	if len(strings.Fields(description)) < 3 {
		l.add(path, "the description is less than three words: %q", description)
		return
	}
	written := strings.HasPrefix(path, "spec.") && !slices.Contains(machine, l.kind)
	switch {
	case !written:
	case required && !strings.Contains(description, "Required"):
		l.add(path, `is required, and the description does not say "Required"`)
	case !required && !strings.Contains(description, "Default:") && !strings.Contains(description, "Required") && !strings.Contains(description, "Exactly one"):
		l.add(path, `the description says neither "Default:" nor when it is "Required"`)
	}
	for _, fact := range facts(schema) {
		if !strings.Contains(strings.ReplaceAll(description, ",", ""), fact) {
			l.add(path, "the description does not mention %s", fact)
		}
	}
}

// facts are what a description must mention, as it would write it, without commas.
func facts(schema apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	if schema.Default != nil {
		if text := strings.Trim(string(schema.Default.Raw), `"`); !strings.HasPrefix(text, "{") {
			out = append(out, text)
		}
	}
	for _, value := range schema.Enum {
		out = append(out, strings.Trim(string(value.Raw), `"`))
	}
	if len(schema.Enum) == 0 && !formed(schema) {
		for _, limit := range []*int64{schema.MaxLength, schema.MaxItems, schema.MaxProperties} {
			if limit != nil {
				out = append(out, strconv.FormatInt(*limit, 10))
			}
		}
	}
	for _, limit := range []*float64{schema.Minimum, schema.Maximum} {
		if limit != nil && *limit > math.MinInt32 && *limit < math.MaxInt32 {
			out = append(out, strconv.FormatFloat(*limit, 'f', -1, 64))
		}
	}
	return out
}

// formed says whether the form bounds a text, so that its length says nothing: quantities, times and durations.
func formed(schema apiextensionsv1.JSONSchemaProps) bool {
	return schema.XIntOrString || schema.Format == "date-time" ||
		strings.Contains(schema.Pattern, "ms|s|m|h)") || strings.HasPrefix(schema.Pattern, "^([01][0-9]")
}
