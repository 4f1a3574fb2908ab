package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The stories below are in milliseconds since the start of the run.

var (
	oldTerm = Term{Instance: "db-0", Address: "10.0.0.1:5432", Started: "100", Epoch: 1}
	newTerm = Term{Instance: "db-1", Address: "10.0.0.2:5432", Started: "100", Epoch: 2}
	// again is the first instance, restarted in place.
	again = Term{Instance: "db-0", Address: "10.0.0.1:5432", Started: "200", Epoch: 1}
	// rival was promoted from the same point as newTerm, and took the same epoch.
	rival = Term{Instance: "db-2", Address: "10.0.0.3:5432", Started: "100", Epoch: 2}
)

func ms(n int64) Instant { return Instant(n * int64(time.Millisecond)) }

// write is a request that began, asked for the commit, and ended at the times.
func write(sequence int64, outcome Outcome, term *Term, times ...int64) Write {
	w := Write{
		Sequence: sequence, Attempt: Attempt{Outcome: outcome, Stage: StageCommit},
		Begin: ms(times[0]), Sent: ms(times[1]), End: ms(times[2]),
	}
	if term != nil {
		w.Server = &Server{Term: *term}
	}
	return w
}

func acked(sequence int64, term Term, begin, sent, end int64) Write {
	return write(sequence, Acknowledged, &term, begin, sent, end)
}

func row(sequence int64, term Term) Row { return Row{ID: ID{Run: "r", Sequence: sequence}, Term: term} }

func runOf(end int64, writes ...Write) Run {
	return Run{ID: "r", End: ms(end), Complete: true, Writes: writes}
}

func sequences(f Finding) []int64 {
	var all []int64
	for _, e := range f.Examples {
		all = append(all, e.Sequence)
	}
	return all
}

