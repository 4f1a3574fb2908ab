package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/platform-io/database-operator/hack/audit"
)

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
	good := result{Databases: 2, Volumes: 2, Rest: []audit.Count{{Verb: "get", Resource: "secrets", N: 1}}}
	if err := good.verdict(); err != nil {
		t.Error(err)
	}
	bad := result{Databases: 2, Volumes: 3, Rest: []audit.Count{{Verb: "patch", Resource: "services", N: 4}}, BadVolumes: []string{"data-a-0: 2 new databases"}}
	err := bad.verdict()
	for _, want := range []string{"written to, 4 times", "data-a-0: 2 new databases", "3 volumes for 2 Databases"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestRatiosArePerDatabase(t *testing.T) {
	r := result{
		Databases: 4, Requests: []audit.Count{{Verb: "patch", Resource: "services", N: 12}, {Verb: "get", Resource: "secrets", N: 2}}, Seconds: map[string]float64{"ready": 8},
		Memory: map[string]int64{"idle": 10 << 20, "settled": 12 << 20},
	}
	text := r.text()
	for _, want := range []string{"patch services", "3\n", "0.5\n", "512 KiB", "8.0"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
