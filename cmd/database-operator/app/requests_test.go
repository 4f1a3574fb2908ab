package app

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRequestsAreNamedAsRBACNamesThem(t *testing.T) {
	for _, c := range []struct{ method, target, content, verb, resource string }{
		{"GET", "/api/v1/pods?labelSelector=a&watch=true", "", "watch", "pods"},
		{"GET", "/api/v1/pods?limit=500", "", "list", "pods"},
		{"GET", "/api/v1/namespaces/ns/pods", "", "list", "pods"},
		{"GET", "/api/v1/namespaces/ns/secrets/db-accounts", "", "get", "secrets"},
		{"GET", "/api/v1/namespaces/ns", "", "get", "namespaces"},
		{"PATCH", "/apis/apps/v1/namespaces/ns/statefulsets/db", "application/apply-patch+yaml", "apply", "statefulsets"},
		{"PATCH", "/apis/db.platform.io/v1/namespaces/ns/databases/db/status", "application/merge-patch+json", "patch", "databases/status"},
		{"POST", "/apis/events.k8s.io/v1/namespaces/ns/events", "", "create", "events"},
		{"PUT", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l", "", "update", "leases"},
		{"DELETE", "/api/v1/namespaces/ns/pods/db-0", "", "delete", "pods"},
		{"GET", "/version", "", "get", "none"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.target, http.NoBody)
		r.Header.Set("Content-Type", c.content)
		if verb, resource := classify(r); verb != c.verb || resource != c.resource {
			t.Errorf("%s %s is %s %s, want %s %s", c.method, c.target, verb, resource, c.verb, c.resource)
		}
	}
}
