// Package peers compares databases of this operator with those of others, after the same faults with the same checking client.
//
//  1. The fault tests' bed (hack/e2e) lets the faults befall both, and counts what both ask of the API server while nothing happens.
//  2. Compare puts the two of a pair side by side, fault by fault. A ratio is the peer's number divided by ours: above 1 we are better.
//  3. The file of JSON has everything; the tables are for README.
package peers

import (
	"slices"
	"time"

	"github.com/platform-io/database-operator/hack/audit"
	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/e2e/results"
)

// Pair is two databases that promise the same.
type Pair struct {
	Name string `json:"name"`
	Ours string `json:"ours"`
	Peer string `json:"peer"`
}

// Settled is what was asked of the API server for a database to which nothing happened.
type Settled struct {
	Database string           `json:"database"`
	Span     history.Duration `json:"spanSeconds"`
	// Own are the requests of its pods and of its operator, Others those of the control plane that theirs caused. A watch counts once.
	Own    []audit.Count `json:"own"`
	Others []audit.Count `json:"others"`
}

// Rates are requests a minute.
type Rates struct {
	Reads  float64 `json:"reads"`
	Writes float64 `json:"writes"`
	Others float64 `json:"others"`
}

// Rates of the span.
func (s *Settled) Rates() Rates {
	perMinute := func(n int) float64 { return float64(n) / s.Span.Minutes() }
	writes := audit.Total(s.Own, audit.IsWrite)
	return Rates{
		Reads: perMinute(audit.Total(s.Own, audit.IsAny) - writes), Writes: perMinute(writes), Others: perMinute(audit.Total(s.Others, audit.IsAny)),
	}
}

// Side is what all runs of a fault did to one database.
type Side struct {
	Runs int `json:"runs"`
	// Gap is the time without an acknowledged write, Recovered that from the fault's end until every instance was ready.
	Gap       history.Percentiles `json:"gap"`
	Recovered history.Percentiles `json:"recovered"`
	// Lost are rows that were acknowledged and are gone, Failed requests that failed.
	Lost   int `json:"lost"`
	Failed int `json:"failed"`
	// TwoPrimaries are the runs in which two acknowledged at one time.
	TwoPrimaries int `json:"twoPrimaries"`
	// Unfinished runs did not end as they should, whatever the clients saw.
	Unfinished int `json:"unfinished"`
}

// Comparison is one fault on both of a pair.
type Comparison struct {
	Pair  string `json:"pair"`
	Fault string `json:"fault"`
	Ours  Side   `json:"ours"`
	Peer  Side   `json:"peer"`
	// GapRatio is that of the medians; nil where one is not known.
	GapRatio *float64 `json:"gapRatio"`
}

// File is all that was measured.
type File struct {
	results.File
	// Versions are those of the programs, for people.
	Versions    string       `json:"versions"`
	Settled     []Settled    `json:"settled"`
	Pairs       []Pair       `json:"pairs"`
	Comparisons []Comparison `json:"comparisons"`
}

// Compare fills in the comparisons, with the faults in the order in which they first happened.
func (f *File) Compare() {
	f.Comparisons = nil
	for _, pair := range f.Pairs {
		for _, fault := range f.faults(pair) {
			c := Comparison{Pair: pair.Name, Fault: fault, Ours: f.side(fault, pair.Ours), Peer: f.side(fault, pair.Peer)}
			if c.Ours.Runs > 0 && c.Peer.Runs > 0 {
				c.GapRatio = ratio(c.Peer.Gap.P50.Seconds(), c.Ours.Gap.P50.Seconds())
			}
			f.Comparisons = append(f.Comparisons, c)
		}
	}
}

func (f *File) faults(pair Pair) []string {
	var names []string
	for i := range f.Runs {
		run := &f.Runs[i]
		if (run.Database == pair.Ours || run.Database == pair.Peer) && !slices.Contains(names, run.Fault) {
			names = append(names, run.Fault)
		}
	}
	return names
}

func (f *File) side(fault, database string) Side {
	var reports []history.Report
	var recovered []time.Duration
	s := Side{}
	for i := range f.Runs {
		run := &f.Runs[i]
		switch {
		case run.Fault != fault || run.Database != database:
			continue
		case len(run.Report.Runs) == 0:
			s.Unfinished++
			continue
		case len(run.Report.Interleavings) > 0:
			s.TwoPrimaries++
		}
		reports, recovered = append(reports, run.Report), append(recovered, run.Recovered.Duration)
	}
	all := history.Repeat(reports)
	s.Runs, s.Gap, s.Lost, s.Failed, s.Recovered = all.Reports, all.Gap, all.Lost, all.Failed, history.PercentilesOf(recovered)
	return s
}

// ratio is nil where there is none.
func ratio(peer, ours float64) *float64 {
	if ours == 0 {
		return nil
	}
	return new(peer / ours)
}

func (f *File) settled(database string) *Settled {
	for i := range f.Settled {
		if f.Settled[i].Database == database {
			return &f.Settled[i]
		}
	}
	return nil
}
