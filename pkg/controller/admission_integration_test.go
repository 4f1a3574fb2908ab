//go:build integration

package controller_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/platform-io/database-operator/pkg/testing/apiserver"
)

// installAdmission applies manifests/admission to the API server.
func (w *world) installAdmission() {
	w.Helper()
	root, err := apiserver.Root()
	if err != nil {
		w.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "manifests", "admission", "agents.yaml"))
	if err != nil {
		w.Fatal(err)
	}
	policy, binding := admissionv1.ValidatingAdmissionPolicy{}, admissionv1.ValidatingAdmissionPolicyBinding{}
	documents := strings.Split(string(data), "\n---\n")
	for i, into := range []any{&policy, &binding} {
		if err := yaml.UnmarshalStrict([]byte(documents[i]), into); err != nil {
			w.Fatal(err)
		}
	}
	client := w.kube.AdmissionregistrationV1()
	if _, err := client.ValidatingAdmissionPolicies().Create(w.Context(), &policy, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
	if _, err := client.ValidatingAdmissionPolicyBindings().Create(w.Context(), &binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
}

func TestTheAdmissionPolicyHoldsAgentsToTheirRoleLabel(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	w.installAdmission()
	config := rest.CopyConfig(w.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + w.namespace + ":db-agent"}
	agent := kubernetes.NewForConfigOrDie(config).CoreV1().Pods(w.namespace)
	patch := func(text string) error {
		_, err := agent.Patch(t.Context(), "db-0", types.MergePatchType, []byte(text), metav1.PatchOptions{})
		return err
	}
	tries := 0
	w.eventually("the policy is enforced", func() (bool, string) {
		// Another value each time: what is there already is no change.
		tries++
		err := patch(fmt.Sprintf(`{"metadata":{"labels":{"try":"%d"}}}`, tries))
		return err != nil && strings.Contains(err.Error(), "an agent may change no label"), errorText(err)
	})
	// One that somebody has set is not an agent's to replace.
	if _, err := w.kube.CoreV1().Pods(w.namespace).Patch(t.Context(), "db-0", types.MergePatchType, []byte(`{"metadata":{"finalizers":["somebody.example.com/waits"]}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		`{"metadata":{"labels":{"db.platform.io/database":"other"}}}`,
		`{"metadata":{"labels":{"db.platform.io/group":null}}}`,
		`{"metadata":{"labels":{"db.platform.io/role":"king"}}}`,
		`{"metadata":{"annotations":{"a":"b"}}}`,
		`{"metadata":{"finalizers":["a.b/c"]}}`,
		`{"metadata":{"finalizers":null}}`,
		`{"spec":{"activeDeadlineSeconds":1}}`,
	} {
		if err := patch(bad); err == nil {
			t.Errorf("an agent may patch %s", bad)
		}
	}
	for _, role := range []string{"none", "replica", "primary"} {
		if err := patch(`{"metadata":{"labels":{"db.platform.io/role":"` + role + `"}}}`); err != nil {
			t.Errorf("an agent may not set its role: %v", err)
		}
	}
	pod, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("%v %v", pod, err)
	}
}
