package history

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// started is the start of a run whose clock is at mono when the wall clock is so long after midnight.
func started(run, clock string, wall time.Duration, mono int64) Event {
	return Event{Run: run, Wall: midnight.Add(wall), At: Instant(mono), Start: &Start{Clock: clock}}
}

func writeEvent(run string, begin, sent, end int64) Event {
	return Event{Run: run, At: Instant(end), Write: &Write{Attempt: Attempt{Outcome: Acknowledged}, Begin: Instant(begin), Sent: Instant(sent)}}
}

func lines(t *testing.T, events ...Event) string {
	t.Helper()
	all := ""
	for _, event := range events {
		line, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		all += string(line) + "\n"
	}
	return all
}

func load(t *testing.T, logs ...string) History {
	t.Helper()
	readers := make([]io.Reader, 0, len(logs))
	for _, log := range logs {
		readers = append(readers, strings.NewReader(log))
	}
	h, err := Load(readers...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRunsOfOneMachineAreComparedByItsMonotonicClock(t *testing.T) {
	// The wall clock was stepped by an hour between the two starts.
	h := load(t,
		lines(t, started("a", "boot", 0, 1000), writeEvent("a", 2000, 2100, 2200)),
		lines(t, started("b", "boot", time.Hour, 1500), writeEvent("b", 2050, 2150, 2250)))
	if got := h.Runs[1].Writes[0].Sent.Sub(h.Runs[0].Writes[0].Sent); got != 50 || h.WallClock {
		t.Errorf("%s apart, wall clock %v", got, h.WallClock)
	}
	if got, want := h.Runs[0].Writes[0].End.Time(), midnight.Add(1200); !got.Equal(want) {
		t.Errorf("it ends at %s, want %s", got, want)
	}
}

func TestRunsOfTwoMachinesAreComparedByWallClocks(t *testing.T) {
	for _, clocks := range [][2]string{{"boot", "other"}, {"", ""}, {"boot", ""}} {
		h := load(t,
			lines(t, started("a", clocks[0], 0, 1000), writeEvent("a", 2000, 2100, 2200)),
			lines(t, started("b", clocks[1], 500, 70000), writeEvent("b", 70100, 70200, 70300)))
		if got := h.Runs[1].Writes[0].Sent.Sub(h.Runs[0].Writes[0].Sent); got != -400 || !h.WallClock {
			t.Errorf("%q: %s apart, wall clock %v", clocks, got, h.WallClock)
		}
	}
}

func TestAKilledCheckerLeavesATornLine(t *testing.T) {
	log := lines(t, started("a", "boot", 0, 1000), writeEvent("a", 2000, 2100, 2200))
	for _, tail := range []string{`{"r`, `{"run":"a","wall":"2026-01-01T00:00:00Z","at":23`} {
		h := load(t, log+tail)
		if h.Torn != 1 || h.Runs[0].Complete || len(h.Runs[0].Writes) != 1 {
			t.Errorf("%+v", h)
		}
	}
	if h := load(t, log+lines(t, Event{Run: "a", At: 3000, End: &End{}})); h.Torn != 0 || !h.Runs[0].Complete {
		t.Errorf("%+v", h)
	}
}

func TestWhatIsNoLogIsRefused(t *testing.T) {
	start := lines(t, started("a", "boot", 0, 1000))
	for name, log := range map[string]string{
		"nonsense":             start + "nonsense\n",
		"a log given twice":    start + start,
		"a run without a head": lines(t, writeEvent("a", 1, 2, 3)),
	} {
		if _, err := Load(strings.NewReader(log)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWritesAreInTheOrderOfTheirEnds(t *testing.T) {
	h := load(t, lines(t, started("a", "boot", 0, 0), writeEvent("a", 10, 20, 300), writeEvent("a", 20, 30, 40)))
	if w := h.Runs[0].Writes; w[0].Begin >= w[0].End || w[0].End > w[1].End {
		t.Errorf("writes %+v", w)
	}
}

func TestARestartedCheckerDoesNotContinueATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(lines(t, started("a", "boot", 0, 1))+`{"run":"a","wa`), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []Event{started("b", "boot", 0, 2), writeEvent("b", 3, 4, 5)} {
		if err := log.Append(event); err != nil {
			t.Fatal(err)
		}
	}
	// It is there before the log is closed.
	h, err := LoadFiles(path)
	if err != nil || len(h.Runs) != 2 || len(h.Runs[1].Writes) != 1 || h.Torn != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
