package history

import (
	"cmp"
	"time"
)

func compare(a, b Instant) int { return cmp.Compare(a, b) }

// Gap is the time between two successive successes of a run, over all its workers. The run's start and end count as successes, so that
// a database that never came back shows.
type Gap struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Length Duration  `json:"seconds"`
	// Open: the run ended before the next success.
	Open bool `json:"open,omitempty"`
}

// longestGap takes the times of successes in order.
func longestGap(begin, end Instant, successes []Instant) Gap {
	longest, last := Gap{}, begin
	consider := func(to Instant, open bool) {
		if length := to.Sub(last); length > longest.Length.Duration || longest.From.IsZero() {
			longest = Gap{From: last.Time(), To: to.Time(), Length: Duration{length}, Open: open}
		}
		last = to
	}
	for _, at := range successes {
		consider(at, false)
	}
	consider(end, true)
	return longest
}

// Outage is what a client notices: it lasts from the begin of the first request that was not acknowledged to the end of the next one,
// of any worker, that was.
type Outage struct {
	Gap
	// Requests that were not acknowledged in it.
	Requests int `json:"requests"`
}

// outages takes writes in the order of their ends.
func outages(writes []Write, end Instant) []Outage {
	var all []Outage
	var from Instant
	requests := 0
	finish := func(to Instant, open bool) {
		if requests > 0 {
			all = append(all, Outage{Requests: requests, Gap: Gap{From: from.Time(), To: to.Time(), Length: Duration{to.Sub(from)}, Open: open}})
		}
		requests = 0
	}
	for _, w := range writes {
		switch {
		case w.Outcome == Acknowledged:
			finish(w.End, false)
		case requests == 0:
			from, requests = w.Begin, 1
		default:
			from, requests = min(from, w.Begin), requests+1
		}
	}
	finish(end, true)
	return all
}

// longestOutage is nil without one.
func longestOutage(all []Outage) *Outage {
	var longest *Outage
	for i := range all {
		if longest == nil || all[i].Length.Duration > longest.Length.Duration {
			longest = &all[i]
		}
	}
	return longest
}
