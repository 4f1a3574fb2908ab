package record_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/pkg/record"
)

var whole = record.Record{
	Name:          "b",
	Chain:         []record.Epoch{{Number: 1, Name: "a"}, {Number: 2, Name: "b", Begin: 1<<64 - 1}},
	Candidates:    []record.Candidate{{Name: "a", Instance: "db-0"}, {Name: "b", Instance: "db-1"}, {Name: "c", Instance: "db-2"}},
	W:             1,
	Handover:      "c",
	RenewDeadline: 10 * time.Second, RenewPeriod: 5 * time.Second, RetryPeriod: 1500 * time.Millisecond,
}

func render(t *testing.T, r record.Record) string {
	t.Helper()
	text, err := r.Render()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestARecordComesBackAsItWas(t *testing.T) {
	const want = `{"name":"b","chain":[{"number":1,"name":"a","begin":0},{"number":2,"name":"b","begin":18446744073709551615}],` +
		`"candidates":[{"name":"a","instance":"db-0"},{"name":"b","instance":"db-1"},{"name":"c","instance":"db-2"}],` +
		`"w":1,"handover":"c","renewDeadline":"10s","renewPeriod":"5s","retryPeriod":"1.5s"}`
	text := render(t, whole)
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
	got, err := record.Parse(text)
	if diff := cmp.Diff(whole, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if got, err := record.Parse(""); err != nil || !cmp.Equal(got, record.Record{}) {
		t.Errorf("no text is %+v, %v; want the empty record", got, err)
	}
}

// An older agent that renews must not drop what a newer one wrote.
func TestFieldsOfLaterReleasesSurvive(t *testing.T) {
	const later = `{"future":{"b":[1.50],"a":2},"name":"b","w":0,"also":null,` +
		`"chain":[{"number":7,"name":"b","begin":9,"cause":"lost"}],"candidates":[{"name":"b","zone":"west","age":1e3}]}`
	r, err := record.Parse(later)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Candidates) != 1 || r.Candidates[0].Name != "b" || r.Chain[0].Number != 7 {
		t.Errorf("what is known was not read: %+v", r)
	}
	r.W = 2
	const want = `{"name":"b","chain":[{"number":7,"name":"b","begin":9,"cause":"lost"}],"candidates":[{"name":"b","age":1e3,"zone":"west"}],` +
		`"w":2,"also":null,"future":{"b":[1.50],"a":2}}`
	if diff := cmp.Diff(want, render(t, r)); diff != "" {
		t.Error(diff)
	}
	if again, err := record.Parse(render(t, r)); err != nil || !cmp.Equal(r, again) || again.Candidates[0] != r.Candidates[0] {
		t.Errorf("read again it differs: %+v, %v", again, err)
	}
}

func TestWhatIsNoRecordIsAnError(t *testing.T) {
	for _, text := range []string{"x", "[]", `{"name":1}`, `{"chain":[{"begin":-1}]}`, `{"renewPeriod":"soon"}`, `{"candidates":[1]}`} {
		if r, err := record.Parse(text); err == nil {
			t.Errorf("%s is read as %+v", text, r)
		}
	}
}

func TestWhoIsACandidate(t *testing.T) {
	if diff := cmp.Diff([]string{"a", "c"}, whole.Synchronous()); diff != "" {
		t.Errorf("synchronous names: %s", diff)
	}
	if !whole.Lists("db-2") || whole.Lists("db-3") || whole.Lists("c") {
		t.Error("the instances of candidates are mixed up")
	}
	if c, ok := whole.Candidate("c"); !ok || c.Instance != "db-2" {
		t.Errorf("candidate c is %+v, %v", c, ok)
	}
	if _, ok := whole.Candidate("db-2"); ok {
		t.Error("an instance is no name")
	}
}

func TestIdentities(t *testing.T) {
	id := record.Identity{Pod: "db-0", UID: "3f"}
	if got, ok := record.ParseIdentity(id.String()); !ok || got != id {
		t.Errorf("%v, %v", got, ok)
	}
	if got, ok := record.ParseIdentity(""); !ok || got != (record.Identity{}) || got.String() != "" {
		t.Errorf("nobody is %v, %v", got, ok)
	}
	for _, foreign := range []string{"db-0", "/3f", "db-0/"} {
		if got, ok := record.ParseIdentity(foreign); ok {
			t.Errorf("%q is read as %v", foreign, got)
		}
	}
}
