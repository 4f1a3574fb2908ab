package controller

import (
	"errors"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/consistency"
)

const metricsNamespace = "database_operator"

// The metrics of the loop. Queue depth and latency, requests by verb and code, and the leader's
// state come from component-base under their usual names.
var (
	syncDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace: metricsNamespace, Name: "sync_duration_seconds",
		Help:           "Time that one sync of a Database took, by result.",
		Buckets:        []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})

	staleSyncs = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: metricsNamespace, Name: "stale_syncs_total",
		Help:           "Syncs that were put off because a cache had not seen the last write, by resource.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"resource"})

	guardRefusals = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: metricsNamespace, Name: "guard_refusals_total",
		Help:           "Disruptive steps that a guard held back, by guard, counted once a sync.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"guard"})

	registerOnce sync.Once
)

// collector counts Databases when it is scraped, so that one that is gone leaves nothing behind.
type collector struct {
	metrics.BaseStableCollector
	databases *kind
}

var databasesDesc = metrics.NewDesc(metricsNamespace+"_databases",
	"Databases, by engine and phase.", []string{"engine", "phase"}, nil, metrics.ALPHA, "")

func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- databasesDesc }

func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	type group struct {
		engine dbv1.Engine
		phase  dbv1.DatabasePhase
	}
	counts := map[group]int{}
	for _, item := range c.databases.informer.GetStore().List() {
		if db, ok := item.(*dbv1.Database); ok {
			counts[group{db.Spec.Engine, db.Status.Phase}]++
		}
	}
	for g, n := range counts {
		ch <- metrics.NewLazyConstMetric(databasesDesc, metrics.GaugeValue, float64(n), string(g.engine), string(g.phase))
	}
}

// metrics of one controller.
type controllerMetrics struct{}

func newMetrics(databases *kind) *controllerMetrics {
	registerOnce.Do(func() {
		legacyregistry.MustRegister(syncDuration, staleSyncs, guardRefusals)
		legacyregistry.CustomMustRegister(&collector{databases: databases})
	})
	return &controllerMetrics{}
}

func (*controllerMetrics) observe(took time.Duration, err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	syncDuration.WithLabelValues(result).Observe(took.Seconds())
}

func (*controllerMetrics) stale(err error) {
	if stale := (*consistency.StaleError)(nil); errors.As(err, &stale) {
		staleSyncs.WithLabelValues(stale.Resource.String()).Inc()
	}
}

func (*controllerMetrics) refused(plan []dbv1.PlannedStep) {
	for _, step := range plan {
		if step.HeldBy != "" {
			guardRefusals.WithLabelValues(step.HeldBy).Inc()
		}
	}
}
