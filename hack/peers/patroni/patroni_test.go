package patroni

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestTheServiceLeadsWherePatroniSays: with Endpoints a selector would overwrite what Patroni writes, without them nothing else leads anywhere.
func TestTheServiceLeadsWherePatroniSays(t *testing.T) {
	for _, settings := range []Settings{Defaults(), Tuned()} {
		manifests, err := Manifests("peer", "secret", settings)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for document := range strings.SplitSeq(manifests, "\n---\n") {
			var service corev1.Service
			if !strings.Contains(document, "\nkind: Service\n") {
				continue
			}
			if err := yaml.Unmarshal([]byte(document), &service); err != nil {
				t.Fatalf("%v in\n%s", err, document)
			}
			if service.Name != "peer" {
				continue
			}
			found = true
			if selects := service.Spec.Selector[LabelRole] == RolePrimary; selects == settings.Endpoints {
				t.Errorf("endpoints %v, and the selector is %v", settings.Endpoints, service.Spec.Selector)
			}
		}
		if !found {
			t.Error("there is no Service of the primary")
		}
	}
}

// TestTheDynamicConfigurationReachesPatroni: it is JSON in a file of YAML in a manifest.
func TestTheDynamicConfigurationReachesPatroni(t *testing.T) {
	manifests, err := Manifests("peer", "secret", Tuned())
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		var object corev1.ConfigMap
		if !strings.Contains(document, "\nkind: ConfigMap\n") {
			continue
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		var file struct {
			Bootstrap struct {
				DCS map[string]any `json:"dcs"`
			} `json:"bootstrap"`
		}
		if err := yaml.Unmarshal([]byte(object.Data["patroni.yml"]), &file); err != nil {
			t.Fatal(err)
		}
		if ttl := file.Bootstrap.DCS["ttl"]; ttl != 20.0 {
			t.Errorf("ttl is %v", ttl)
		}
		return
	}
	t.Error("there is no ConfigMap")
}
