package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/platform-io/database-operator/hack/audit"
	"github.com/platform-io/database-operator/hack/machine"
)

// result is all that was measured. Times are seconds since the first Database was created.
type result struct {
	Machine      machine.Machine    `json:"machine"`
	Databases    int                `json:"databases"`
	OperatorArgs []string           `json:"operatorArgs,omitempty"`
	Seconds      map[string]float64 `json:"seconds"`
	ReadyAfter   quantiles          `json:"readyAfterSeconds"`
	Sync         quantiles          `json:"syncSeconds"`
	Queue        quantiles          `json:"queueSeconds"`
	StaleSyncs   float64            `json:"staleSyncs"`
	Memory       map[string]int64   `json:"memoryBytes"`
	// Startup are the operator's requests before the first Database, Requests those until it settled,
	// Rest those after.
	Startup        []audit.Count      `json:"startupRequests"`
	Requests       []audit.Count      `json:"requests"`
	Rest           []audit.Count      `json:"restRequests"`
	RequestsByCode map[string]float64 `json:"requestsByCode"`
	Volumes        int                `json:"volumes"`
	BadVolumes     []string           `json:"badVolumes,omitempty"`
}

// text is the result for a person.
func (r *result) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d Databases created at once, on an API server without nodes\n%s\n", r.Databases, r.Machine)
	b.WriteString("API server, etcd, operator and the simulation of nodes and agents share these cores.\n")
	if len(r.OperatorArgs) > 0 {
		fmt.Fprintf(&b, "Operator flags: %s\n", strings.Join(r.OperatorArgs, " "))
	}
	t := &table{out: tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0), databases: float64(r.Databases)}
	r.writeTimes(t)
	r.writeMemory(t)
	r.writeRequests(t)
	t.row("", "", "")
	t.row(fmt.Sprintf("AT REST, for %.0f s", r.Seconds["rest"]), "number")
	t.row("requests", fmt.Sprint(audit.Total(r.Rest, audit.IsAny)))
	t.row("writes", fmt.Sprint(audit.Total(r.Rest, audit.IsWrite)))
	t.row("volumes with one new database each", fmt.Sprintf("%d of %d", r.Volumes-len(r.BadVolumes), r.Volumes))
	_ = t.out.Flush() // a Builder does not fail
	return trimLines(b.String())
}

// table writes rows of cells, aligned.
type table struct {
	out       *tabwriter.Writer
	databases float64
}

func (t *table) row(cells ...string) {
	_, _ = fmt.Fprintln(t.out, strings.Join(cells, "\t")) // a Builder does not fail
}

// per is a number for each Database.
func (t *table) per(x float64) string { return fmt.Sprintf("%.3g", x/t.databases) }

func (r *result) writeTimes(t *table) {
	t.row("", "", "")
	t.row("TIME", "seconds", "per Database")
	for _, step := range []string{"created", "applied", "ready", "settled"} {
		t.row("all "+step, fmt.Sprintf("%.1f", r.Seconds[step]), t.per(r.Seconds[step]))
	}
	t.row(append([]string{"from creation to Ready"}, r.ReadyAfter.cells()...)...)
	t.row(append([]string{"one sync"}, r.Sync.cells()...)...)
	t.row(append([]string{"wait in the queue"}, r.Queue.cells()...)...)
	t.row("syncs", fmt.Sprintf("%.0f", r.Sync.Count), t.per(r.Sync.Count), fmt.Sprintf("%.0f put off for a stale cache", r.StaleSyncs))
	t.row("the operator's CPU", fmt.Sprintf("%.1f", r.Seconds["cpu"]), t.per(r.Seconds["cpu"]))
	t.row("all workers' waits for the rate limit", fmt.Sprintf("%.1f", r.Seconds["rateLimiter"]), t.per(r.Seconds["rateLimiter"]))
}

func (r *result) writeMemory(t *table) {
	t.row("", "", "")
	t.row("OPERATOR'S MEMORY (RSS)", "", "per Database")
	t.row("idle, without Databases", mebibytes(r.Memory["idle"]))
	t.row("settled", mebibytes(r.Memory["settled"]), fmt.Sprintf("%.0f KiB", float64(r.Memory["settled"]-r.Memory["idle"])/t.databases/1024))
	t.row("at most", mebibytes(r.Memory["peak"]))
}

func (r *result) writeRequests(t *table) {
	t.row("", "", "")
	t.row("OPERATOR'S REQUESTS", "number", "per Database")
	for _, c := range r.Requests {
		t.row(c.Verb+" "+c.Resource, fmt.Sprint(c.N), t.per(float64(c.N)))
	}
	all, changing := audit.Total(r.Requests, audit.IsAny), audit.Total(r.Requests, audit.IsWrite)
	t.row("in all", fmt.Sprint(all), t.per(float64(all)))
	t.row("of them writes", fmt.Sprint(changing), t.per(float64(changing)))
	t.row("to start up", fmt.Sprint(audit.Total(r.Startup, audit.IsAny)))
	t.row("by answer, start included", codes(r.RequestsByCode))
}

// verdict fails when something was measured that must not be.
func (r *result) verdict() error {
	var errs []error
	if n := audit.Total(r.Rest, audit.IsWrite); n > 0 {
		errs = append(errs, fmt.Errorf("settled Databases were written to, %d times", n))
	}
	if len(r.BadVolumes) > 0 {
		errs = append(errs, fmt.Errorf("data was not made exactly once: %s", strings.Join(r.BadVolumes, "; ")))
	}
	if r.Volumes != r.Databases {
		errs = append(errs, fmt.Errorf("%d volumes for %d Databases", r.Volumes, r.Databases))
	}
	return errors.Join(errs...)
}

// save writes text and JSON, and returns the name of the text.
func (r *result) save(dir, text string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // results are for everybody
		return "", fmt.Errorf("make the folder of results: %w", err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the result: %w", err)
	}
	stem := filepath.Join(dir, "bench-"+r.Machine.Time.Format("2006-01-02T150405Z"))
	for suffix, content := range map[string]string{".txt": text, ".json": string(data) + "\n"} {
		if err := os.WriteFile(stem+suffix, []byte(content), 0o644); err != nil { //nolint:gosec // results are for everybody
			return "", fmt.Errorf("write the result: %w", err)
		}
	}
	return stem + ".txt", nil
}

func (q quantiles) cells() []string {
	value := func(s float64) string {
		if q.Top > 0 && s >= q.Top {
			return "> " + seconds(q.Top)
		}
		return seconds(s)
	}
	return []string{"p50 " + value(q.P50), "p99 " + value(q.P99), "max " + value(q.Max)}
}

func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.1fms", s*1000)
	}
	return fmt.Sprintf("%.1fs", s)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }

func codes(byCode map[string]float64) string {
	var all []string
	for code, n := range byCode {
		all = append(all, fmt.Sprintf("%s: %.0f", code, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
