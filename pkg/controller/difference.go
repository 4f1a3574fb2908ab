package controller

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Whether an object must be applied is decided without asking the API server, from what it
// recorded of our last apply: the managed fields. An object is as it should be when
//
//  1. every rendered field is one that our manager owns (whoever changes a value takes the field),
//  2. every field that our manager owns is still rendered (else it must go), and
//  3. the values are equal.
//
// The managed fields are a tree that says itself how lists are keyed, so no schema is needed:
// "f:name" is a field, `k:{"name":"x"}` the item of a list with these keys, "v:x" an item of a set,
// and "." the thing itself.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management

// difference says where the live object is not as it was rendered, "" when it is.
func difference(rendered map[string]any, live metav1.Object) (string, error) {
	owned, err := ownedFields(live.GetManagedFields())
	if err != nil {
		return "", err
	}
	if owned == nil {
		return "never applied", nil
	}
	liveFields, err := toJSON(live)
	if err != nil {
		return "", err
	}
	desired := ownable(rendered)
	if instance, ok := live.(*dbv1.DatabaseInstance); ok {
		if same, err := isSpec(desired["spec"], owned["f:spec"], &instance.Spec); err != nil || !same {
			return ".spec", err
		}
		delete(desired, "spec")
		delete(owned, "f:spec")
	}
	return compareMap("", desired, liveFields, owned), nil
}

// isSpec compares the spec of a DatabaseInstance, which is owned as a whole, as a value of its type: a
// field that says nothing is as good as one that is not there, and one that is not rendered must go.
func isSpec(desired, owned any, live *dbv1.DatabaseInstanceSpec) (bool, error) {
	if owned == nil {
		return false, nil
	}
	data, err := json.Marshal(desired)
	if err != nil {
		return false, err
	}
	var spec dbv1.DatabaseInstanceSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return false, err
	}
	return equality.Semantic.DeepEqual(&spec, live), nil
}

// ownable leaves out what identifies an object: the API server does not record it as owned.
func ownable(rendered map[string]any) map[string]any {
	desired := map[string]any{}
	for key, value := range rendered {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			desired[key] = value
		}
	}
	metadata := map[string]any{}
	if m, ok := rendered["metadata"].(map[string]any); ok {
		for key, value := range m {
			if key != "name" && key != "namespace" && key != "uid" {
				metadata[key] = value
			}
		}
	}
	if len(metadata) > 0 {
		desired["metadata"] = metadata
	}
	return desired
}

// ownedFields is the tree of fields that our manager applied, nil when it never did.
func ownedFields(entries []metav1.ManagedFieldsEntry) (map[string]any, error) {
	for _, entry := range entries {
		if entry.Manager != naming.FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var tree map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &tree); err != nil {
			return nil, fmt.Errorf("managed fields: %w", err)
		}
		return tree, nil
	}
	return nil, nil
}

func compare(path string, desired, live any, owned map[string]any) string {
	if isLeaf(owned) {
		if !covers(desired, live) || isShorter(desired, live) {
			return path
		}
		return ""
	}
	switch value := desired.(type) {
	case map[string]any:
		liveMap, _ := live.(map[string]any)
		return compareMap(path, value, liveMap, owned)
	case []any:
		liveList, _ := live.([]any)
		return compareList(path, value, liveList, owned)
	}
	return path
}

func isLeaf(owned map[string]any) bool {
	_, self := owned["."]
	return len(owned) == 0 || len(owned) == 1 && self
}

func compareMap(path string, desired, live, owned map[string]any) string {
	for field := range owned {
		if name, ok := strings.CutPrefix(field, "f:"); ok {
			if _, rendered := desired[name]; !rendered {
				return path + "." + name
			}
		}
	}
	for name, value := range desired {
		below, ok := owned["f:"+name].(map[string]any)
		if !ok {
			return path + "." + name
		}
		if where := compare(path+"."+name, value, live[name], below); where != "" {
			return where
		}
	}
	return ""
}

// compareList pairs the items of a list by the keys that the API server recorded.
func compareList(path string, desired, live []any, owned map[string]any) string {
	items := 0
	for field, below := range owned {
		var match func(any) bool
		if keys, ok := strings.CutPrefix(field, "k:"); ok {
			match = matchKeys(keys)
		} else if value, ok := strings.CutPrefix(field, "v:"); ok {
			match = matchValue(value)
		} else {
			continue
		}
		items++
		want, have := find(desired, match), find(live, match)
		if want == nil || have == nil {
			return path + "[" + field + "]"
		}
		fields, _ := below.(map[string]any)
		if where := compare(path+"["+field+"]", want, have, fields); where != "" {
			return where
		}
	}
	if items != len(desired) {
		return path
	}
	return ""
}

func matchKeys(keys string) func(any) bool {
	var want map[string]any
	err := json.Unmarshal([]byte(keys), &want)
	return func(item any) bool {
		fields, ok := item.(map[string]any)
		if !ok || err != nil {
			return false
		}
		for key, value := range want {
			have, ok := fields[key]
			// A key that was left out has its default value in the record.
			if ok && !reflect.DeepEqual(have, value) {
				return false
			}
		}
		return true
	}
}

func matchValue(value string) func(any) bool {
	var want any
	err := json.Unmarshal([]byte(value), &want)
	return func(item any) bool { return err == nil && reflect.DeepEqual(item, want) }
}

func find(items []any, match func(any) bool) any {
	for _, item := range items {
		if match(item) {
			return item
		}
	}
	return nil
}

// covers is true when live has all that desired has. The API server may add defaults to it.
func covers(desired, live any) bool {
	switch want := desired.(type) {
	case map[string]any:
		have, ok := live.(map[string]any)
		if !ok {
			return len(want) == 0 && live == nil
		}
		for key, value := range want {
			if !covers(value, have[key]) {
				return false
			}
		}
		return true
	case []any:
		have, ok := live.([]any)
		if !ok || len(want) != len(have) {
			return len(want) == 0 && live == nil
		}
		for i := range want {
			if !covers(want[i], have[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(desired, live)
}

// isShorter is true for a map of texts, as a selector, that is to have fewer keys: nothing adds
// defaults to those.
func isShorter(desired, live any) bool {
	want, isMap := desired.(map[string]any)
	have, wasMap := live.(map[string]any)
	if !isMap || !wasMap || len(want) >= len(have) {
		return false
	}
	for _, value := range have {
		if _, isText := value.(string); !isText {
			return false
		}
	}
	return true
}

// toJSON is the JSON form of an object, with whole numbers as int64.
func toJSON(object any) (map[string]any, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(bytes.TrimSpace(data), &fields); err != nil {
		return nil, err
	}
	return fields, nil
}
