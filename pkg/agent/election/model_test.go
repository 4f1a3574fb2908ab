package election

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	schedules  = flag.Int("election.schedules", 200000, "how many random schedules the model of the election goes through")
	reportFile = flag.String("election.report", "", "file for what the model went through, and what it found in mutations")
)

// TestMain sets how many schedules rapid draws, and from which seed: always the same ones, unless one is
// given (-rapid.seed=0 for a random one).
func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if testing.Short() && !given["election.schedules"] {
		*schedules = 5000
	}
	each := *schedules / len(themes)
	if testing.Short() {
		each *= 5 // rapid goes through a fifth when tests are to be short
	}
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(each), "rapid.seed": "1", "rapid.nofailfile": "true"} {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	// What a schedule allocates is soon garbage, and little.
	debug.SetGCPercent(800)
	begin := time.Now()
	code := m.Run()
	if *reportFile != "" && code == 0 {
		if err := os.WriteFile(*reportFile, []byte(report.text(time.Since(begin))), 0o644); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// TestModel goes through random schedules, and shrinks and tells the first that breaks an invariant.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, theme := range themes {
		t.Run(theme.name, func(t *testing.T) {
			t.Parallel()
			gone := 0
			rapid.Check(t, func(t *rapid.T) {
				s := theme.draw(func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) })
				gone++
				if s.run(0, false).violation != "" {
					w := s.run(0, true)
					t.Fatalf("%s\n%s\n%s", s.String(), w.story(), w.violation)
				}
			})
			report.went(theme.name, gone)
		})
	}
}

// results are for the report.
type results struct {
	sync.Mutex
	schedules map[string]int
	mutations map[string]string
}

var report = results{schedules: map[string]int{}, mutations: map[string]string{}}

func (r *results) went(theme string, schedules int) {
	r.Lock()
	defer r.Unlock()
	r.schedules[theme] = schedules
}

func (r *results) found(mutation, invariant string, number uint64) {
	r.Lock()
	defer r.Unlock()
	r.mutations[mutation] = fmt.Sprintf("%-32s (schedule %d)", invariant, number)
}

func (r *results) text(took time.Duration) string {
	var b strings.Builder
	total := 0
	for _, theme := range themes {
		total += r.schedules[theme.name]
	}
	fmt.Fprintf(&b, "%d random schedules, and %d mutations, in %s; no invariant was broken.\n\nSchedules by theme:\n", total, len(r.mutations), took.Round(time.Second))
	for _, theme := range themes {
		fmt.Fprintf(&b, "  %-26s %d\n", theme.name, r.schedules[theme.name])
	}
	b.WriteString("\nMutations, each with the invariant that caught it, and in which schedule:\n")
	for i := range mutations {
		name := mutations[i].name
		fmt.Fprintf(&b, "  %-26s %s\n", name, r.mutations[name])
	}
	return b.String()
}
