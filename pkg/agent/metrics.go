package agent

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/apimachinery/pkg/api/meta"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Metrics are the agent's own. Those of the engine come from its exporter.
type Metrics struct {
	registry      *prometheus.Registry
	up            prometheus.Gauge
	ready         prometheus.Gauge
	configApplied prometheus.Gauge
	starts        prometheus.Counter
	role          *prometheus.GaugeVec
	stepErrors    *prometheus.CounterVec
	patches       *prometheus.CounterVec
	requests      *prometheus.CounterVec
}

// NewMetrics makes the metrics, in a registry of their own.
func NewMetrics() *Metrics {
	const namespace = "database_agent"
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry:      prometheus.NewRegistry(),
		up:            gauge("engine_up", "Whether the engine answers."),
		ready:         gauge("ready", "Whether the instance is ready for clients."),
		configApplied: gauge("config_applied", "Whether the engine runs with the configuration of the spec."),
		starts:        prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "engine_starts_total", Help: "Tries to start the engine."}),
		role: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "role", Help: "Role of the instance: 1 for the present one.",
		}, []string{"role"}),
		stepErrors: counters("step_errors_total", "Steps that failed, by kind.", "step"),
		patches:    counters("status_patches_total", "Writes of the status, by result.", "result"),
		requests:   counters("api_requests_total", "Requests to the API server, by method and code; code 0 is no answer.", "method", "code"),
	}
	m.registry.MustRegister(m.up, m.ready, m.configApplied, m.starts, m.role, m.stepErrors, m.patches, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registerer takes the metrics of the agent's parts.
func (m *Metrics) Registerer() prometheus.Registerer { return m.registry }

func (m *Metrics) observe(status *dbv1.DatabaseInstanceStatus) {
	m.up.Set(number(status.Phase == dbv1.InstanceRunning))
	m.ready.Set(number(status.Ready))
	m.configApplied.Set(number(meta.IsStatusConditionTrue(status.Conditions, dbv1.ConditionConfigApplied)))
	for _, role := range []dbv1.InstanceRole{dbv1.RolePrimary, dbv1.RoleReplica, dbv1.RoleNone} {
		m.role.WithLabelValues(string(role)).Set(number(role == status.Role))
	}
}

func (m *Metrics) stepFailed(kind stepKind) { m.stepErrors.WithLabelValues(string(kind)).Inc() }

func (m *Metrics) patched(err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.patches.WithLabelValues(result).Inc()
}

// CountRequests counts what goes through a transport.
func (m *Metrics) CountRequests(next http.RoundTripper) http.RoundTripper {
	return countingTransport{next: next, requests: m.requests}
}

type countingTransport struct {
	next     http.RoundTripper
	requests *prometheus.CounterVec
}

// RoundTrip implements http.RoundTripper.
func (t countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	code := 0
	if response != nil {
		code = response.StatusCode
	}
	t.requests.WithLabelValues(request.Method, strconv.Itoa(code)).Inc()
	return response, err
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
