package resources

import "encoding/json"

// convert turns an API value into its apply configuration, which has the same JSON form.
func convert[C any](value any) *C {
	out := new(C)
	overlay(value, out)
	return out
}

// overlay sets in out every field that is set in value. Both have the same JSON form, so it
// cannot fail; a field that JSON could not hold would be left out, and a builder's test would see it.
func overlay(value, out any) {
	if data, err := json.Marshal(value); err == nil {
		_ = json.Unmarshal(data, out)
	}
}
