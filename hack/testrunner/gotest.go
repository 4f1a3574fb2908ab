package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// goTest is one run of "go test".
type goTest struct {
	dir  string
	args []string
	// verbose shows the output of tests that pass, as it comes.
	verbose bool
}

// event is a line of "go test -json"; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64
}

// goTest runs it and returns a result for every test that has no subtests, and for every package that failed without a failed
// test (it does not compile, it panicked, it took too long).
func (r *repo) goTest(ctx context.Context, t goTest) []result {
	cmd := r.command(ctx, t.dir, "go", append([]string{"test", "-json"}, t.args...)...)
	collector := &collector{out: r.out, verbose: t.verbose, output: map[string]*bytes.Buffer{}, parents: map[string]bool{}, failed: map[string]bool{}}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, r.out
	done := make(chan struct{})
	go func() {
		defer close(done)
		collector.read(reader)
	}()
	err := cmd.Run()
	_ = writer.Close()
	<-done
	results := collector.leaves()
	if err != nil && !hasFailed(results) {
		results = append(results, result{name: "go test in " + t.dir, outcome: failed, reason: err.Error()})
	}
	return results
}

func hasFailed(results []result) bool {
	for _, r := range results {
		if r.outcome == failed {
			return true
		}
	}
	return false
}

// collector makes results from the events of a run.
type collector struct {
	out     io.Writer
	verbose bool
	output  map[string]*bytes.Buffer
	parents map[string]bool // tests that have subtests
	failed  map[string]bool // packages with a failed test
	results []result
}

func (c *collector) read(from io.Reader) {
	decoder := json.NewDecoder(from)
	for {
		var e event
		if err := decoder.Decode(&e); err != nil {
			_, _ = io.Copy(c.out, io.MultiReader(decoder.Buffered(), from)) // not JSON: show it
			return
		}
		c.handle(e)
	}
}

func (c *collector) handle(e event) {
	switch e.Action {
	case "build-output":
		_, _ = io.WriteString(c.out, e.Output)
	case "run":
		if i := strings.LastIndex(e.Test, "/"); i >= 0 {
			c.parents[e.Package+" "+e.Test[:i]] = true
		}
	case "output":
		c.buffer(e).WriteString(e.Output)
		if c.verbose && !strings.HasPrefix(e.Output, "=== ") {
			_, _ = io.WriteString(c.out, e.Output)
		}
	case "pass", "fail", "skip":
		c.finish(e)
	}
}

func (c *collector) buffer(e event) *bytes.Buffer {
	key := e.Package + " " + e.Test
	if c.output[key] == nil {
		c.output[key] = &bytes.Buffer{}
	}
	return c.output[key]
}

func (c *collector) finish(e event) {
	text := c.buffer(e).String()
	delete(c.output, e.Package+" "+e.Test)
	outcomes := map[string]outcome{"pass": passed, "fail": failed, "skip": skipped}
	if e.Test != "" {
		if e.Action == "fail" {
			c.failed[e.Package] = true
		}
		if e.Action == "fail" && !c.verbose {
			_, _ = io.WriteString(c.out, text)
		}
		c.results = append(c.results, result{pkg: e.Package, name: e.Test, outcome: outcomes[e.Action], reason: reason(e.Action, text)})
		return
	}
	if e.Action == "fail" && !c.failed[e.Package] {
		why := "failed outside of a test"
		if e.FailedBuild != "" {
			why = "does not compile"
		} else if !c.verbose {
			_, _ = io.WriteString(c.out, text)
		}
		c.results = append(c.results, result{pkg: e.Package, name: "the package", outcome: failed, reason: why})
	}
	if e.Action != "skip" {
		elapsed := time.Duration(e.Elapsed * float64(time.Second)).Round(time.Millisecond)
		_, _ = fmt.Fprintf(c.out, "%-5s %s %s\n", e.Action, e.Package, elapsed)
	}
}

// leaves returns the results of tests without subtests. A test that failed although none of its subtests did counts, too.
func (c *collector) leaves() []result {
	failedBelow := map[string]bool{}
	for _, r := range c.results {
		if i := strings.LastIndex(r.name, "/"); i >= 0 && r.outcome == failed {
			failedBelow[r.pkg+" "+r.name[:i]] = true
		}
	}
	var leaves []result
	for _, r := range c.results {
		key := r.pkg + " " + r.name
		if !c.parents[key] || (r.outcome == failed && !failedBelow[key]) {
			leaves = append(leaves, r)
		}
	}
	return leaves
}

const (
	// firstSaid and lastSaid are how many lines of a test that failed are repeated in the summary.
	firstSaid = 14
	lastSaid  = 2
)

// reason finds what a test said when it was skipped, which is the last line that it logged; and of one that failed the
// first lines and the last ones, because what is above a summary may be long, and is not kept everywhere.
func reason(action, output string) string {
	var said []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = append(said, line)
		}
	}
	switch {
	case len(said) == 0 || action == "pass":
		return ""
	case action == "fail":
		if len(said) > firstSaid+lastSaid {
			said = slices.Concat(said[:firstSaid], []string{"[…]"}, said[len(said)-lastSaid:])
		}
		return strings.Join(said, "\n      ")
	}
	last := said[len(said)-1]
	if _, text, found := strings.Cut(last, ": "); found && strings.Contains(last, "_test.go:") {
		return text
	}
	return last
}
