package elector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// Metrics of the election.
type Metrics struct {
	writes       *prometheus.CounterVec
	reads        *prometheus.CounterVec
	promises     prometheus.Counter
	failsafe     prometheus.Counter
	memoryErrors prometheus.Counter
	epoch        prometheus.Gauge
	holder       prometheus.Gauge
}

// What a write of the Lease is for.
const (
	writeRenewal = "renewal"
	writeClaim   = "claim"
	writeRelease = "release"
)

// NewMetrics makes the metrics of an election, and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	const namespace, subsystem = "database_agent", "election"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	m := &Metrics{
		writes:       counters("lease_writes_total", "Writes of the Lease, by what they are for and how they ended.", "kind", "outcome"),
		reads:        counters("lease_reads_total", "Reads of the Lease, by result.", "result"),
		promises:     counter("promises_total", "Promises given to a holder that does not reach the API server."),
		failsafe:     counter("failsafe_rounds_total", "Rounds in which this holder asked the candidates for promises."),
		memoryErrors: counter("memory_errors_total", "Failed writes of what must outlive the process."),
		epoch:        gauge("epoch", "Epoch on the Lease, as last seen."),
		holder:       gauge("holder", "Whether this instance holds the Lease, as last seen."),
	}
	registerer.MustRegister(m.writes, m.reads, m.promises, m.failsafe, m.memoryErrors, m.epoch, m.holder)
	return m
}

func (m *Metrics) wrote(kind string, outcome election.Outcome) {
	m.writes.WithLabelValues(kind, string(outcome)).Inc()
}

func (m *Metrics) read(err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.reads.WithLabelValues(result).Inc()
}

func (m *Metrics) see(r *election.Record, identity string) {
	m.epoch.Set(float64(r.Epoch))
	m.holder.Set(0)
	if r.Holder == identity {
		m.holder.Set(1)
	}
}
