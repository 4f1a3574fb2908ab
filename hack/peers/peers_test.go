package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/hack/audit"
	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/e2e/results"
)

func run(fault, database string, gap time.Duration, lost int) results.Run {
	return results.Run{Fault: fault, Database: database, Recovered: history.Duration{Duration: time.Second}, Report: history.Report{
		Lost: history.Finding{Count: lost},
		Runs: []history.RunReport{{Failed: 1, Gap: history.Gap{Length: history.Duration{Duration: gap}}}},
	}}
}

func example() *File {
	f := &File{Versions: "theirs 1.2", Pairs: []Pair{{Name: "Strict", Ours: "ours", Peer: "theirs"}}}
	f.Runs = []results.Run{
		run("pod deleted", "ours", 2*time.Second, 0), run("pod deleted", "theirs", 5*time.Second, 3),
		run("pod deleted", "ours", 4*time.Second, 0), run("pod deleted", "theirs", 9*time.Second, 4),
		run("node frozen", "ours", 20*time.Second, 0), run("node frozen", "theirs", 10*time.Second, 0),
		{Fault: "node frozen", Database: "theirs"}, // its test ended before the clients were asked
		run("pod deleted", "another", time.Hour, 9),
		run("only ours", "ours", time.Second, 0),
	}
	f.Runs[3].Report.Interleavings = []history.Interleaving{{}}
	count := func(verb string, n int) audit.Count { return audit.Count{Verb: verb, Resource: "leases", N: n} }
	f.Settled = []Settled{
		{Database: "ours", Span: history.Duration{Duration: 2 * time.Minute}, Own: []audit.Count{count("update", 24), count("get", 6)}},
		{Database: "theirs", Span: history.Duration{Duration: 2 * time.Minute}, Own: []audit.Count{count("patch", 240)}, Others: []audit.Count{count("update", 60)}},
	}
	return f
}

func TestARatioIsThePeersMedianDividedByOurs(t *testing.T) {
	f := example()
	f.Compare()
	got := map[string]float64{}
	for _, c := range f.Comparisons {
		if c.GapRatio != nil {
			got[c.Fault] = *c.GapRatio
		}
	}
	if diff := cmp.Diff(map[string]float64{"pod deleted": 2.5, "node frozen": 0.5}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheTables(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out", "peers")
	if err := example().Save(name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name + ".json"); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(name + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| pod deleted | 2 | 2.0 s | 5.0 s | 2.5× | 4.0 s | 9.0 s | 0 | 7 | 2 | 2 | 1.0 s | 1.0 s | peer: two primaries in 1 |\n",
		"| node frozen | 1 | 20.0 s | 10.0 s | 0.5× | 20.0 s | 10.0 s | 0 | 0 | 1 | 1 | 1.0 s | 1.0 s | peer: 1 more not as it should be within the time |\n",
		"| only ours | 1, 0 | 1.0 s | – | – | 1.0 s | – | 0 | 0 | 1 | 0 | 1.0 s | – |  |\n",
		"| ours | 3.0 | 12.0 | 0.0 | 15.0 |  |\n| theirs | 0.0 | 120.0 | 30.0 | 150.0 | 10× |\n",
		"theirs 1.2",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}
