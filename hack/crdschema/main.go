// Command crdschema closes what controller-gen leaves open in the CRDs of a folder, in place.
//
// An object whose stored form does not decode into its Go type breaks every typed informer that lists it, in all
// namespaces. So a schema must accept nothing that Go refuses, also in the types of Kubernetes that ours embed:
//
//   - quantities: the usual pattern takes "1e1.5", which is none, and exponents of any length, which take for ever;
//   - times: format date-time alone takes "2026-01-01t00:00:00z";
//   - int32: the format alone does not bound a number.
//
// Values of maps get a length, so that every string has one where rules may walk it. And the paragraphs of descriptions
// become one line each: `kubectl explain` breaks lines where its window ends, and again where the Go comment did.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The forms that Go decodes, a little narrower than what it would take.
const (
	quantityPattern = `^[+-]?([0-9]{1,18}([.][0-9]{0,9})?|[.][0-9]{1,9})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$`
	timePattern     = `^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	maxMapValue     = 4096
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: crdschema FOLDER")
	}
	files, err := filepath.Glob(filepath.Join(args[0], "*_*.yaml"))
	if err != nil {
		return fmt.Errorf("finding CRDs: %w", err)
	}
	for _, file := range files {
		if err := tighten(file); err != nil {
			return fmt.Errorf("tightening %s: %w", file, err)
		}
	}
	return nil
}

func tighten(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	crd := map[string]any{}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return err
	}
	walk(crd)
	if data, err = yaml.Marshal(crd); err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte("---\n"), data...), 0o644) //nolint:gosec // not a secret
}

// walk visits every schema; a map that is none has none of the keywords.
func walk(node any) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			walk(item)
		}
	case map[string]any:
		narrow(n)
		for _, child := range n {
			walk(child)
		}
	}
}

func narrow(schema map[string]any) {
	switch {
	case is(schema, "x-kubernetes-int-or-string"):
		schema["pattern"], schema["maxLength"] = quantityPattern, 32
	case schema["type"] == "string" && schema["format"] == "date-time":
		schema["pattern"], schema["maxLength"] = timePattern, 40
	case schema["type"] == "integer" && schema["format"] == "int32":
		setDefault(schema, "minimum", -2147483648)
		setDefault(schema, "maximum", 2147483647)
	}
	if text, ok := schema["description"].(string); ok {
		schema["description"] = flow(text)
	}
	if values, ok := schema["additionalProperties"].(map[string]any); ok && values["type"] == "string" {
		setDefault(values, "maxLength", maxMapValue)
	}
}

// flow joins the lines of every paragraph that is prose; lists and samples stay as they are.
func flow(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, paragraph := range paragraphs {
		lines := strings.Split(paragraph, "\n")
		if !slices.ContainsFunc(lines, func(line string) bool { return line == "" || strings.ContainsAny(line[:1], " \t-*#") }) {
			paragraphs[i] = strings.Join(lines, " ")
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

func is(schema map[string]any, keyword string) bool {
	set, _ := schema[keyword].(bool)
	return set
}

func setDefault(schema map[string]any, keyword string, value any) {
	if _, ok := schema[keyword]; !ok {
		schema[keyword] = value
	}
}
