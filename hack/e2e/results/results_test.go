package results

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/hack/checker/history"
)

func seen(gap time.Duration, lost, failed int, instances ...string) history.Report {
	report := history.Report{
		Lost: history.Finding{Count: lost},
		Runs: []history.RunReport{
			{Requests: 100, Failed: failed, Unknown: 1, Gap: history.Gap{Length: history.Duration{Duration: gap}}},
			{Target: "10.0.0.1:5432", Requests: 1000, Failed: 900, Gap: history.Gap{Length: history.Duration{Duration: time.Hour}}},
		},
		Terms: []history.TermReport{{Term: history.Term{Instance: "silent"}}},
	}
	for _, instance := range instances {
		report.Terms = append(report.Terms, history.TermReport{Term: history.Term{Instance: instance}, Acknowledged: 1})
	}
	return report
}

func example() *File {
	file := &File{Runs: []Run{
		{Fault: "pod deleted", Database: "w=1", Report: seen(2*time.Second, 0, 3, "a", "b"), Recovered: history.Duration{Duration: 5 * time.Second}},
		{Fault: "node frozen", Database: "w=1", Report: seen(15*time.Second, 0, 7, "a", "b", "a")},
		{Fault: "pod deleted", Database: "w=0", Report: seen(3*time.Second, 4, 0, "a", "b")},
		{Fault: "pod deleted", Database: "w=1", Report: seen(4*time.Second, 0, 5, "a"), Recovered: history.Duration{Duration: 9 * time.Second}, Failed: true},
	}}
	file.Machine.Cores = 2
	return file
}

func TestTheTableHasARowForEveryFaultAndDatabase(t *testing.T) {
	text := example().Markdown()
	_, rows, _ := strings.Cut(text, "| pod")
	want := `| pod deleted | fault | w=1 | 2 | 1 | 2.0 s | 4.0 s | 4.0 s | 0 | 8 | 2 | 200 | 1 to 2 | 5.0 s | 9.0 s |
| node frozen | fault | w=1 | 1 | 0 | 15.0 s | 15.0 s | 15.0 s | 0 | 7 | 1 | 100 | 2 | 0.0 s | 0.0 s |
| pod deleted | fault | w=0 | 1 | 0 | 3.0 s | 3.0 s | 3.0 s | 4 | 0 | 1 | 100 | 2 | 0.0 s | 0.0 s |
`
	if diff := cmp.Diff(want, "| pod"+rows); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !strings.Contains(text, "2 cores") {
		t.Errorf("the table does not say where it was measured: %s", text)
	}
}

func TestASecondTableHasTheWorstOfEveryIsolation(t *testing.T) {
	if strings.Contains(example().Markdown(), "margin") {
		t.Error("there is a table of what nobody saw")
	}
	file := example()
	in := func(ms int) history.Duration { return history.Duration{Duration: time.Duration(ms) * time.Millisecond} }
	file.Runs[0].Isolation = &Isolation{LastAcknowledged: in(500), Down: in(11000), Promotion: in(15000), FirstAcknowledged: in(16000)}
	file.Runs[3].Isolation = &Isolation{LastAcknowledged: in(12000), Down: in(10000), Promotion: in(14000), FirstAcknowledged: in(17000)}
	_, text, _ := strings.Cut(file.Markdown(), "margin, smallest")
	if want := "| pod deleted | w=1 | 2 | 12.0 s | 11.0 s | 14.0 s | 16.0 s | 2.0 s |"; !strings.Contains(text, want) {
		t.Errorf("want %q in %s", want, text)
	}
}

func TestTheFileIsReplacedWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "faults.json")
	file := example()
	for range 2 {
		if err := file.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read File
	if err := json.Unmarshal(content, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(file.Markdown(), read.Markdown()); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
}
