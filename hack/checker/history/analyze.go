package history

import (
	"fmt"
	"slices"
	"time"
)

// Row is a row that is there.
type Row struct {
	ID
	// Term is the one that wrote it, as the row itself says.
	Term Term
}

// Readback is what a database holds.
type Readback struct {
	// From is the server that said so.
	From Server
	Rows []Row
}

// RunReport is what one run saw, without regard to the rows.
type RunReport struct {
	Run      string    `json:"run"`
	Target   string    `json:"target,omitempty"`
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	Complete bool      `json:"complete"`

	Requests     int `json:"requests"`
	Acknowledged int `json:"acknowledged"`
	Failed       int `json:"failed"`
	Unknown      int `json:"unknown"`
	// Reserved are those of the unknown that the server confirmed under a reservation.
	Reserved int `json:"reserved"`
	// Reconnects are the connections opened beyond the first of every worker.
	Reconnects int            `json:"reconnects"`
	Reasons    map[string]int `json:"reasons,omitempty"`
	// Latency of what was acknowledged.
	Latency       Percentiles `json:"latency"`
	Gap           Gap         `json:"gap"`
	Outages       int         `json:"outages"`
	LongestOutage *Outage     `json:"longestOutage,omitempty"`

	Reads    *ReadReport    `json:"reads,omitempty"`
	Sessions *SessionReport `json:"sessions,omitempty"`

	// Stalls of the checker itself: it saw nothing in that time.
	Stalls       int      `json:"stalls"`
	LongestStall Duration `json:"longestStallSeconds"`
}

// ReadReport is what the readers of a run saw.
type ReadReport struct {
	Requests int `json:"requests"`
	Failed   int `json:"failed"`
	Gap      Gap `json:"gap"`
}

// SessionReport is what became of sessions that were held open.
type SessionReport struct {
	Opened  int `json:"opened"`
	Refused int `json:"refused"`
	Ended   int `json:"ended"`
	Answer  int `json:"answer"`
	Dead    int `json:"dead"`
	// FirstEnd and LastEnd are when sessions were ended by the other side.
	FirstEnd *time.Time `json:"firstEnd,omitempty"`
	LastEnd  *time.Time `json:"lastEnd,omitempty"`
}

// Summarize says what a run saw.
func Summarize(run *Run) RunReport {
	r := RunReport{
		Run: run.ID, Target: run.Start.Target, Begin: run.Begin.Time(), End: run.End.Time(), Complete: run.Complete,
		Requests: len(run.Writes), Reasons: map[string]int{}, Stalls: len(run.Stalls),
	}
	var successes []Instant
	var latencies []time.Duration
	opened := map[int]bool{}
	for i := range run.Writes {
		w := &run.Writes[i]
		r.count(w)
		if w.Outcome == Acknowledged {
			successes, latencies = append(successes, w.End), append(latencies, w.End.Sub(w.Begin))
		}
		if w.Connected {
			if opened[w.Worker] {
				r.Reconnects++
			}
			opened[w.Worker] = true
		}
	}
	r.Latency = PercentilesOf(latencies)
	if len(run.Writes) > 0 {
		r.Gap = longestGap(run.Begin, run.End, successes)
	}
	all := outages(run.Writes, run.End)
	r.Outages, r.LongestOutage = len(all), longestOutage(all)
	r.Reads, r.Sessions = summarizeReads(run), summarizeSessions(run.Sessions)
	for _, stall := range run.Stalls {
		r.LongestStall.Duration = max(r.LongestStall.Duration, stall.End.Sub(stall.Begin))
	}
	return r
}

func (r *RunReport) count(w *Write) {
	switch w.Outcome {
	case Acknowledged:
		r.Acknowledged++
	case Failed:
		r.Failed++
	case Unknown:
		r.Unknown++
		if w.Warning != "" && w.Error == "" {
			r.Reserved++
		}
	}
	if w.Reason != "" {
		r.Reasons[string(w.Stage)+": "+w.Reason]++
	}
}

func summarizeReads(run *Run) *ReadReport {
	if len(run.Reads) == 0 {
		return nil
	}
	r := &ReadReport{Requests: len(run.Reads)}
	var successes []Instant
	for i := range run.Reads {
		if run.Reads[i].Outcome == Acknowledged {
			successes = append(successes, run.Reads[i].End)
		} else {
			r.Failed++
		}
	}
	slices.Sort(successes)
	r.Gap = longestGap(run.Begin, run.End, successes)
	return r
}

