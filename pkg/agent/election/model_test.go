package election

import (
	"flag"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

var schedules = flag.Int("election.schedules", 50000, "how many random schedules the model of the election goes through")

// TestMain sets how many schedules rapid draws, and from which seed: always the same ones, unless one is
// given (-rapid.seed=0 for a random one).
func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	each := *schedules / len(themes)
	if testing.Short() {
		if !given["election.schedules"] {
			each = 5000 / len(themes)
		}
		each *= 5 // rapid goes through a fifth when tests are to be short
	}
	defaults := map[string]string{"rapid.checks": strconv.Itoa(each), "rapid.seed": "1", "rapid.nofailfile": "true"}
	for name, value := range defaults {
		if !given[name] {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	// What a schedule allocates is soon garbage, and little.
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

// TestModel goes through random schedules, and shrinks and tells the first that breaks an invariant.
func TestModel(t *testing.T) {
	for _, theme := range themes {
		t.Run(theme.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := theme.draw(func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) })
				if s.run(0, false).violation != "" {
					w := s.run(0, true)
					t.Fatalf("%s\n%s\n%s", s.String(), w.story(), w.violation)
				}
			})
		})
	}
}
