// Package results collects what faults did to databases: a file of JSON, and a table for README.
package results

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/machine"
)

// Run is one fault, once.
type Run struct {
	Fault string `json:"fault"`
	// Planned: it was no fault, but done on purpose.
	Planned bool `json:"planned,omitempty"`
	// Database says which one the fault was done to.
	Database string    `json:"database"`
	Start    time.Time `json:"start"`
	// Recovered is the time from the end of the fault until every instance was ready.
	Recovered history.Duration `json:"recoveredSeconds"`
	// Report is what the clients saw.
	Report history.Report `json:"report"`
	// Failed: the test found something wrong, in the report or beside it.
	Failed bool `json:"failed"`
	// Isolation is what was seen of a primary that was cut off.
	Isolation *Isolation `json:"isolation,omitempty"`
}

// Isolation is what both sides of a primary that was cut off did, in seconds since the fault began.
type Isolation struct {
	// LastAcknowledged is when the old primary last acknowledged a write of a client beside it, and Down when its engine was down.
	LastAcknowledged history.Duration `json:"lastAcknowledgedSeconds"`
	Down             history.Duration `json:"downSeconds"`
	// Promotion is when the new primary began to be one, and FirstAcknowledged when it first acknowledged a write.
	Promotion         history.Duration `json:"promotionSeconds"`
	FirstAcknowledged history.Duration `json:"firstAcknowledgedSeconds"`
}

// Margin is the time from the end of the old primary to the begin of the new one.
func (i *Isolation) Margin() time.Duration {
	return i.Promotion.Duration - max(i.LastAcknowledged.Duration, i.Down.Duration)
}

// File is what many runs gave.
type File struct {
	Machine machine.Machine `json:"machine"`
	Runs    []Run           `json:"runs"`
}

// Save writes the file.
func (f *File) Save(path string) error { return WriteJSON(path, f) }

// WriteJSON writes a file of results. One that was there is replaced in a moment, so that an interrupted run leaves what it had.
func WriteJSON(path string, value any) error {
	content, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the folder of results: %w", err)
	}
	unfinished := path + ".new"
	if err := os.WriteFile(unfinished, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// row is what all runs of one fault on one database gave.
type row struct {
	fault, database  string
	planned          bool
	isolations       []*Isolation
	reports          []history.Report
	failed           int
	requests, unsure int
	fewest, most     int // primaries
	recovered        []time.Duration
}

// rows are in the order in which faults came first.
func (f *File) rows() []*row {
	var rows []*row
	for i := range f.Runs {
		run := &f.Runs[i]
		at := slices.IndexFunc(rows, func(r *row) bool { return r.fault == run.Fault && r.database == run.Database })
		if at < 0 {
			at = len(rows)
			rows = append(rows, &row{fault: run.Fault, planned: run.Planned, database: run.Database, fewest: primaries(&run.Report)})
		}
		rows[at].add(run)
	}
	return rows
}

func (r *row) add(run *Run) {
	r.reports = append(r.reports, run.Report)
	r.recovered = append(r.recovered, run.Recovered.Duration)
	if run.Failed {
		r.failed++
	}
	if run.Isolation != nil {
		r.isolations = append(r.isolations, run.Isolation)
	}
	for i := range run.Report.Runs {
		if client := &run.Report.Runs[i]; client.Target == "" {
			r.requests, r.unsure = r.requests+client.Requests, r.unsure+client.Unknown
		}
	}
	seen := primaries(&run.Report)
	r.fewest, r.most = min(r.fewest, seen), max(r.most, seen)
}

// primaries is how many instances acknowledged something.
func primaries(report *history.Report) int {
	instances := map[string]bool{}
	for i := range report.Terms {
		if term := &report.Terms[i]; term.Acknowledged > 0 {
			instances[term.Instance] = true
		}
	}
	return len(instances)
}

// Markdown is the table, with a line that says where it was measured.
func (f *File) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s.\n\n", f.Machine)
	b.WriteString("| what happens | kind | database | runs | bad | write gap p50 | p95 | max | lost rows | failed requests | unknown | requests | primaries | all ready again p50 | max |\n")
	b.WriteString("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range f.rows() {
		all, recovered := history.Repeat(r.reports), history.PercentilesOf(r.recovered)
		count := fmt.Sprint(r.fewest)
		if r.most > r.fewest {
			count += " to " + fmt.Sprint(r.most)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %s | %s | %s | %d | %d | %d | %d | %s | %s | %s |\n", r.fault, r.kind(), r.database, len(r.reports), r.failed,
			seconds(all.Gap.P50), seconds(all.Gap.P95), seconds(all.Gap.Max), all.Lost, all.Failed, r.unsure, r.requests, count,
			seconds(recovered.P50), seconds(recovered.Max))
	}
	f.isolated(&b)
	return b.String()
}

func (r *row) kind() string {
	if r.planned {
		return "planned"
	}
	return "fault"
}

// isolated writes the second table: what both sides of primaries that were cut off did.
func (f *File) isolated(b *strings.Builder) {
	rows := slices.DeleteFunc(f.rows(), func(r *row) bool { return len(r.isolations) == 0 })
	if len(rows) == 0 {
		return
	}
	b.WriteString("\nA primary that is cut off stops before another is promoted. Times are since the fault began; the margin is from the end of the old " +
		"primary, the later of its last acknowledgement and of its engine's end, to the begin of the promotion.\n\n")
	b.WriteString("| fault | database | runs | old primary: last acknowledged, latest | engine down, latest | new primary: promotion, earliest | first acknowledged, earliest | margin, smallest |\n")
	b.WriteString("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range rows {
		worst := *r.isolations[0]
		margin := worst.Margin()
		for _, i := range r.isolations {
			margin = min(margin, i.Margin())
			worst.LastAcknowledged.Duration = max(worst.LastAcknowledged.Duration, i.LastAcknowledged.Duration)
			worst.Down.Duration = max(worst.Down.Duration, i.Down.Duration)
			worst.Promotion.Duration = min(worst.Promotion.Duration, i.Promotion.Duration)
			worst.FirstAcknowledged.Duration = min(worst.FirstAcknowledged.Duration, i.FirstAcknowledged.Duration)
		}
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s | %s | %s |\n", r.fault, r.database, len(r.isolations), seconds(worst.LastAcknowledged),
			seconds(worst.Down), seconds(worst.Promotion), seconds(worst.FirstAcknowledged), seconds(history.Duration{Duration: margin}))
	}
}

func seconds(d history.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
