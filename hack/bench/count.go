package main

import (
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// Counting: what the operator's metrics say.

// families are metrics by name.
type families map[string]*dto.MetricFamily

// sum is that of all series of a counter or gauge.
func (f families) sum(name string) float64 {
	n := 0.0
	for _, m := range f[name].GetMetric() {
		n += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
	}
	return n
}

// by sums the series of a counter by the value of one label.
func (f families) by(name, label string) map[string]float64 {
	sums := map[string]float64{}
	for _, m := range f[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				sums[l.GetValue()] += m.GetCounter().GetValue()
			}
		}
	}
	return sums
}

// writes is the number of requests that may have changed something.
func (f families) writes() float64 {
	n := 0.0
	for method, count := range f.by("rest_client_requests_total", "method") {
		if method != "GET" {
			n += count
		}
	}
	return n
}

// quantiles describe a distribution, of seconds.
type quantiles struct {
	Count float64 `json:"count"`
	Sum   float64 `json:"sum,omitempty"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
	// Top is the last bound of a histogram, when there were samples above it: what is said to be that
	// much may be any more.
	Top float64 `json:"top,omitempty"`
}

// histogram merges the series of a histogram. Quantiles are interpolated in their bucket, as
// Prometheus does; Max is the upper bound of the last bucket in use.
func (f families) histogram(name string) quantiles {
	var q quantiles
	cumulative := map[float64]uint64{}
	for _, m := range f[name].GetMetric() {
		h := m.GetHistogram()
		q.Count += float64(h.GetSampleCount())
		q.Sum += h.GetSampleSum()
		for _, b := range h.GetBucket() {
			cumulative[b.GetUpperBound()] += b.GetCumulativeCount()
		}
	}
	if q.Count == 0 {
		return q
	}
	bounds := make([]float64, 0, len(cumulative))
	for bound := range cumulative {
		if !math.IsInf(bound, 0) {
			bounds = append(bounds, bound)
		}
	}
	slices.Sort(bounds)
	q.P50, q.P99, q.Max = interpolate(bounds, cumulative, .5*q.Count), interpolate(bounds, cumulative, .99*q.Count), interpolate(bounds, cumulative, q.Count)
	if i, _ := slices.BinarySearch(bounds, q.Max); i < len(bounds) {
		q.Max = bounds[i]
	}
	if last := len(bounds) - 1; last >= 0 && float64(cumulative[bounds[last]]) < q.Count {
		q.Top = bounds[last]
	}
	return q
}

// interpolate finds the value below which rank samples are. Beyond the last bound it is that bound.
func interpolate(bounds []float64, cumulative map[float64]uint64, rank float64) float64 {
	lower, before := 0.0, 0.0
	for _, bound := range bounds {
		upTo := float64(cumulative[bound])
		if upTo >= rank && upTo > before {
			return lower + (bound-lower)*(rank-before)/(upTo-before)
		}
		lower, before = bound, upTo
	}
	return lower
}
