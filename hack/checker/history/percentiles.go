package history

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Percentiles of durations, by nearest rank: each is one that was measured.
type Percentiles struct {
	Count int      `json:"count"`
	P50   Duration `json:"p50"`
	P95   Duration `json:"p95"`
	Max   Duration `json:"max"`
}

// PercentilesOf computes them.
func PercentilesOf(durations []time.Duration) Percentiles {
	if len(durations) == 0 {
		return Percentiles{}
	}
	sorted := slices.Sorted(slices.Values(durations))
	rank := func(share float64) Duration {
		return Duration{sorted[int(math.Ceil(share*float64(len(sorted))))-1]}
	}
	return Percentiles{Count: len(sorted), P50: rank(0.50), P95: rank(0.95), Max: rank(1)}
}

func (p Percentiles) String() string {
	if p.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p95 %s, max %s of %d", short(p.P50), short(p.P95), short(p.Max), p.Count)
}

// short rounds for the eye.
func short(d Duration) string {
	if d.Duration < time.Second {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// Repeated is what many runs of one fault gave.
type Repeated struct {
	Reports int `json:"reports"`
	// Bad reports have failures.
	Bad int `json:"bad"`
	// Gap and Outage are the longest of every report.
	Gap    Percentiles `json:"gap"`
	Outage Percentiles `json:"outage"`
	// Lost writes, of all reports; Failed requests.
	Lost   int `json:"lost"`
	Failed int `json:"failed"`
}

// Repeat puts reports together. Runs that used a target in place of the Service have no part in the times.
func Repeat(reports []Report) Repeated {
	r := Repeated{Reports: len(reports)}
	var gaps, breaks []time.Duration
	for i := range reports {
		report := &reports[i]
		if len(report.Failures) > 0 {
			r.Bad++
		}
		r.Lost += report.Lost.Count
		gap, outage := time.Duration(0), time.Duration(0)
		for j := range report.Runs {
			run := &report.Runs[j]
			if run.Target != "" {
				continue
			}
			r.Failed += run.Failed
			gap = max(gap, run.Gap.Length.Duration)
			if run.LongestOutage != nil {
				outage = max(outage, run.LongestOutage.Length.Duration)
			}
		}
		gaps, breaks = append(gaps, gap), append(breaks, outage)
	}
	r.Gap, r.Outage = PercentilesOf(gaps), PercentilesOf(breaks)
	return r
}
