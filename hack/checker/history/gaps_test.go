package history

import (
	"encoding/json"
	"testing"
	"time"
)

func TestGapsAndOutages(t *testing.T) {
	failed := func(begin, end int64) Write { return write(0, Failed, nil, begin, 0, end) }
	unknown := func(begin, end int64) Write { return write(0, Unknown, nil, begin, begin, end) }
	good := func(begin, end int64) Write { return acked(0, oldTerm, begin, begin, end) }
	tests := map[string]struct {
		writes   []Write
		end      int64
		gap      int64
		gapOpen  bool
		outages  int
		longest  int64
		requests int
		open     bool
	}{
		"always well":                     {writes: []Write{good(0, 10), good(20, 30), good(40, 50)}, end: 50, gap: 20},
		"the first one comes late":        {writes: []Write{good(0, 90), good(90, 100)}, end: 100, gap: 90},
		"slow is a gap, but no outage":    {writes: []Write{good(0, 10), good(20, 500)}, end: 500, gap: 490},
		"failures between two successes":  {writes: []Write{good(0, 10), failed(20, 21), failed(30, 31), good(40, 60)}, end: 60, gap: 50, outages: 1, longest: 40, requests: 2},
		"a hanging one counts from begin": {writes: []Write{good(0, 10), failed(15, 16), unknown(12, 2012), good(2012, 2020)}, end: 2020, gap: 2010, outages: 1, longest: 2008, requests: 2},
		"a success of another worker ends it": {
			writes: []Write{good(0, 10), failed(20, 21), good(18, 25), failed(30, 31), failed(40, 41), good(50, 51)}, end: 51, gap: 26,
			outages: 2, longest: 21, requests: 2,
		},
		"it never comes back":    {writes: []Write{good(0, 10), failed(20, 21), failed(30, 31)}, end: 1000, gap: 990, gapOpen: true, outages: 1, longest: 980, requests: 2, open: true},
		"nothing ever succeeded": {writes: []Write{failed(20, 21)}, end: 1000, gap: 1000, gapOpen: true, outages: 1, longest: 980, requests: 1, open: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run := runOf(test.end, test.writes...)
			r := Summarize(&run)
			if got := r.Gap.Length.Milliseconds(); got != test.gap || r.Gap.Open != test.gapOpen {
				t.Errorf("gap %+v, want %d ms", r.Gap, test.gap)
			}
			longest := r.LongestOutage
			if longest == nil {
				longest = &Outage{}
			}
			if r.Outages != test.outages || longest.Length.Milliseconds() != test.longest || longest.Requests != test.requests || longest.Open != test.open {
				t.Errorf("%d outages, the longest %+v", r.Outages, longest)
			}
		})
	}
}

func TestReconnectsLatencyAndReasons(t *testing.T) {
	run := runOf(100,
		Write{Worker: 0, Connected: true, Attempt: Attempt{Outcome: Acknowledged}, Begin: ms(0), End: ms(5)},
		Write{Worker: 1, Connected: true, Attempt: Attempt{Outcome: Acknowledged}, Begin: ms(0), End: ms(10)},
		Write{Worker: 0, Attempt: Attempt{Outcome: Unknown, Stage: StageCommit, Reason: "reset", Error: "gone", Warning: "terminating"}, Begin: ms(10), End: ms(20)},
		Write{Worker: 0, Attempt: Attempt{Outcome: Failed, Stage: StageConnect, Reason: "refused", Error: "no"}, Begin: ms(20), End: ms(21)},
		Write{Worker: 0, Connected: true, Attempt: Attempt{Outcome: Unknown, Stage: StageCommit, Reason: "warning", Warning: "w"}, Begin: ms(30), End: ms(31)},
	)
	r := Summarize(&run)
	if r.Reconnects != 1 || r.Reserved != 1 || r.Requests != 5 || r.Unknown != 2 {
		t.Errorf("reconnects %d, reserved %d, requests %d, unknown %d", r.Reconnects, r.Reserved, r.Requests, r.Unknown)
	}
	if r.Reasons["connect: refused"] != 1 || r.Reasons["commit: reset"] != 1 || r.Reasons["commit: warning"] != 1 || len(r.Reasons) != 3 {
		t.Errorf("reasons %v", r.Reasons)
	}
	if r.Latency.Count != 2 || r.Latency.P50.Milliseconds() != 5 || r.Latency.Max.Milliseconds() != 10 {
		t.Errorf("latency %s", r.Latency)
	}
}