func summarizeSessions(sessions []Session) *SessionReport {
	if len(sessions) == 0 {
		return nil
	}
	r := &SessionReport{}
	for _, s := range sessions {
		switch s.State {
		case SessionOpened:
			r.Opened++
		case SessionRefused:
			r.Refused++
		case SessionEnded:
			r.Ended++
			at := s.At.Time()
			if r.FirstEnd == nil {
				r.FirstEnd = &at
			}
			r.LastEnd = &at
		case SessionAnswers:
			r.Answer++
		case SessionDead:
			r.Dead++
		}
	}
	return r
}

// Options of a judgement.
type Options struct {
	// StrictReads: no reader may ever have seen a row that is gone.
	StrictReads bool
}

// Analyze judges a history by the rows that are there.
func Analyze(h History, readback Readback, options Options) Report {
	r := Report{ReadFrom: readback.From, WallClock: h.WallClock, Torn: h.Torn}
	byTerm := newTerms(h.Runs, readback.Rows)
	r.Terms, r.Interleavings = byTerm.reports(), byTerm.interleavings()
	rows := index(readback.Rows)
	for i := range h.Runs {
		run := &h.Runs[i]
		summary := Summarize(run)
		r.Runs = append(r.Runs, summary)
		r.Acknowledged, r.Failed, r.Unknown = r.Acknowledged+summary.Acknowledged, r.Failed+summary.Failed, r.Unknown+summary.Unknown
		r.judgeWrites(run, rows)
		r.judgeReads(run, rows)
	}
	r.judgeRows(h.Runs, rows)
	r.Failures = r.failures(options)
	return r
}

// index keeps the terms of every row of an ID.
func index(rows []Row) map[ID][]Term {
	byID := make(map[ID][]Term, len(rows))
	for _, row := range rows {
		byID[row.ID] = append(byID[row.ID], row.Term)
	}
	return byID
}

func (r *Report) judgeWrites(run *Run, rows map[ID][]Term) {
	for i := range run.Writes {
		w := &run.Writes[i]
		id := ID{Run: run.ID, Worker: w.Worker, Sequence: w.Sequence}
		found := rows[id]
		evidence := Evidence{ID: id, At: w.End.Time(), Server: w.Server, Rows: found}
		switch {
		case w.Outcome == Acknowledged && len(found) == 0:
			r.Lost.add(evidence)
		case w.Outcome == Failed && len(found) > 0:
			r.Resurrected.add(evidence)
		case w.Outcome == Unknown && len(found) > 0:
			r.UnknownPresent++
		}
		// The row says which term wrote it, and the acknowledgement says which one confirmed it.
		if w.Outcome == Acknowledged && w.Server != nil && slices.ContainsFunc(found, func(t Term) bool { return t != w.Server.Term }) {
			r.TwoEpochs.add(evidence)
		}
	}
}

func (r *Report) judgeReads(run *Run, rows map[ID][]Term) {
	reported := map[ID]bool{}
	for i := range run.Reads {
		read := &run.Reads[i]
		for worker, sequence := range read.Newest {
			id := ID{Run: run.ID, Worker: worker, Sequence: sequence}
			if sequence > 0 && len(rows[id]) == 0 && !reported[id] {
				reported[id] = true
				r.Vanished.add(Evidence{ID: id, At: read.End.Time(), Server: read.Server})
			}
		}
	}
}

func (r *Report) judgeRows(runs []Run, rows map[ID][]Term) {
	recorded := map[ID]bool{}
	for i := range runs {
		for j := range runs[i].Writes {
			w := &runs[i].Writes[j]
			recorded[ID{Run: runs[i].ID, Worker: w.Worker, Sequence: w.Sequence}] = true
		}
	}
	for id, found := range rows {
		if len(found) > 1 {
			r.Duplicated.add(Evidence{ID: id, Rows: found})
		}
		if !recorded[id] {
			r.Unrecorded++
		}
	}
	r.Duplicated.sort()
}

// failures says in words what must not be.
func (r *Report) failures(options Options) []string {
	var all []string
	say := func(count int, what string) {
		if count > 0 {
			all = append(all, fmt.Sprintf("%d %s", count, what))
		}
	}
	say(r.Lost.Count, "acknowledged writes are lost")
	say(r.Duplicated.Count, "writes are there more than once")
	say(r.Resurrected.Count, "failed writes are there")
	say(r.TwoEpochs.Count, "writes were acknowledged by one term and are there from another")
	say(len(r.Interleavings), "times an older primary acknowledged after a newer one")
	if options.StrictReads {
		say(r.Vanished.Count, "rows that a reader saw are gone")
	}
	service, acknowledged := false, false
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Target == "" && run.Requests > 0 {
			service, acknowledged = true, acknowledged || run.Acknowledged > 0
		}
	}
	if service && !acknowledged {
		all = append(all, "nothing was acknowledged, so nothing is proved")
	}
	return all
}
