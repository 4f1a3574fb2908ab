package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// events is what "go test -json" prints for a package with a table, a skipped test, and a package that does not compile.
const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestTable"}
{"Action":"run","Package":"p","Test":"TestTable/one"}
{"Action":"output","Package":"p","Test":"TestTable/one","Output":"    a_test.go:3: one is wrong\n"}
{"Action":"fail","Package":"p","Test":"TestTable/one"}
{"Action":"run","Package":"p","Test":"TestTable/two"}
{"Action":"pass","Package":"p","Test":"TestTable/two"}
{"Action":"fail","Package":"p","Test":"TestTable"}
{"Action":"run","Package":"p","Test":"TestRoot"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"    a_test.go:9: needs root: run it as root\n"}
{"Action":"skip","Package":"p","Test":"TestRoot"}
{"Action":"fail","Package":"p","Elapsed":0.5}
{"Action":"build-output","ImportPath":"q","Output":"q.go:1: syntax error\n"}
{"Action":"fail","Package":"q","FailedBuild":"q"}
{"Action":"skip","Package":"empty"}
`

func collect(t *testing.T, input string) ([]string, string) {
	t.Helper()
	var out bytes.Buffer
	c := &collector{out: &out, output: map[string]*bytes.Buffer{}, parents: map[string]bool{}, failed: map[string]bool{}}
	c.read(strings.NewReader(input))
	outcomes := []string{"passed", "failed", "skipped"}
	var got []string
	for _, r := range c.leaves() {
		got = append(got, outcomes[r.outcome]+" "+r.String())
	}
	return got, out.String()
}

func TestCountsTestsWithoutSubtestsAndPackagesThatDoNotCompile(t *testing.T) {
	got, out := collect(t, events)
	want := []string{
		"failed p TestTable/one: a_test.go:3: one is wrong",
		"passed p TestTable/two",
		"skipped p TestRoot: needs root: run it as root",
		"failed q the package: does not compile",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, text := range []string{"one is wrong", "q.go:1: syntax error", "fail  p 500ms"} {
		if !strings.Contains(out, text) {
			t.Errorf("the output lacks %q:\n%s", text, out)
		}
	}
}

func TestTheSummaryRepeatsHowAFailedTestBeganAndEnded(t *testing.T) {
	var output strings.Builder
	output.WriteString("=== RUN T\n")
	for i := range 40 {
		fmt.Fprintf(&output, "    a_test.go:%d: x\n", i)
	}
	got := strings.Split(reason("fail", output.String()), "\n")
	if len(got) != firstSaid+1+lastSaid || got[0] != "a_test.go:0: x" || strings.TrimSpace(got[len(got)-1]) != "a_test.go:39: x" {
		t.Errorf("got %q", got)
	}
}

func TestATestCountsThatFailsAlthoughItsSubtestsPass(t *testing.T) {
	got, _ := collect(t, `{"Action":"run","Package":"p","Test":"T"}
{"Action":"run","Package":"p","Test":"T/a"}
{"Action":"pass","Package":"p","Test":"T/a"}
{"Action":"fail","Package":"p","Test":"T"}
`)
	if want := []string{"passed p T/a", "failed p T"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAPackageThatPanicsOutsideOfATestHasFailed(t *testing.T) {
	got, out := collect(t, `{"Action":"output","Package":"p","Output":"panic: no\n"}
{"Action":"fail","Package":"p"}
`)
	if want := []string{"failed p the package: failed outside of a test"}; !slices.Equal(got, want) || !strings.Contains(out, "panic: no") {
		t.Errorf("got %q, want %q; output: %s", got, want, out)
	}
}

func TestTheSummaryEndsWithTheCounts(t *testing.T) {
	s := &summary{}
	s.add("unit", 0, []result{{name: "A"}, {name: "B", outcome: skipped, reason: "no root"}})
	s.add("e2e", 0, nil)
	var out bytes.Buffer
	s.print(&out)
	if text := out.String(); !strings.HasSuffix(text, "\n1 passed, 0 failed, 1 skipped\n") || !strings.Contains(text, "unit: B: no root") {
		t.Errorf("unexpected summary:\n%s", text)
	}
}

func TestLayersRunInTheirOrderWhateverTheOrderOfTheirNames(t *testing.T) {
	chosen, err := choose([]string{"e2e", "unit"})
	if err != nil || len(chosen) != 2 || chosen[0].name != "unit" {
		t.Errorf("got %v, %v", chosen, err)
	}
	if _, err := choose([]string{"units"}); err == nil {
		t.Error("an unknown layer was accepted")
	}
	if err := run(t.Context(), nil, io.Discard); err == nil {
		t.Error("no layer was accepted")
	}
}

func TestKubernetesVersionsAreFoundInModuleFiles(t *testing.T) {
	matches := versioned.FindAllStringSubmatch("\tk8s.io/api v0.37.2\n\tk8s.io/kubernetes v1.37.2\n\tk8s.io/klog/v2 v2.140.0\n\tk8s.io/utils v0.0.0-2026 // indirect\n", -1)
	if len(matches) != 2 || matches[0][3] != "37.2" || matches[1][3] != "37.2" {
		t.Errorf("got %q", matches)
	}
}