func TestRowsAgainstOutcomes(t *testing.T) {
	writes := []Write{
		acked(1, oldTerm, 0, 1, 2), write(2, Failed, nil, 10, 0, 12), write(3, Unknown, nil, 20, 21, 22), acked(4, oldTerm, 30, 31, 32),
	}
	type findings struct {
		lost, duplicated, resurrected, twoEpochs []int64
		unknownPresent, unrecorded               int
		failures                                 string
	}
	tests := map[string]struct {
		rows []Row
		want findings
	}{
		"all as it should be, the unknown one is not there": {rows: []Row{row(1, oldTerm), row(4, oldTerm)}},
		"the unknown one is there":                          {rows: []Row{row(1, oldTerm), row(3, oldTerm), row(4, oldTerm)}, want: findings{unknownPresent: 1}},
		"an acknowledged one is gone": {
			rows: []Row{row(4, oldTerm)},
			want: findings{lost: []int64{1}, failures: "1 acknowledged writes are lost"},
		},
		"the table is gone": {want: findings{lost: []int64{1, 4}, failures: "2 acknowledged writes are lost"}},
		"one is there twice": {
			rows: []Row{row(1, oldTerm), row(1, oldTerm), row(4, oldTerm)},
			want: findings{duplicated: []int64{1}, failures: "1 writes are there more than once"},
		},
		"one is there under two epochs": {
			rows: []Row{row(1, oldTerm), row(1, newTerm), row(4, oldTerm)},
			want: findings{
				duplicated: []int64{1}, twoEpochs: []int64{1},
				failures: "1 writes are there more than once; 1 writes were acknowledged by one term and are there from another",
			},
		},
		"one is there from another start of the instance": {
			rows: []Row{row(1, again), row(4, oldTerm)},
			want: findings{twoEpochs: []int64{1}, failures: "1 writes were acknowledged by one term and are there from another"},
		},
		"a failed one is there": {
			rows: []Row{row(1, oldTerm), row(2, oldTerm), row(4, oldTerm)},
			want: findings{resurrected: []int64{2}, failures: "1 failed writes are there"},
		},
		"one is there that no log knows": {rows: []Row{row(1, oldTerm), row(4, oldTerm), row(5, oldTerm)}, want: findings{unrecorded: 1}},
		"a row of another worker proves nothing": {
			rows: []Row{{ID: ID{Run: "r", Worker: 1, Sequence: 1}, Term: oldTerm}, row(4, oldTerm)},
			want: findings{lost: []int64{1}, unrecorded: 1, failures: "1 acknowledged writes are lost"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := Analyze(History{Runs: []Run{runOf(100, writes...)}}, Readback{Rows: test.rows}, Options{})
			got := findings{
				lost: sequences(r.Lost), duplicated: sequences(r.Duplicated), resurrected: sequences(r.Resurrected),
				twoEpochs: sequences(r.TwoEpochs), unknownPresent: r.UnknownPresent, unrecorded: r.Unrecorded,
				failures: strings.Join(r.Failures, "; "),
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(findings{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if r.Acknowledged != 2 || r.Failed != 1 || r.Unknown != 1 {
				t.Errorf("acknowledged %d, failed %d, unknown %d", r.Acknowledged, r.Failed, r.Unknown)
			}
		})
	}
}

func TestManyLostWritesAreCountedAndSomeAreShown(t *testing.T) {
	var writes []Write
	for i := range int64(1000) {
		writes = append(writes, acked(i+1, oldTerm, i, i, i+1))
	}
	r := Analyze(History{Runs: []Run{runOf(1001, writes...)}}, Readback{}, Options{})
	if r.Lost.Count != 1000 || len(r.Lost.Examples) != maxExamples {
		t.Errorf("%d lost, %d shown", r.Lost.Count, len(r.Lost.Examples))
	}
	if !r.Lost.First.Equal(ms(1).Time()) || !r.Lost.Last.Equal(ms(1000).Time()) {
		t.Errorf("lost from %s to %s", r.Lost.First, r.Lost.Last)
	}
}

func TestNothingAcknowledgedProvesNothing(t *testing.T) {
	tests := map[string]struct {
		run  Run
		want int
	}{
		"through the Service": {run: runOf(10, write(1, Failed, nil, 0, 0, 1)), want: 1},
		// That an isolated instance takes nothing may be what was to be shown.
		"to a target":   {run: Run{ID: "r", Start: Start{Target: "10.0.0.1:5432"}, Writes: []Write{write(1, Failed, nil, 0, 0, 1)}}},
		"sessions only": {run: Run{ID: "r", Sessions: []Session{{State: SessionOpened}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if r := Analyze(History{Runs: []Run{test.run}}, Readback{}, Options{}); len(r.Failures) != test.want {
				t.Errorf("failures: %q", r.Failures)
			}
		})
	}
}

func TestInterleavings(t *testing.T) {
	type found struct {
		Older, Newer      Term
		Late, Overlapping int
		Alternating       bool
	}
	tests := map[string]struct {
		writes []Write
		want   []found
	}{
		"one after the other": {writes: []Write{acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), acked(3, newTerm, 20, 21, 22)}},
		"the older one acknowledges once more": {
			writes: []Write{acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), acked(3, oldTerm, 13, 14, 15)},
			want:   []found{{Older: oldTerm, Newer: newTerm, Late: 1}},
		},
		"both go on": {
			writes: []Write{
				acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), acked(3, oldTerm, 13, 14, 15), acked(4, newTerm, 16, 17, 18),
				acked(5, oldTerm, 19, 20, 21),
			},
			want: []found{{Older: oldTerm, Newer: newTerm, Late: 2, Alternating: true}},
		},
		// It may have been committed before the newer one was promoted, and only the answer came late.
		"an answer that comes late is no proof": {
			writes: []Write{acked(1, oldTerm, 0, 5, 30), acked(2, newTerm, 10, 11, 12)},
		},
		"an answer that comes late counts beside a proof": {
			writes: []Write{acked(1, oldTerm, 0, 5, 30), acked(2, newTerm, 10, 11, 12), acked(3, oldTerm, 13, 14, 15)},
			want:   []found{{Older: oldTerm, Newer: newTerm, Late: 1, Overlapping: 1}},
		},
		"what is not acknowledged is no proof": {
			writes: []Write{acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), write(3, Unknown, &oldTerm, 13, 14, 15)},
		},
		"a restart in place is not a second primary": {
			writes: []Write{acked(1, oldTerm, 0, 1, 2), acked(2, again, 10, 11, 12)},
		},
		"an orphan of the earlier start acknowledges": {
			writes: []Write{acked(1, oldTerm, 0, 1, 2), acked(2, again, 10, 11, 12), acked(3, oldTerm, 13, 14, 15)},
			want:   []found{{Older: oldTerm, Newer: again, Late: 1}},
		},
		"two promotions took the same epoch, and only one of them lasted": {
			writes: []Write{acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), acked(3, rival, 20, 21, 22)},
		},
		"two promotions took the same epoch, and both go on": {
			writes: []Write{acked(1, newTerm, 10, 11, 12), acked(2, rival, 12, 13, 14), acked(3, newTerm, 15, 16, 17), acked(4, rival, 18, 19, 20)},
			want:   []found{{Older: newTerm, Newer: rival, Late: 1, Alternating: true}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// Half of what an isolated primary acknowledges is in a log of its own.
			service, target := runOf(100), Run{ID: "t", Start: Start{Target: oldTerm.Address}}
			for i, w := range test.writes {
				if w.Server.Term == oldTerm && i > 0 {
					target.Writes = append(target.Writes, w)
				} else {
					service.Writes = append(service.Writes, w)
				}
			}
			r := Analyze(History{Runs: []Run{target, service}}, Readback{}, Options{})
			var got []found
			for _, i := range r.Interleavings {
				got = append(got, found{i.Older, i.Newer, i.Late, i.Overlapping, i.Alternating})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			said := slices.ContainsFunc(r.Failures, func(f string) bool { return strings.Contains(f, "older primary") })
			if said != (len(test.want) > 0) {
				t.Errorf("failures: %q", r.Failures)
			}
		})
	}
}

