package elector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

func clientOf(t *testing.T, handler http.HandlerFunc) *leaseClient {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := newLeaseClient(&rest.Config{Host: server.URL}, testNamespace, testLease)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// status is an answer of an API server that is no object.
func status(code int, reason metav1.StatusReason, causes ...string) string {
	s := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
		Details: &metav1.StatusDetails{Name: testLease, Kind: "leases"},
	}
	for _, field := range causes {
		s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: field})
	}
	text, _ := json.Marshal(s)
	return string(text)
}

func TestOutcomesOfWrites(t *testing.T) {
	for name, c := range map[string]struct {
		code    int
		body    string
		creates bool
		want    election.Outcome
	}{
		"another version":                      {409, status(409, metav1.StatusReasonConflict), false, election.Conflict},
		"there is one":                         {409, status(409, metav1.StatusReasonAlreadyExists), true, election.Conflict},
		"there is one, by PUT":                 {422, status(422, metav1.StatusReasonInvalid, "metadata.resourceVersion"), true, election.Conflict},
		"it is gone":                           {404, status(404, metav1.StatusReasonNotFound), false, election.Conflict},
		"its namespace is gone":                {404, status(404, metav1.StatusReasonNotFound), true, election.Unknown},
		"it is wrong":                          {422, status(422, metav1.StatusReasonInvalid, "spec.holderIdentity"), true, election.Unknown},
		"forbidden":                            {403, status(403, metav1.StatusReasonForbidden), false, election.Unknown},
		"too many":                             {429, status(429, metav1.StatusReasonTooManyRequests), false, election.Unknown},
		"etcd did not answer":                  {500, status(500, metav1.StatusReasonInternalError), false, election.Unknown},
		"it took too long":                     {504, status(504, metav1.StatusReasonTimeout), false, election.Unknown},
		"something in between: no such page":   {404, "404 page not found", false, election.Unknown},
		"something in between: conflict":       {409, "conflict", false, election.Unknown},
		"something in between: no server left": {503, "no healthy upstream", false, election.Unknown},
		"no Lease at all":                      {200, "<html>", false, election.Unknown},
	} {
		var requests atomic.Int32
		client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/namespaces/shop/leases/orders-primary") || r.URL.Query().Get("timeout") == "" {
				t.Errorf("unexpected request: %s %s", r.Method, r.URL)
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(c.code)
			fmt.Fprint(w, c.body)
		})
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: testLease, ResourceVersion: "5"}}
		if c.creates {
			lease.ResourceVersion = ""
		}
		if _, got, err := client.write(t.Context(), lease, time.Second); got != c.want || err == nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if requests.Load() != 1 {
			t.Errorf("%s: it was sent %d times", name, requests.Load())
		}
	}
}

func TestReadsSayWhetherThereIsALease(t *testing.T) {
	for name, c := range map[string]struct {
		code     int
		body     string
		there    bool
		answered bool
	}{
		"there":              {200, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"orders-primary","resourceVersion":"5"}}`, true, true},
		"not there":          {404, status(404, metav1.StatusReasonNotFound), false, true},
		"no API server":      {404, "404 page not found", false, false},
		"forbidden":          {403, status(403, metav1.StatusReasonForbidden), false, false},
		"a server's failure": {500, status(500, metav1.StatusReasonInternalError), false, false},
	} {
		client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("resourceVersion") {
				t.Errorf("%s: the read is not from a quorum: %s", name, r.URL)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.code)
			fmt.Fprint(w, c.body)
		})
		lease, err := client.read(t.Context(), time.Second)
		if (lease != nil) != c.there || (err == nil) != c.answered {
			t.Errorf("%s: %v, %v", name, lease, err)
		}
	}
}

// After a request without an answer no connection is used again, not even one that was idle meanwhile.
func TestAConnectionWithoutAnAnswerIsNotUsedAgain(t *testing.T) {
	var hang atomic.Bool
	both := make(chan struct{}, 2)
	connections := make(chan string, 10)
	client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("it speaks %s", r.Proto)
		}
		connections <- r.RemoteAddr
		if hang.Load() {
			<-r.Context().Done()
			return
		}
		<-both
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"orders-primary","resourceVersion":"5"}}`)
	})
	get := func(limit time.Duration) error {
		_, err := client.read(t.Context(), limit)
		return err
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if err := get(10 * time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	used := map[string]bool{<-connections: true, <-connections: true}
	both <- struct{}{}
	both <- struct{}{}
	group.Wait()
	both <- struct{}{}
	if err := get(10 * time.Second); err != nil || len(used) != 2 || !used[<-connections] {
		t.Fatalf("connections are not kept: %v, %v", used, err)
	}
	hang.Store(true)
	if err := get(200 * time.Millisecond); err == nil {
		t.Fatal("an answer came")
	}
	used[<-connections] = true
	hang.Store(false)
	both <- struct{}{}
	if err := get(10 * time.Second); err != nil || used[<-connections] {
		t.Errorf("an old one is used again: %v", err)
	}
}

func TestTheWatchGoesOn(t *testing.T) {
	var requests atomic.Int32
	client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("fieldSelector") != "metadata.name=orders-primary" || q.Get("watch") != "true" || q.Get("resourceVersion") != "" {
			t.Errorf("unexpected watch: %s", r.URL)
		}
		n := requests.Add(1)
		if n == 2 {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"type":"ADDED","object":{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"orders-primary","resourceVersion":"%d"}}}`+"\n", n)
		if n == 1 {
			fmt.Fprintf(w, `{"type":"ERROR","object":%s}`+"\n", status(410, metav1.StatusReasonExpired))
		}
	})
	ctx, end := context.WithCancel(t.Context())
	var seen []string
	client.watch(ctx, func(kind watch.EventType, lease *coordinationv1.Lease) {
		seen = append(seen, string(kind)+lease.ResourceVersion)
		if len(seen) == 2 {
			end()
		}
	})
	if strings.Join(seen, " ") != "ADDED1 ADDED3" {
		t.Errorf("it showed %v", seen)
	}
}
