package validation

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.$-]{0,127}$`)
	control     = regexp.MustCompile(`[[:cntrl:]]`)
)

// configRules are about spec.engineConfig. What an engine knows about its settings, it says itself.
var configRules = []Rule{
	{
		ID: "setting-name", Paths: []string{"spec.engineConfig"},
		CEL: `self.all(k, size(k) <= 128 && k.matches('^[A-Za-z_][A-Za-z0-9_.$-]*$'))`,
		Message: "spec.engineConfig must have names of settings as the engine spells them (letters, digits, _, ., $ and -, at most 128), " +
			"because nothing else could be written to its file; write them as max_connections",
		Check: func(s *subject) {
			for _, name := range slices.Sorted(maps.Keys(s.spec.EngineConfig)) {
				s.refuse(!settingName.MatchString(name), key("spec.engineConfig", name), name)
			}
		},
	},
	{
		ID: "setting-value", Paths: []string{"spec.engineConfig{}"},
		CEL: `!self.matches('[[:cntrl:]]')`,
		Message: "a value of spec.engineConfig must be one line without control characters, because more would be another setting; " +
			"remove the line break",
		Check: func(s *subject) {
			for _, name := range slices.Sorted(maps.Keys(s.spec.EngineConfig)) {
				value := string(s.spec.EngineConfig[name])
				s.refuse(control.MatchString(value), key("spec.engineConfig", name), value)
			}
		},
	},
	{
		ID:      "setting-owned",
		Message: "spec.engineConfig must not have settings that the operator owns",
		Check: func(s *subject) {
			if s.Engine == nil {
				return
			}
			for _, name := range slices.Sorted(maps.Keys(s.spec.EngineConfig)) {
				if way, is := owned(s.Engine.OwnedSettings(), strings.ToLower(name)); is {
					s.refuseWith(key("spec.engineConfig", name), name, "the operator owns this setting: "+way)
				}
			}
		},
	},
	{
		ID:      "setting-engine",
		Message: "spec.engineConfig must have only settings that the engine can read",
		Check: func(s *subject) {
			if s.Engine == nil || len(s.spec.EngineConfig) == 0 {
				return
			}
			for _, err := range s.Engine.ValidateConfig(s.db) {
				// What a rule of every engine has refused already need not be said twice.
				if !s.refused(err.Field) {
					s.errs = append(s.errs, err)
				}
			}
		},
	},
}

// owned finds a name among those of the operator, of which some are prefixes.
func owned(names map[string]string, name string) (way string, is bool) {
	if way, is = names[name]; is {
		return way, true
	}
	for _, pattern := range slices.Sorted(maps.Keys(names)) {
		if prefix, isPrefix := strings.CutSuffix(pattern, "*"); isPrefix && strings.HasPrefix(name, prefix) {
			return names[pattern], true
		}
	}
	return "", false
}
