package history

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Evidence is one write that is not as it should be.
type Evidence struct {
	ID
	// At is when the outcome, or the read, was there.
	At time.Time `json:"at,omitzero"`
	// Server acknowledged the write, or showed it to the reader.
	Server *Server `json:"server,omitempty"`
	// Rows are the terms that its rows name.
	Rows []Term `json:"rows,omitempty"`
}

// Finding counts writes that are not as they should be, and shows some.
type Finding struct {
	Count    int        `json:"count"`
	First    *time.Time `json:"first,omitempty"`
	Last     *time.Time `json:"last,omitempty"`
	Examples []Evidence `json:"examples,omitempty"`
}

const maxExamples = 20

func (f *Finding) add(e Evidence) {
	f.Count++
	if !e.At.IsZero() {
		if f.First == nil || e.At.Before(*f.First) {
			f.First = &e.At
		}
		if f.Last == nil || e.At.After(*f.Last) {
			f.Last = &e.At
		}
	}
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, e)
	}
}

func (f *Finding) sort() {
	slices.SortFunc(f.Examples, func(a, b Evidence) int {
		return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Sequence, b.Sequence))
	})
}

// Report is the judgement.
type Report struct {
	// Failures are empty when all is well.
	Failures []string    `json:"failures"`
	Runs     []RunReport `json:"runs"`

	Acknowledged int `json:"acknowledged"`
	Failed       int `json:"failed"`
	Unknown      int `json:"unknown"`
	// UnknownPresent are those of the unknown that are there.
	UnknownPresent int `json:"unknownPresent"`
	// Unrecorded rows are in no log: they were in flight when a checker was killed.
	Unrecorded int `json:"unrecorded"`
	// Torn lines of the logs.
	Torn int `json:"torn"`

	// Lost: acknowledged, and not there.
	Lost Finding `json:"lost"`
	// Duplicated: there more than once.
	Duplicated Finding `json:"duplicated"`
	// Resurrected: failed, and there.
	Resurrected Finding `json:"resurrected"`
	// TwoEpochs: acknowledged by one term, and there as written by another.
	TwoEpochs Finding `json:"twoEpochs"`
	// Vanished: seen by a reader, and not there.
	Vanished Finding `json:"vanished"`

	Terms         []TermReport   `json:"terms"`
	Interleavings []Interleaving `json:"interleavings"`
	// ReadFrom is the server that the rows were read from.
	ReadFrom  Server `json:"readFrom"`
	WallClock bool   `json:"wallClock,omitempty"`
}

// clock is how times are shown.
const clock = "15:04:05.000000"

