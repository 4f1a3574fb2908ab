//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestAServiceThatWasEditedIsPutBack(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	want := maps.Clone(s.service("pg").Spec.Selector)
	service := s.service("pg")
	service.Spec.Selector = map[string]string{"app": "somebody-elses"}
	_, err := cluster.Kube.CoreV1().Services(s.namespace).Update(s.ctx, service, metav1.UpdateOptions{FieldManager: "a-person"})
	s.ok(err)
	s.wait(changeTimeout, "the selector to be put back", func() (string, error) {
		if have := s.service("pg").Spec.Selector; !contains(have, want) {
			return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: have}), nil
		}
		return "", nil
	})
}

// contains says whether all of want is in have. What others add under names of their own may stay.
func contains(have, want map[string]string) bool {
	for key, value := range want {
		if have[key] != value {
			return false
		}
	}
	return true
}

func TestAConfigMapThatWasDeletedComesBack(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before, want := s.life("pg"), s.configMap("pg")
	configMaps := cluster.Kube.CoreV1().ConfigMaps(s.namespace)
	s.ok(configMaps.Delete(s.ctx, want.Name, metav1.DeleteOptions{}))
	s.wait(changeTimeout, "the ConfigMap to come back", func() (string, error) {
		have, err := configMaps.Get(s.ctx, want.Name, metav1.GetOptions{})
		if err == nil && !maps.Equal(have.Data, want.Data) {
			return "its content differs", nil
		}
		return "", err //nolint:wrapcheck // shown as the last state
	})
	s.ready("pg")
	same(s, "pod and engine", s.life("pg"), before)
}

func TestAStatefulSetThatWasDeletedComesBackWithTheData(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	before := s.statefulSet("pg").UID
	s.ok(cluster.Kube.AppsV1().StatefulSets(s.namespace).Delete(s.ctx, "pg", metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationForeground)}))
	s.wait(provisionTimeout, "another StatefulSet", func() (string, error) {
		set, err := cluster.Kube.AppsV1().StatefulSets(s.namespace).Get(s.ctx, "pg", metav1.GetOptions{})
		if err == nil && (set.UID == before || set.Status.ReadyReplicas != 1) {
			return "its pod is not ready", nil
		}
		return "", err //nolint:wrapcheck // shown as the last state
	})
	s.ready("pg")
	s.hasRow("pg", "kept")
}

// The StatefulSet lets a pod go that lost its labels, and cannot make another one of its name.
func TestAPodThatLostItsLabelsIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before := s.life("pg")
	_, err := cluster.Kube.CoreV1().Pods(s.namespace).Patch(s.ctx, "pg-0", types.MergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{})
	s.ok(err)
	s.wait(changeTimeout, "the StatefulSet to have its pod again", func() (string, error) {
		pod, set := s.pod("pg"), s.statefulSet("pg")
		if !metav1.IsControlledBy(pod, set) || !contains(pod.Labels, set.Spec.Selector.MatchLabels) || set.Status.ReadyReplicas != 1 {
			return fmt.Sprintf("labels %v, owners %v", pod.Labels, pod.OwnerReferences), nil
		}
		return "", nil
	})
	s.ready("pg")
	s.writeRow("pg", "after the labels")
	same(s, "pod and engine", s.life("pg"), before)
}

// The tokens of a ServiceAccount end with it, and the kubelet renews them by the hour.
func TestADatabaseWhoseServiceAccountWasDeletedServesAndIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	before := s.life("pg")
	s.ok(cluster.Kube.CoreV1().ServiceAccounts(s.namespace).Delete(s.ctx, "pg-agent", metav1.DeleteOptions{}))
	s.untilReason("pg", dbv1.ConditionReady, dbv1.ReasonAgentUnauthorized)
	s.never(10*time.Second, "the pod may not be restarted while the kubelet has time", func() string {
		if have := s.life("pg"); have != before {
			return fmt.Sprintf("%+v", have)
		}
		return ""
	})
	s.hasRow("pg", "kept")
	s.ok(cluster.Kube.CoreV1().Pods(s.namespace).Delete(s.ctx, "pg-0", metav1.DeleteOptions{}))
	s.untilAnotherPodServes("pg", before.podUID)
	s.hasRow("pg", "kept")
}

func TestAForeignServiceIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	services := cluster.Kube.CoreV1().Services(s.namespace)
	foreign, err := services.Create(s.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "pg"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	s.ok(err)
	s.create(standalone("pg"))
	message := s.untilReason("pg", dbv1.ConditionProvisioned, dbv1.ReasonResourceConflict)
	if !strings.Contains(message, "pg") || !strings.Contains(strings.ToLower(message), "service") {
		t.Errorf("the condition does not name the Service: %q", message)
	}
	same(s, "the foreign Service", s.service("pg").ResourceVersion, foreign.ResourceVersion)

	s.ok(services.Delete(s.ctx, "pg", metav1.DeleteOptions{}))
	s.ready("pg")
	s.writeRow("pg", "after the conflict")
}
