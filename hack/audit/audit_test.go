package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const log = `{"stage":"ResponseComplete","verb":"patch","userAgent":"database-operator/v1","user":{"username":"operator"},"requestReceivedTimestamp":"2026-01-01T00:00:01Z","objectRef":{"resource":"databases","subresource":"status","namespace":"here","name":"pg"}}
{"stage":"ResponseComplete","verb":"patch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:02Z","objectRef":{"resource":"databases","subresource":"status"}}
{"stage":"ResponseComplete","verb":"get","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:03Z","objectRef":{"resource":"secrets"}}
{"stage":"ResponseStarted","verb":"watch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:04Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"watch","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:04Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"patch","userAgent":"bench","requestReceivedTimestamp":"2026-01-01T00:00:05Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"get","userAgent":"database-operator/v1","requestReceivedTimestamp":"2026-01-01T00:00:59Z"}
{"stage":"ResponseComplete","verb":"ge`

func TestOnlyWantedRequestsAreCountedAndOnce(t *testing.T) {
	requests, err := Read(strings.NewReader(log), func(r Request) bool { return strings.HasPrefix(r.UserAgent, "database-operator/") })
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first := Request{
		At: start.Add(time.Second), Verb: "patch", Resource: "databases/status", Namespace: "here", Name: "pg", User: "operator", UserAgent: "database-operator/v1",
	}
	if diff := cmp.Diff(first, requests[0]); diff != "" {
		t.Errorf("the first one (-want +got)\n%s", diff)
	}
	got := Tally(requests, start, start.Add(30*time.Second))
	want := []Count{{"patch", "databases/status", 2}, {"get", "secrets", 1}, {"watch", "pods", 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if all, changing := Total(got, IsAny), Total(got, IsWrite); all != 4 || changing != 2 {
		t.Errorf("%d requests, %d writes", all, changing)
	}
	if got := Tally(requests, start.Add(30*time.Second), start.Add(time.Hour)); len(got) != 1 || got[0].Resource != "(none)" {
		t.Errorf("later: %v", got)
	}
}

func TestALogThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := Read(strings.NewReader("nonsense\n"), func(Request) bool { return true }); err == nil {
		t.Error("no error")
	}
}
