package main

import (
	"fmt"
	"io"
	"time"
)

type outcome int

const (
	passed outcome = iota
	failed
	skipped
)

// result is the end of one test or check.
type result struct {
	pkg, name string
	outcome   outcome
	// reason says why it was skipped, or why it failed.
	reason string
}

func (r result) String() string {
	text := r.name
	if r.pkg != "" {
		text = r.pkg + " " + text
	}
	if r.reason != "" {
		text += ": " + r.reason
	}
	return text
}

// summary collects what all layers had to say.
type summary struct{ layers []layerResults }

type layerResults struct {
	name    string
	took    time.Duration
	results []result
}

func (s *summary) add(name string, took time.Duration, results []result) {
	s.layers = append(s.layers, layerResults{name, took, results})
}

func (s *summary) count(o outcome) int {
	n := 0
	for _, l := range s.layers {
		n += l.count(o)
	}
	return n
}

func (l layerResults) count(o outcome) int {
	n := 0
	for _, r := range l.results {
		if r.outcome == o {
			n++
		}
	}
	return n
}

func (s *summary) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%-12s %7s %7s %8s %9s\n", "layer", "passed", "failed", "skipped", "time")
	for _, l := range s.layers {
		note := ""
		if len(l.results) == 0 {
			note = "  there are none yet"
		}
		_, _ = fmt.Fprintf(w, "%-12s %7d %7d %8d %9s%s\n",
			l.name, l.count(passed), l.count(failed), l.count(skipped), l.took.Round(time.Second), note)
	}
	s.list(w, "failed", failed)
	s.list(w, "skipped", skipped)
	_, _ = fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", s.count(passed), s.count(failed), s.count(skipped))
}

func (s *summary) list(w io.Writer, title string, o outcome) {
	if s.count(o) == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "\n%s:\n", title)
	for _, l := range s.layers {
		for _, r := range l.results {
			if r.outcome == o {
				_, _ = fmt.Fprintf(w, "  %s: %s\n", l.name, r)
			}
		}
	}
}
