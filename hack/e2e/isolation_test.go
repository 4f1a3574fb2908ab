//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/e2e/results"
)

// A primary that is cut off stops before another is promoted. What shows it:
//
//   - two clients: one beside the old primary goes on writing to it alone, one writes through the Service;
//   - the agents' logs: the old one's says when its engine was down, the new one's when it began to promote.
//
// Nodes and clients of the local cluster have one clock.

// judgeIsolation compares the two sides. Of databases of others only the clients tell.
func (f *faulted) judgeIsolation(after *group, report *report) []string {
	f.Helper()
	var last, first *time.Time
	for i := range report.Terms {
		term := &report.Terms[i]
		switch {
		case term.Acknowledged == 0:
		case term.Instance == f.primary && term.First.Before(f.began):
			last = term.Last
		case first == nil || term.First.Before(*first):
			first = term.First
		}
	}
	if last == nil || first == nil {
		return []string{"there was no old primary, or no new one"}
	}
	f.Logf("the old primary acknowledged until %.3f s after the fault began, the new one from %.3f s", last.Sub(f.began).Seconds(), first.Sub(f.began).Seconds())
	if !last.Before(*first) {
		return []string{"the old primary acknowledged after the new one"}
	}
	if _, ours := f.bed.subject.(ourDatabase); !ours {
		return nil
	}
	down, promoted := f.logged(f.primary, "The engine is down"), f.logged(after.primary, "Promoted")
	if down == nil || promoted == nil {
		return []string{fmt.Sprintf("the agents' logs do not say when the engine was down (%v), or when the next was promoted (%v)", down, promoted)}
	}
	since := func(at time.Time) history.Duration { return history.Duration{Duration: at.Sub(f.began)} }
	f.isolation = &results.Isolation{
		LastAcknowledged: since(*last), Down: since(down.at), Promotion: since(promoted.at.Add(-promoted.took)), FirstAcknowledged: since(*first),
	}
	f.Logf("the old primary was down %.3f s after the fault began, and the new one was promoted at %.3f s", f.isolation.Down.Seconds(), f.isolation.Promotion.Seconds())
	if f.isolation.Margin() <= 0 {
		return []string{"the old primary was not down when the new one was promoted"}
	}
	return nil
}

// line is one of an agent's log.
type line struct {
	at   time.Time
	took time.Duration
}

// logged is the first line with this message in the log of an instance's agent since the fault began, nil without one.
func (f *faulted) logged(instance, message string) *line {
	f.Helper()
	var found *line
	for _, previous := range []bool{false, true} {
		// There is none of a container that never ended.
		log, _ := cluster.Kube.CoreV1().Pods(f.namespace).GetLogs(instance, &corev1.PodLogOptions{Container: "database", Previous: previous}).DoRaw(f.ctx)
		for text := range strings.Lines(string(log)) {
			var entry struct {
				Millis  float64 `json:"ts"`
				Message string  `json:"msg"`
				Took    string  `json:"took"`
			}
			if json.Unmarshal([]byte(text), &entry) != nil || entry.Message != message {
				continue
			}
			at := time.UnixMicro(int64(entry.Millis * 1000))
			if at.After(f.began) && (found == nil || at.Before(found.at)) {
				took, _ := time.ParseDuration(entry.Took) // most lines have none
				found = &line{at: at, took: took}
			}
		}
	}
	return found
}
