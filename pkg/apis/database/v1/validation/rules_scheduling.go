package validation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// schedulingRules are about what every pod gets. The API server would refuse it only in the StatefulSet, where nobody
// wrote it.
var schedulingRules = []Rule{
	{
		ID:      "node-selector",
		Message: "spec.scheduling.nodeSelector must have labels as nodes can have them, because no pod could be made with another",
		Check: func(s *subject) {
			if s.spec.Scheduling == nil {
				return
			}
			selector := s.spec.Scheduling.NodeSelector
			for _, name := range slices.Sorted(maps.Keys(selector)) {
				at := key("spec.scheduling.nodeSelector", name)
				s.named(at, name, validation.IsQualifiedName(name), "write it as disktype or example.com/disktype")
				s.named(at, selector[name], validation.IsValidLabelValue(selector[name]), "write it as ssd")
			}
		},
	},
	{
		ID:      "toleration",
		Message: "a toleration must be one that a taint can match, because no pod could be made with another",
		Check: func(s *subject) {
			if s.spec.Scheduling == nil {
				return
			}
			for i := range s.spec.Scheduling.Tolerations {
				s.toleration(fmt.Sprintf("spec.scheduling.tolerations[%d]", i), &s.spec.Scheduling.Tolerations[i])
			}
		},
	},
	{
		ID: "priority-class",
		Message: "spec.scheduling.priorityClassName must be the name of a PriorityClass (a-z, 0-9, - and ., a letter or digit at both ends), because no pod could be made with another; " +
			"write it as kubectl get priorityclasses shows it, or leave it out",
		Check: func(s *subject) {
			if s.spec.Scheduling != nil {
				name := s.spec.Scheduling.PriorityClassName
				s.refuse(name != "" && len(validation.IsDNS1123Subdomain(name)) > 0, "spec.scheduling.priorityClassName", name)
			}
		},
	},
}

// named refuses a name for what Kubernetes says against it.
func (s *subject) named(path, name string, against []string, way string) {
	if len(against) > 0 {
		s.refuseWith(path, name, s.rule.Message+" ("+strings.Join(against, "; ")+"); "+way)
	}
}

// toleration refuses what a taint cannot match.
func (s *subject) toleration(path string, t *corev1.Toleration) {
	refuse := func(bad bool, field string, value any, way string) {
		if bad {
			s.refuseWith(path+"."+field, value, s.rule.Message+"; "+way)
		}
	}
	if t.Key != "" {
		s.named(path+".key", t.Key, validation.IsQualifiedName(t.Key), "write it as the taint has it")
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		refuse(t.Value != "", "value", t.Value, "remove the value, or set operator: Equal")
	case corev1.TolerationOpEqual, "":
		refuse(t.Key == "", "key", t.Key, "set the key of the taint, or operator: Exists, which tolerates every taint")
		s.named(path+".value", t.Value, validation.IsValidLabelValue(t.Value), "write it as the taint has it")
	case corev1.TolerationOpLt, corev1.TolerationOpGt:
		// A cluster that does not compare numbers refuses them in the StatefulSet, and says so.
		refuse(t.Key == "", "key", t.Key, "set the key of the taint")
		number, err := strconv.ParseInt(t.Value, 10, 64)
		refuse(err != nil || strconv.FormatInt(number, 10) != t.Value, "value", t.Value, "write a whole number, as 100")
	default:
		refuse(true, "operator", t.Operator, "set it to Equal, with a value, or to Exists, without one")
	}
	switch t.Effect {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		refuse(true, "effect", t.Effect, "set it to NoSchedule, PreferNoSchedule or NoExecute, or leave it out for all of them")
	}
	refuse(t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute, "effect", t.Effect, "set it to NoExecute, or remove tolerationSeconds, which is for NoExecute alone")
}