func TestSessions(t *testing.T) {
	r := summarizeSessions([]Session{
		{State: SessionOpened},
		{State: SessionOpened},
		{State: SessionOpened},
		{State: SessionRefused},
		{State: SessionEnded, At: ms(10)},
		{State: SessionEnded, At: ms(20)},
		{State: SessionAnswers, At: ms(99)},
	})
	if r.Opened != 3 || r.Refused != 1 || r.Ended != 2 || r.Answer != 1 || r.Dead != 0 {
		t.Errorf("%+v", r)
	}
	if !r.FirstEnd.Equal(ms(10).Time()) || !r.LastEnd.Equal(ms(20).Time()) {
		t.Errorf("ended from %s to %s", r.FirstEnd, r.LastEnd)
	}
}

func TestPercentiles(t *testing.T) {
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i)*time.Second)
	}
	for _, test := range []struct {
		durations     []time.Duration
		p50, p95, max time.Duration
	}{
		{durations: all, p50: 50 * time.Second, p95: 95 * time.Second, max: 100 * time.Second},
		{durations: all[:1], p50: 100 * time.Second, p95: 100 * time.Second, max: 100 * time.Second},
		{durations: []time.Duration{3, 1, 2}, p50: 2, p95: 3, max: 3},
		{durations: []time.Duration{4, 3, 1, 2}, p50: 2, p95: 4, max: 4},
		{},
	} {
		got := PercentilesOf(test.durations)
		want := Percentiles{Count: len(test.durations), P50: Duration{test.p50}, P95: Duration{test.p95}, Max: Duration{test.max}}
		if got != want {
			t.Errorf("of %v: %+v", test.durations, got)
		}
	}
}

func TestManyReportsAreOne(t *testing.T) {
	report := func(gap, outage time.Duration, lost int) Report {
		r := Report{Lost: Finding{Count: lost}, Runs: []RunReport{
			{Failed: 3, Gap: Gap{Length: Duration{gap}}, LongestOutage: &Outage{Gap: Gap{Length: Duration{outage}}}},
			{Target: "10.0.0.1:5432", Failed: 1000, Gap: Gap{Length: Duration{time.Hour}}},
		}}
		if lost > 0 {
			r.Failures = []string{"lost"}
		}
		return r
	}
	got := Repeat([]Report{report(3*time.Second, 2*time.Second, 0), report(time.Second, time.Second, 7), {Runs: []RunReport{{Failed: 1}}}})
	want := Repeated{
		Reports: 3, Bad: 1, Lost: 7, Failed: 7,
		Gap:    Percentiles{Count: 3, P50: Duration{time.Second}, P95: Duration{3 * time.Second}, Max: Duration{3 * time.Second}},
		Outage: Percentiles{Count: 3, P50: Duration{time.Second}, P95: Duration{2 * time.Second}, Max: Duration{2 * time.Second}},
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
}

func TestDurationsAreSeconds(t *testing.T) {
	content, err := json.Marshal(Duration{1234 * time.Millisecond})
	if err != nil || string(content) != "1.234" {
		t.Errorf("%s, %v", content, err)
	}
	var back Duration
	if err := json.Unmarshal(content, &back); err != nil || back.Duration != 1234*time.Millisecond {
		t.Errorf("%s, %v", back, err)
	}
}
