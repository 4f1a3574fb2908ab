package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Authorization, quotas, limits, webhooks and policies all refuse with the same code. Each is said in its own
// words, and only who lacks a permission is sent to the permissions.
func TestARefusalIsSaidInItsOwnWords(t *testing.T) {
	roles := schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}
	for name, c := range map[string]struct {
		failure error
		reason  string
	}{
		"no rule":             {forbidden("services", "db", `User "operator" cannot patch resource "services" in API group "" in the namespace "ns"`), dbv1.ReasonForbidden},
		"a role that is more": {apierrors.NewForbidden(roles, "db-agent", errors.New(`user "operator" (groups=["a"]) is attempting to grant RBAC permissions not currently held`)), dbv1.ReasonForbidden},
		"an owner's deletion": {forbidden("services", "db", "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"), dbv1.ReasonForbidden},
		"a quota":             {forbidden("services", "db", "exceeded quota: small, requested: count/services=1, used: count/services=2, limited: count/services=2"), dbv1.ReasonApplyFailed},
		"a webhook":           {forbidden("services", "db", `admission webhook "policy.example.com" denied the request: no Services on Fridays`), dbv1.ReasonApplyFailed},
		"a policy":            {forbidden("services", "db", "ValidatingAdmissionPolicy 'names' with binding 'names' denied request: no such names"), dbv1.ReasonApplyFailed},
		"a limit":             {forbidden("pods", "db-0", "maximum memory usage per Container is 1Gi, but limit is 2Gi"), dbv1.ReasonApplyFailed},
		"an invalid object":   {apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "db", nil), dbv1.ReasonApplyFailed},
		"what passes":         {errors.New("connection refused"), ""},
	} {
		reason, message := explain(fmt.Errorf("apply it: %w", c.failure))
		if reason != c.reason || reason != "" && !strings.Contains(message, c.failure.Error()) {
			t.Errorf("%s: %s: %s", name, reason, message)
		}
		if isPermission := c.reason == dbv1.ReasonForbidden; strings.Contains(message, applyRole) != isPermission {
			t.Errorf("%s: %s", name, message)
		}
	}
}
