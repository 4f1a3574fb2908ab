package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const auditLog = `{"stage":"ResponseComplete","verb":"patch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:01Z","objectRef":{"resource":"databases","subresource":"status"}}
{"stage":"ResponseComplete","verb":"patch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:02Z","objectRef":{"resource":"databases","subresource":"status"}}
{"stage":"ResponseComplete","verb":"get","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:03Z","objectRef":{"resource":"secrets"}}
{"stage":"ResponseStarted","verb":"watch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:04Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"watch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:04Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"patch","userAgent":"bench","requestReceivedTimestamp":"2026-01-01T00:00:05Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"get","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:59Z"}
{"stage":"ResponseComplete","verb":"ge`

func TestOnlyTheOperatorsRequestsAreCountedAndOnce(t *testing.T) {
	requests, err := parseAudit(strings.NewReader(auditLog), "database-operator/")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	got := tally(requests, start, start.Add(30*time.Second))
	want := []count{{"patch", "databases/status", 2}, {"get", "secrets", 1}, {"watch", "pods", 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if all, changing := total(got, isAny), total(got, isWrite); all != 4 || changing != 2 {
		t.Errorf("%d requests, %d writes", all, changing)
	}
	if got := tally(requests, start.Add(30*time.Second), start.Add(time.Hour)); len(got) != 1 || got[0].Resource != "(none)" {
		t.Errorf("later: %v", got)
	}
}

func TestALogThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := parseAudit(strings.NewReader("nonsense\n"), ""); err == nil {
		t.Error("no error")
	}
}

const metrics = `# TYPE h histogram
h_bucket{result="success",le="1"} 50
h_bucket{result="success",le="2"} 90
h_bucket{result="success",le="+Inf"} 90
h_sum{result="success"} 80
h_count{result="success"} 90
h_bucket{result="error",le="1"} 0
h_bucket{result="error",le="2"} 10
h_bucket{result="error",le="+Inf"} 10
h_sum{result="error"} 15
h_count{result="error"} 10
# TYPE over histogram
over_bucket{le="1"} 40
over_bucket{le="+Inf"} 100
over_sum 1000
over_count 100
# TYPE rest_client_requests_total counter
rest_client_requests_total{code="200",method="GET"} 7
rest_client_requests_total{code="200",method="PATCH"} 3
rest_client_requests_total{code="201",method="POST"} 2
`

func parsed(t *testing.T) families {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	f, err := parser.TextToMetricFamilies(strings.NewReader(metrics))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHistogramsAreMergedAndInterpolated(t *testing.T) {
	f := parsed(t)
	got := f.histogram("h")
	if got.Count != 100 || got.Sum != 95 || got.P50 != 1 || math.Abs(got.P99-1.98) > 1e-9 || got.Max != 2 || got.Top != 0 {
		t.Errorf("got %+v", got)
	}
	if got := f.histogram("none"); got != (quantiles{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestWhatIsAboveTheLastBucketIsNotMadeSmaller(t *testing.T) {
	got := parsed(t).histogram("over").cells()
	if diff := cmp.Diff([]string{"p50 > 1.0s", "p99 > 1.0s", "max > 1.0s"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCounters(t *testing.T) {
	f := parsed(t)
	if n := f.writes(); n != 5 {
		t.Errorf("%v writes", n)
	}
	if got := codes(f.by("rest_client_requests_total", "code")); got != "200: 10, 201: 2" {
		t.Errorf("by code: %s", got)
	}
}

func TestTheVerdictIsAboutWhatMustNotBe(t *testing.T) {
	good := result{Databases: 2, Volumes: 2, Rest: []count{{"get", "secrets", 1}}}
	if err := good.verdict(); err != nil {
		t.Error(err)
	}
	bad := result{Databases: 2, Volumes: 3, Rest: []count{{"patch", "services", 4}}, BadVolumes: []string{"data-a-0: 2 new databases"}}
	err := bad.verdict()
	for _, want := range []string{"written to, 4 times", "data-a-0: 2 new databases", "3 volumes for 2 Databases"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestRatiosArePerDatabase(t *testing.T) {
	r := result{
		Databases: 4, Requests: []count{{"patch", "services", 12}, {"get", "secrets", 2}}, Seconds: map[string]float64{"ready": 8},
		Memory: map[string]int64{"idle": 10 << 20, "settled": 12 << 20},
	}
	text := r.text()
	for _, want := range []string{"patch services", "3\n", "0.5\n", "512 KiB", "8.0"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
