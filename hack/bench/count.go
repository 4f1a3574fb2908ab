package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// Counting: what the audit log and the operator's metrics say.

// request is one of the operator's, from the audit log.
type request struct {
	at             time.Time
	verb, resource string
}

// count is how many requests there were of a verb and a resource.
type count struct {
	Verb     string `json:"verb"`
	Resource string `json:"resource"`
	N        int    `json:"n"`
}

func readAudit(path, userAgent string) ([]request, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	return parseAudit(file, userAgent)
}

// parseAudit takes the requests of one user agent. Watches are counted when they begin.
func parseAudit(log io.Reader, userAgent string) ([]request, error) {
	var requests []request
	reader := bufio.NewReader(log)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil // a line without end is still being written
		}
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		var event struct {
			Stage     string    `json:"stage"`
			Verb      string    `json:"verb"`
			UserAgent string    `json:"userAgent"`
			Received  time.Time `json:"requestReceivedTimestamp"`
			Object    *struct {
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
			} `json:"objectRef"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		counted := event.Stage == "ResponseComplete" && event.Verb != "watch" || event.Stage == "ResponseStarted" && event.Verb == "watch"
		if !counted || !strings.HasPrefix(event.UserAgent, userAgent) {
			continue
		}
		r := request{at: event.Received, verb: event.Verb, resource: "(none)"}
		if event.Object != nil {
			r.resource = event.Object.Resource
			if event.Object.Subresource != "" {
				r.resource += "/" + event.Object.Subresource
			}
		}
		requests = append(requests, r)
	}
}

// tally counts the requests of a span of time, most frequent first.
func tally(requests []request, from, to time.Time) []count {
	type kind struct{ verb, resource string }
	numbers := map[kind]int{}
	for _, r := range requests {
		if !r.at.Before(from) && r.at.Before(to) {
			numbers[kind{r.verb, r.resource}]++
		}
	}
	counts := make([]count, 0, len(numbers))
	for k, n := range numbers {
		counts = append(counts, count{k.verb, k.resource, n})
	}
	slices.SortFunc(counts, func(a, b count) int {
		if a.N != b.N {
			return b.N - a.N
		}
		return strings.Compare(a.Verb+a.Resource, b.Verb+b.Resource)
	})
	return counts
}

// writes are the verbs that change something.
var writes = map[string]bool{"create": true, "update": true, "patch": true, "delete": true, "deletecollection": true}

func total(counts []count, wanted func(verb string) bool) int {
	n := 0
	for _, c := range counts {
		if wanted(c.Verb) {
			n += c.N
		}
	}
	return n
}

func isWrite(verb string) bool { return writes[verb] }

func isAny(string) bool { return true }

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