// WriteText writes the report for people.
func (r *Report) WriteText(out io.Writer) error {
	text := &strings.Builder{}
	for i := range r.Runs {
		r.Runs[i].text(text)
	}
	fmt.Fprintf(text, "rows read from %s\n", r.ReadFrom.Term)
	for i := range r.Terms {
		r.Terms[i].text(text)
	}
	fmt.Fprintf(text, "acknowledged %d, failed %d, unknown %d (there: %d), unrecorded %d, torn lines %d\n",
		r.Acknowledged, r.Failed, r.Unknown, r.UnknownPresent, r.Unrecorded, r.Torn)
	for _, f := range []struct {
		name    string
		finding *Finding
	}{
		{"lost", &r.Lost},
		{"duplicated", &r.Duplicated},
		{"resurrected", &r.Resurrected},
		{"two epochs", &r.TwoEpochs},
		{"vanished", &r.Vanished},
	} {
		f.finding.text(text, f.name)
	}
	for i := range r.Interleavings {
		r.Interleavings[i].text(text)
	}
	if r.WallClock {
		text.WriteString("note: the logs come from several clocks, so the order of their events is that of wall clocks\n")
	}
	for i := range r.Terms {
		if r.Terms[i].Acknowledged > 0 && r.Terms[i].Epoch > r.ReadFrom.Epoch {
			fmt.Fprintf(text, "note: epoch %d acknowledged writes, but the rows were read from epoch %d\n", r.Terms[i].Epoch, r.ReadFrom.Epoch)
		}
	}
	if len(r.Failures) == 0 {
		text.WriteString("OK\n")
	}
	for _, failure := range r.Failures {
		fmt.Fprintf(text, "FAILED: %s\n", failure)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (r *RunReport) text(text *strings.Builder) {
	fmt.Fprintf(text, "run %s", r.Run)
	if r.Target != "" {
		fmt.Fprintf(text, " to %s alone", r.Target)
	}
	fmt.Fprintf(text, ", %s to %s", r.Begin.Format(clock), r.End.Format(clock))
	if !r.Complete {
		text.WriteString(", cut short")
	}
	text.WriteString("\n")
	if r.Requests > 0 {
		fmt.Fprintf(text, "  requests %d: acknowledged %d, failed %d, unknown %d (confirmed under reservation: %d); reconnects %d\n",
			r.Requests, r.Acknowledged, r.Failed, r.Unknown, r.Reserved, r.Reconnects)
		fmt.Fprintf(text, "  latency %s\n", r.Latency)
		fmt.Fprintf(text, "  longest write gap %s\n", r.Gap)
	}
	if r.LongestOutage != nil {
		fmt.Fprintf(text, "  longest of %d outages %s, %d requests\n", r.Outages, r.LongestOutage.Gap, r.LongestOutage.Requests)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		fmt.Fprintf(text, "  %6d x %s\n", r.Reasons[reason], reason)
	}
	if r.Reads != nil {
		fmt.Fprintf(text, "  reads %d: failed %d; longest read gap %s\n", r.Reads.Requests, r.Reads.Failed, r.Reads.Gap)
	}
	if s := r.Sessions; s != nil {
		fmt.Fprintf(text, "  sessions opened %d, refused %d, ended %d, still answering %d, dead %d\n", s.Opened, s.Refused, s.Ended, s.Answer, s.Dead)
		if s.FirstEnd != nil {
			fmt.Fprintf(text, "  sessions were ended from %s to %s\n", s.FirstEnd.Format(clock), s.LastEnd.Format(clock))
		}
	}
	if r.Stalls > 0 {
		fmt.Fprintf(text, "  the checker itself stood still %d times, up to %s\n", r.Stalls, short(r.LongestStall))
	}
}

// WriteText writes the report for people.
func (r *RunReport) WriteText(out io.Writer) error {
	text := &strings.Builder{}
	r.text(text)
	_, err := io.WriteString(out, text.String())
	return err
}

func (g Gap) String() string {
	open := ""
	if g.Open {
		open = ", the end of the run"
	}
	return fmt.Sprintf("%s (%s to %s%s)", short(g.Length), g.From.Format(clock), g.To.Format(clock), open)
}

func (t *TermReport) text(text *strings.Builder) {
	fmt.Fprintf(text, "  %s: rows %d, acknowledged %d", t.Term, t.Rows, t.Acknowledged)
	if t.First != nil {
		fmt.Fprintf(text, " (%s to %s)", t.First.Format(clock), t.Last.Format(clock))
	}
	text.WriteString("\n")
}

func (f *Finding) text(text *strings.Builder, name string) {
	fmt.Fprintf(text, "%s %d", name, f.Count)
	if f.First != nil {
		fmt.Fprintf(text, " (%s to %s)", f.First.Format(clock), f.Last.Format(clock))
	}
	text.WriteString("\n")
	for _, e := range f.Examples {
		fmt.Fprintf(text, "  run %s worker %d sequence %d", e.Run, e.Worker, e.Sequence)
		if e.Server != nil {
			fmt.Fprintf(text, ", %s from %s at %s", e.At.Format(clock), e.Server.Term, e.Server.Position)
		}
		for _, term := range e.Rows {
			fmt.Fprintf(text, ", row of %s", term)
		}
		text.WriteString("\n")
	}
}

func (i *Interleaving) text(text *strings.Builder) {
	how := "came back"
	if i.Alternating {
		how = "two primaries"
	}
	fmt.Fprintf(text, "INTERLEAVING (%s)\n  newer: %s, first acknowledged %s\n  older: %s, %d later acknowledgements (%s to %s), %d overlapping\n",
		how, i.Newer, i.NewerFirst.Format(clock), i.Older, i.Late, i.LateFirst.Format(clock), i.LateLast.Format(clock), i.Overlapping)
}
