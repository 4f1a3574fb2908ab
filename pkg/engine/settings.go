package engine

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// ValidateNames refuses what is no setting's name of an engine whose names are the same in upper and lower
// case. form is what a name looks like, and says what to do about one that does not.
func ValidateNames(config map[string]dbv1.ConfigValue, name *regexp.Regexp, form string) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "engineConfig")
	lower := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if !name.MatchString(key) {
			errs = append(errs, field.Invalid(path.Key(key), key, "not a setting's name: "+form))
			continue
		}
		if other, twice := lower[strings.ToLower(key)]; twice {
			errs = append(errs, field.Duplicate(path.Key(key), fmt.Sprintf("%s and %s are one setting: keep one of them", other, key)))
		}
		lower[strings.ToLower(key)] = key
	}
	return errs
}
