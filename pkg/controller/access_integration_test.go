//go:build integration

package controller_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
	"github.com/platform-io/database-operator/pkg/testing/simulation"
)

// operatorRules are those of manifests/rbac.
func operatorRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	root, err := apiserver.Root()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "manifests", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n---\n")
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(first), &role); err != nil {
		t.Fatal(err)
	}
	return role.Rules
}

// as makes the operator run as a service account that has these rules, cluster-wide.
func (w *world) as(rules []rbacv1.PolicyRule) func(*rest.Config) {
	w.Helper()
	name := "operator-" + w.namespace
	meta := metav1.ObjectMeta{Name: name}
	if _, err := w.kube.RbacV1().ClusterRoles().Create(w.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "operator", Namespace: w.namespace}},
	}
	if _, err := w.kube.RbacV1().ClusterRoleBindings().Create(w.Context(), binding, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	return func(c *rest.Config) {
		c.Impersonate = rest.ImpersonationConfig{
			UserName: "system:serviceaccount:" + w.namespace + ":operator",
			Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + w.namespace, "system:authenticated"},
		}
	}
}

// The operator does all its work with the permissions of its manifest, and no others.
func TestTheOperatorsPermissionsSuffice(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited, w.as(operatorRules(t)))
	w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionDelete }))
	w.waitReady("db")
	w.update("db", func(db *dbv1.Database) { db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"max_connections": "50"} })
	w.waitReady("db")
	w.delete("db")
	w.gone("db", false)
}

func TestAMissingPermissionIsNamed(t *testing.T) {
	w := newWorld(t)
	var rules []rbacv1.PolicyRule
	for _, rule := range operatorRules(t) {
		if slices.Contains(rule.Resources, "statefulsets") {
			rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == "create" || v == "patch" })
		}
		rules = append(rules, rule)
	}
	w.start(unlimited, w.as(rules))
	w.create(w.basic("db"))
	db := w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonForbidden)
	if text := describe(db); !strings.Contains(text, "statefulsets") || !strings.Contains(text, "manifests/rbac") {
		t.Errorf("the condition does not say which: %s", text)
	}
}

// An agent may do what its protocol needs, on its own objects, and nothing else.
func TestAnAgentsPermissions(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.create(w.basic("other"))
	w.waitReady("db")
	agent := "system:serviceaccount:" + w.namespace + ":db-agent"
	type access struct{ verb, group, resource, subresource, name string }
	may := func(a access) bool {
		review, err := w.kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: agent, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: w.namespace, Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.subresource, Name: a.name,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return review.Status.Allowed
	}
	for _, a := range []access{
		{"get", dbv1.GroupName, "databaseinstances", "", "db-0"},
		{"watch", dbv1.GroupName, "databaseinstances", "", "db-0"},
		{"patch", dbv1.GroupName, "databaseinstances", "status", "db-0"},
		{"get", "", "pods", "", "db-0"},
		{"patch", "", "pods", "", "db-0"},
		{"get", "", "secrets", "", "db-accounts"},
		{"update", "coordination.k8s.io", "leases", "", "db-primary"},
		{"watch", "coordination.k8s.io", "leases", "", "db-primary"},
		{"create", "coordination.k8s.io", "leases", "", "db-primary"},
	} {
		if !may(a) {
			t.Errorf("the agent may not %+v", a)
		}
	}
	for _, a := range []access{
		{"patch", dbv1.GroupName, "databaseinstances", "", "db-0"},
		{"patch", dbv1.GroupName, "databaseinstances", "status", "other-0"},
		{"get", dbv1.GroupName, "databases", "", "db"},
		{"delete", "", "pods", "", "db-0"},
		{"patch", "", "pods", "", "other-0"},
		{"list", "", "pods", "", ""},
		{"get", "", "secrets", "", "other-accounts"},
		{"list", "", "secrets", "", ""},
		{"patch", "", "secrets", "", "db-accounts"},
		{"create", "coordination.k8s.io", "leases", "", ""},
		{"update", "coordination.k8s.io", "leases", "", "other-primary"},
		{"create", "coordination.k8s.io", "leases", "", "other-primary"},
		{"get", "", "configmaps", "", "db-config"},
	} {
		if may(a) {
			t.Errorf("the agent may %+v", a)
		}
	}
}

// The primary's agent puts back a Lease that somebody deleted: by PUT, because only then is the
// name known to RBAC.
func TestAnAgentPutsItsOwnLeaseBack(t *testing.T) {
	w := newWorld(t)
	op, _ := w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	op.stop()
	config := rest.CopyConfig(w.config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + w.namespace + ":db-agent",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + w.namespace, "system:authenticated"},
	}
	mine := kubernetes.NewForConfigOrDie(config).CoordinationV1().Leases(w.namespace)
	lost, err := mine.Get(t.Context(), "db-primary", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lost.Name, Labels: lost.Labels, OwnerReferences: lost.OwnerReferences}}
	if _, err := mine.Update(t.Context(), again, metav1.UpdateOptions{}); err == nil {
		t.Error("a PUT without resourceVersion wrote over a Lease that is there")
	}
	if err := w.kube.CoordinationV1().Leases(w.namespace).Delete(t.Context(), lost.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Create(t.Context(), again, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a POST: %v, want that it is forbidden", err)
	}
	if _, err := mine.Update(t.Context(), again, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a PUT: %v", err)
	}
	other := again.DeepCopy()
	other.Name = "other-primary"
	if _, err := mine.Update(t.Context(), other, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a PUT of another name: %v, want that it is forbidden", err)
	}
}

// A Database in a namespace that is being deleted does not hold it up, whatever its policy.
func TestANamespaceWithADatabaseInItGoesAway(t *testing.T) {
	w := newWorldWith(t, simulation.Options{}, "--controllers", "namespace-controller,garbage-collector-controller")
	w.start(unlimited)
	w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionSnapshot }))
	w.waitReady("db")
	if err := w.kube.CoreV1().Namespaces().Delete(t.Context(), w.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the namespace is gone", func() (bool, string) {
		ns, err := w.kube.CoreV1().Namespaces().Get(t.Context(), w.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, ""
		}
		if err != nil {
			return false, err.Error()
		}
		text := "phase " + string(ns.Status.Phase)
		for _, c := range ns.Status.Conditions {
			text += "; " + c.Message
		}
		return false, text
	})
}
