// Package audit counts the requests in an API server's audit log, as its policy Metadata writes it.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Request is one that was answered; a watch is counted when it begins.
type Request struct {
	At                  time.Time
	Verb                string
	Resource, Namespace string // of the object; Resource with its subresource
	Name                string // of the object, where one is named
	User, UserAgent     string
}

// Count is how many requests there were of a verb and a resource.
type Count struct {
	Verb     string `json:"verb"`
	Resource string `json:"resource"`
	N        int    `json:"n"`
}

// ReadFile reads a log, and keeps the requests that are wanted.
func ReadFile(path string, wanted func(Request) bool) ([]Request, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	return Read(file, wanted)
}

// Read is ReadFile of an open log, which may still be written.
func Read(log io.Reader, wanted func(Request) bool) ([]Request, error) {
	var requests []Request
	reader := bufio.NewReader(log)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil // a line without end is still being written
		}
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		request, counted, err := parse(line)
		if err != nil {
			return nil, err
		}
		if counted && wanted(request) {
			requests = append(requests, request)
		}
	}
}

func parse(line []byte) (r Request, counted bool, err error) {
	var event struct {
		Stage     string    `json:"stage"`
		Verb      string    `json:"verb"`
		UserAgent string    `json:"userAgent"`
		Received  time.Time `json:"requestReceivedTimestamp"`
		User      struct {
			Username string `json:"username"`
		} `json:"user"`
		Object *struct {
			Resource    string `json:"resource"`
			Subresource string `json:"subresource"`
			Namespace   string `json:"namespace"`
			Name        string `json:"name"`
		} `json:"objectRef"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return r, false, fmt.Errorf("read the audit log: %w", err)
	}
	r = Request{At: event.Received, Verb: event.Verb, Resource: "(none)", User: event.User.Username, UserAgent: event.UserAgent}
	if event.Object != nil {
		r.Resource, r.Namespace, r.Name = event.Object.Resource, event.Object.Namespace, event.Object.Name
		if event.Object.Subresource != "" {
			r.Resource += "/" + event.Object.Subresource
		}
	}
	watch := event.Verb == "watch"
	return r, event.Stage == "ResponseComplete" && !watch || event.Stage == "ResponseStarted" && watch, nil
}

// Tally counts the requests of a span of time, most frequent first.
func Tally(requests []Request, from, to time.Time) []Count {
	numbers := map[Count]int{}
	for _, r := range requests {
		if !r.At.Before(from) && r.At.Before(to) {
			numbers[Count{Verb: r.Verb, Resource: r.Resource}]++
		}
	}
	counts := make([]Count, 0, len(numbers))
	for kind, n := range numbers {
		kind.N = n
		counts = append(counts, kind)
	}
	slices.SortFunc(counts, func(a, b Count) int {
		if a.N != b.N {
			return b.N - a.N
		}
		return strings.Compare(a.Verb+a.Resource, b.Verb+b.Resource)
	})
	return counts
}

// writes are the verbs that change something.
var writes = map[string]bool{"create": true, "update": true, "patch": true, "delete": true, "deletecollection": true}

// Total is how many of the requests have a wanted verb.
func Total(counts []Count, wanted func(verb string) bool) int {
	n := 0
	for _, c := range counts {
		if wanted(c.Verb) {
			n += c.N
		}
	}
	return n
}

// IsWrite wants the verbs that change something.
func IsWrite(verb string) bool { return writes[verb] }

// IsAny wants all.
func IsAny(string) bool { return true }