func TestInterleavingGivesTheTimes(t *testing.T) {
	run := runOf(100, acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), acked(3, oldTerm, 13, 14, 15), acked(4, oldTerm, 23, 24, 25))
	r := Analyze(History{Runs: []Run{run}}, Readback{}, Options{})
	if len(r.Interleavings) != 1 {
		t.Fatalf("interleavings: %v", r.Interleavings)
	}
	got := r.Interleavings[0]
	if !got.NewerFirst.Equal(ms(12).Time()) || !got.LateFirst.Equal(ms(14).Time()) || !got.LateLast.Equal(ms(25).Time()) {
		t.Errorf("newer first %s, late %s to %s", got.NewerFirst, got.LateFirst, got.LateLast)
	}
}

func TestRowsAndAcknowledgementsOfEveryTerm(t *testing.T) {
	run := runOf(100, acked(1, newTerm, 10, 11, 12), acked(2, oldTerm, 0, 1, 2), acked(3, oldTerm, 3, 4, 5))
	r := Analyze(History{Runs: []Run{run}}, Readback{Rows: []Row{row(1, newTerm), row(2, oldTerm), row(9, rival)}}, Options{})
	var got []string
	for _, term := range r.Terms {
		got = append(got, fmt.Sprintf("%s rows %d acknowledged %d", term.Instance, term.Rows, term.Acknowledged))
	}
	want := []string{"db-0 rows 1 acknowledged 2", "db-1 rows 1 acknowledged 1", "db-2 rows 1 acknowledged 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestARowThatAReaderSawMustNotVanish(t *testing.T) {
	run := runOf(100, acked(1, oldTerm, 0, 1, 2))
	run.Reads = []Read{
		{Outcome: Acknowledged, Newest: []int64{0}, End: ms(1)},
		{Outcome: Acknowledged, Newest: []int64{1}, End: ms(3)},
		{Outcome: Failed, Begin: ms(10), End: ms(20)},
		{Outcome: Acknowledged, Newest: []int64{2}, End: ms(40)},
		{Outcome: Acknowledged, Newest: []int64{2}, End: ms(50)},
	}
	h, readback := History{Runs: []Run{run}}, Readback{Rows: []Row{row(1, oldTerm)}}
	lenient, strict := Analyze(h, readback, Options{}), Analyze(h, readback, Options{StrictReads: true})
	if got := sequences(lenient.Vanished); !slices.Equal(got, []int64{2}) || !lenient.Vanished.First.Equal(ms(40).Time()) {
		t.Errorf("vanished %v at %s", got, lenient.Vanished.First)
	}
	if len(lenient.Failures) != 0 || len(strict.Failures) != 1 {
		t.Errorf("failures %q, strictly %q", lenient.Failures, strict.Failures)
	}
	reads := lenient.Runs[0].Reads
	if reads.Requests != 5 || reads.Failed != 1 || reads.Gap.Length.Duration != 50*time.Millisecond || !reads.Gap.Open {
		t.Errorf("reads: %+v", reads)
	}
}

func TestTheTextNamesEveryFailure(t *testing.T) {
	run := runOf(100, acked(1, oldTerm, 0, 1, 2), acked(2, newTerm, 10, 11, 12), acked(3, oldTerm, 13, 14, 15))
	r := Analyze(History{Runs: []Run{run}}, Readback{Rows: []Row{row(1, oldTerm), row(2, newTerm)}}, Options{})
	text := &strings.Builder{}
	if err := r.WriteText(text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"FAILED: 1 acknowledged writes are lost\n", "lost 1 (00:00:00.015000 to 00:00:00.015000)\n", "FAILED: 1 times an older primary",
		"run r worker 0 sequence 3, 00:00:00.015000 from db-0", "newer: db-1 10.0.0.2:5432, start 100, epoch 2, first acknowledged 00:00:00.012000",
		"note: epoch 2 acknowledged writes, but the rows were read from epoch 0",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text.String(), "OK\n") {
		t.Errorf("it says OK:\n%s", text)
	}
}
