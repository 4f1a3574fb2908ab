package app

import (
	"net/http"
	"strconv"
	"strings"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// client-go counts requests by method and host. What an operator costs an API server shows only by
// verb and resource, as RBAC and audit logs name them.

var apiRequests = metrics.NewCounterVec(&metrics.CounterOpts{
	Namespace: "database_operator", Name: "api_requests_total",
	Help:           "Requests to the API server, by verb, resource (with its subresource) and HTTP status code; 0 is no answer.",
	StabilityLevel: metrics.ALPHA,
}, []string{"verb", "resource", "code"})

func init() { legacyregistry.MustRegister(apiRequests) } //nolint:gochecknoinits // as the metrics of client-go are

// countRequests counts what goes through a transport.
func countRequests(next http.RoundTripper) http.RoundTripper { return &requestCounter{next: next} }

type requestCounter struct{ next http.RoundTripper }

func (c *requestCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.next.RoundTrip(r)
	code := 0
	if answer != nil {
		code = answer.StatusCode
	}
	verb, resource := classify(r)
	apiRequests.WithLabelValues(verb, resource, strconv.Itoa(code)).Inc()
	return answer, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (c *requestCounter) WrappedRoundTripper() http.RoundTripper { return c.next }

// classify names the verb and the resource of a request, by the form of Kubernetes' paths:
// /api/v1/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]], and /apis/GROUP/VERSION for other groups.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
func classify(r *http.Request) (verb, resource string) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return strings.ToLower(r.Method), "none"
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	resource = parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return verbOf(r, len(parts) > 1), resource
}

func verbOf(r *http.Request, named bool) string {
	switch {
	case r.Method == http.MethodGet && (r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1"):
		return "watch"
	case r.Method == http.MethodGet && !named:
		return "list"
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/apply-patch+yaml":
		return "apply"
	}
	return strings.ToLower(r.Method)
}
