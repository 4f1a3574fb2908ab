package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenSchemasAreClosed(t *testing.T) {
	schema := func(kv ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	root := schema(
		"quantity", schema("x-kubernetes-int-or-string", true, "pattern", "the usual one"),
		"time", schema("type", "string", "format", "date-time"),
		"int32", schema("type", "integer", "format", "int32"),
		"bounded", schema("type", "integer", "format", "int32", "minimum", 1),
		"map", schema("additionalProperties", schema("type", "string")),
		"list", []any{schema("type", "string", "format", "date-time")},
		"text", schema("description", "one\ntwo\n\n- three\n- four"),
	)
	walk(root)
	want := schema(
		"quantity", schema("x-kubernetes-int-or-string", true, "pattern", quantityPattern, "maxLength", 32),
		"time", schema("type", "string", "format", "date-time", "pattern", timePattern, "maxLength", 40),
		"int32", schema("type", "integer", "format", "int32", "minimum", -2147483648, "maximum", 2147483647),
		"bounded", schema("type", "integer", "format", "int32", "minimum", 1, "maximum", 2147483647),
		"map", schema("additionalProperties", schema("type", "string", "maxLength", 4096)),
		"list", []any{schema("type", "string", "format", "date-time", "pattern", timePattern, "maxLength", 40)},
		"text", schema("description", "one two\n\n- three\n- four"),
	)
	if diff := cmp.Diff(want, root); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
