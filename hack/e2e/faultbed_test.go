//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/e2e/env"
	"github.com/platform-io/database-operator/hack/e2e/results"
	"github.com/platform-io/database-operator/hack/machine"
)

// How a fault is tested.
//
//  1. The database is as it should be: three instances are ready, and all of them are candidates. One that is not, because an earlier
//     fault ruined it, is given up for a new one.
//  2. A checking client begins to write through the Service, on a node that the fault will spare.
//  3. The fault happens, for as long as it is to last, and ends.
//  4. The database must be as it should be again, within a bounded time and without help.
//  5. The client stops, and its log is compared with the rows: nothing that was acknowledged is lost, at no time two primaries
//     acknowledged, and nobody waited longer than the fault may last for clients. The claims are those that were there before.
//
// What is done on purpose (changes_test.go) goes the same way: it differs in that clients may notice little of it, and that
// those who read from replicas may not notice anything.
//
// Node faults are not for other tests' ears: these tests run before the parallel ones, one fault at a time. What befalls one database alone runs
// beside others, unless it is repeated: then it is measured.

var (
	repeatFaults = flag.Int("repeat", 1, "how often every fault happens")
	chosenFaults = flag.String("faults", "", "regular expression of the names of faults to run; empty for all")
	outage       = flag.Duration("outage", 30*time.Second, "how long the API server is away in the faults that are about that")
	resultsFile  = flag.String("results", "", "file for what the faults did, as JSON; a table goes beside it")
)

// after says who may be the primary after a fault.
type after int

const (
	anyPrimary after = iota
	samePrimary
	anotherPrimary
)

// fault is something that is done to a database while a client writes to it.
type fault struct {
	name string
	// cause does it, and returns when it is over.
	cause func(*faulted)
	after after
	// gap is the longest that no write may be acknowledged.
	gap time.Duration
	// planned: it is no fault, but done on purpose. Clients read through the read-only Service, too, and that never stops.
	planned bool
	// terms is how many terms of primaries may acknowledge writes; 0 for any number. Another one means that all clients had to connect again.
	terms int
	// harmless: no request fails.
	harmless bool
	// isolates: the old primary is cut off, and a client beside it goes on writing to it. It must have stopped before another begins.
	isolates bool
	// newClaim: one of the claims is another one afterwards.
	newClaim bool
	// seen looks at how the instances are then, and at what else the clients saw, and says what is wrong.
	seen func(*group, *report) string
}

type report = history.Report

// subject is what faults befall: three pods with PostgreSQL, one of them the primary, whoever made them.
type subject interface {
	// provision makes it in the scope's namespace, and waits until it is as it should be.
	provision(*scope) *group
	// tryAllReady waits until it is as it should be.
	tryAllReady(*scope, time.Duration) (*group, error)
	// holder identifies who is, or was last, entitled to be the primary.
	holder(*scope) (string, error)
	// writeURI writes the address of the primary's Service, with credentials, into a file.
	writeURI(s *scope, file string) error
	// switchOver makes another instance the primary, as a person does.
	switchOver(*faulted) error
}

// bed is a database that one fault after the other befalls.
type bed struct {
	subject
	// name is that of the database in the table of results.
	name string
	// synchronous: commits wait for a replica.
	synchronous bool
	// measures: what is wrong is written down, and fails no test.
	measures bool
	// namespace is where it is; empty while there is none.
	namespace string
}

// faulted is a database while a fault befalls it.
type faulted struct {
	*scope
	bed *bed
	*group
	// was is who was entitled to be the primary when it began.
	was string
	// node is the primary's, and client the one of the checking client.
	node, client string
	dir          string
	// uri is the file with the address of the Service, and readOnly that with the one of the replicas.
	uri, readOnly string
	began         time.Time
	checkers      []*env.Checker
	// isolation is what both sides of a primary that was cut off did.
	isolation *results.Isolation
}

func newBed(t *testing.T, b *bed) *bed {
	t.Helper()
	if !cluster.Local {
		t.Skip("it breaks nodes, which it can do only on the local cluster: unset KUBECONFIG")
	}
	if err := cluster.BuildChecker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.giveUp)
	return b
}

// besideOthers lets a test of faults that befall one database alone run in parallel, unless it is to measure.
func besideOthers(t *testing.T) {
	t.Helper()
	if *repeatFaults == 1 && *resultsFile == "" {
		t.Parallel()
	}
}

// giveUp deletes the database.
func (b *bed) giveUp() {
	if b.namespace == "" {
		return
	}
	_ = cluster.StartDeletingNamespace(context.Background(), b.namespace) // it is waited for, and deleted again, at the end
	deleted.Store(b.namespace, true)
	b.namespace = ""
}

// measured is what all faults gave.
var measured = &results.File{}

// run runs the chosen faults, each as often as is asked for: in rounds, so that what one leaves behind meets another.
func (b *bed) run(t *testing.T, faults []fault) {
	t.Helper()
	for range *repeatFaults {
		b.round(t, faults)
	}
}

// round runs each of the chosen faults once.
func (b *bed) round(t *testing.T, faults []fault) {
	t.Helper()
	chosen := regexp.MustCompile(*chosenFaults)
	for i := range faults {
		if chosen.MatchString(faults[i].name) {
			t.Run(strings.ReplaceAll(faults[i].name, " ", "-"), func(t *testing.T) {
				b.befall(t, &faults[i])
			})
		}
	}
}

// database returns the database, which is as it should be.
func (b *bed) database(t *testing.T) (*scope, *group) {
	t.Helper()
	s := &scope{T: t, ctx: t.Context(), namespace: b.namespace}
	if b.namespace != "" {
		g, err := b.tryAllReady(s, time.Minute)
		if err == nil {
			return s, g
		}
		t.Log("a new database is made, because the last one is not as it should be:", err)
		b.giveUp()
	}
	var err error
	b.namespace, err = cluster.NewNamespace(s.ctx, "e2e-faults-")
	s.ok(err)
	s.namespace = b.namespace
	return s, b.provision(s)
}

// befall lets a fault befall the database.
func (b *bed) befall(t *testing.T, what *fault) {
	t.Helper()
	s, g := b.database(t)
	f := b.prepare(s, g)
	claims := s.claims("")
	run := results.Run{Fault: what.name, Planned: what.planned, Database: b.name, Start: time.Now()}
	t.Cleanup(func() {
		run.Failed = run.Failed || t.Failed()
		measure(t, run)
	})
	f.write(what.planned)
	f.began = time.Now()
	what.cause(f)
	ended := time.Now()
	after, err := b.tryAllReady(s, recoverTimeout)
	f.ok(err)
	run.Recovered.Duration = time.Since(ended)
	time.Sleep(time.Second) // what comes late comes now
	run.Report = f.verify()
	nameInstances(&run.Report, g, after)
	run.Failed = !f.judge(what, after, &run.Report)
	run.Isolation = f.isolation
	if !what.newClaim && !maps.Equal(claims, s.claims("")) {
		t.Errorf("the claims were %v, and are %v", claims, s.claims(""))
	}
	t.Logf("%s: primary %s, then %s; all ready %.1f s after the end", what.name, g.primary, after.primary, run.Recovered.Seconds())
}

// measuring guards what was measured.
var measuring sync.Mutex

// measure keeps the results of a run.
func measure(t *testing.T, run results.Run) {
	t.Helper()
	measuring.Lock()
	defer measuring.Unlock()
	if measured.Runs == nil {
		measured.Machine = machine.Describe(context.WithoutCancel(t.Context()))
	}
	measured.Runs = append(measured.Runs, run)
	if *resultsFile != "" {
		save(t)
	}
}

// save writes the results after every fault.
var save = func(t *testing.T) {
	t.Helper()
	if err := measured.Save(*resultsFile); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(strings.TrimSuffix(*resultsFile, ".json")+".md", []byte(measured.Markdown()), 0o644); err != nil {
		t.Error(err)
	}
}

// prepare finds the places, and a folder for logs, which stays when the test fails.
func (b *bed) prepare(s *scope, g *group) *faulted {
	f := &faulted{scope: s, bed: b, group: g, node: g.pods[g.primary].Spec.NodeName}
	f.client = g.pods[g.replicas()[0]].Spec.NodeName
	f.dir = filepath.Join(cluster.Root, "out", "e2e", shorten(s.Name(), 100)+"-clients")
	s.ok(os.RemoveAll(f.dir))
	s.ok(os.MkdirAll(f.dir, 0o755))
	dir := s.TempDir()
	f.uri, f.readOnly = filepath.Join(dir, "uri"), filepath.Join(dir, "readonly-uri")
	s.ok(b.writeURI(s, f.uri))
	var err error
	f.was, err = b.holder(s)
	s.ok(err)
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if s.Failed() {
			s.diagnose(ctx)
		} else if err := os.RemoveAll(f.dir); err != nil {
			s.Error(err)
		}
	})
	return f
}

// diagnose writes down how everything is, and ends what is left of the fault.
func (s *scope) diagnose(ctx context.Context) {
	if err := cluster.EndFaults(ctx); err != nil {
		s.Log("ending the faults: ", err)
	}
	text, err := cluster.Diagnose(ctx, s.namespace, filepath.Join(cluster.Root, "out", "e2e", shorten(s.Name(), 100)))
	s.Logf("%s\n%v", text, err)
}

// write starts a client that writes through the Service, and perhaps reads through the one of the replicas.
func (f *faulted) write(reads bool) {
	if reads {
		f.ok(cluster.WriteReadOnlyURI(f.ctx, f.namespace, "ha", f.readOnly))
		f.check(f.client, "service.log", "write", "--readers", "2", "--read-interval", "50ms", "--read-uri-file", f.readOnly)
		return
	}
	f.check(f.client, "service.log", "write")
}

// writeToPrimary starts a client beside the primary that writes to it alone, whatever becomes of it.
func (f *faulted) writeToPrimary() {
	f.check(f.node, "isolated.log", "write", "--target", f.pods[f.primary].Status.PodIP+":5432")
}

// hold starts a client that holds sessions and leaves them idle.
func (f *faulted) hold() { f.check(f.client, "sessions.log", "hold", "--sessions", "10") }

func (f *faulted) check(node, log string, args ...string) {
	f.Helper()
	c, err := cluster.StartChecker(f.ctx, node, filepath.Join(f.dir, log), append(args, "--uri-file", f.uri)...)
	f.ok(err)
	f.checkers = append(f.checkers, c)
	f.Cleanup(func() { _ = c.Stop() }) // it was stopped before, unless the test failed
}

// verify stops the clients and returns the judgement.
func (f *faulted) verify() history.Report {
	f.Helper()
	var logs []string
	for _, c := range f.checkers {
		f.ok(c.Stop())
		logs = append(logs, c.Log)
	}
	report, err := cluster.VerifyLogs(f.ctx, f.client, f.uri, logs...)
	f.ok(err)
	var text strings.Builder
	f.ok(report.WriteText(&text))
	f.ok(os.WriteFile(filepath.Join(f.dir, "report.txt"), []byte(text.String()), 0o644))
	return report
}

// nameInstances writes into the report which pods its addresses were: servers do not know.
func nameInstances(report *report, groups ...*group) {
	for i := range report.Terms {
		for _, g := range groups {
			for name, pod := range g.pods {
				if strings.HasPrefix(report.Terms[i].Address, pod.Status.PodIP+":") {
					report.Terms[i].Instance = name
				}
			}
		}
	}
}

// judge compares what the clients saw with what they may see, and says whether all was well.
func (f *faulted) judge(what *fault, after *group, report *report) bool {
	f.Helper()
	failures := report.Failures
	if !f.bed.synchronous {
		failures = f.judgeLoss(report)
	}
	service := &report.Runs[0]
	if service.Gap.Length.Duration > what.gap {
		failures = append(failures, fmt.Sprintf("nothing was acknowledged for %s, which is more than %s", service.Gap, what.gap))
	}
	if what.harmless && service.Failed+service.Unknown > 0 {
		failures = append(failures, fmt.Sprintf("%d requests failed: %v", service.Failed+service.Unknown, service.Reasons))
	}
	if after.primary != f.primary && what.after == samePrimary {
		failures = append(failures, "the primary was "+f.primary+", and is "+after.primary)
	}
	if after.primary == f.primary && what.after == anotherPrimary {
		failures = append(failures, "the primary is still "+f.primary)
	}
	if terms := acknowledging(report); what.terms > 0 && terms > what.terms {
		failures = append(failures, fmt.Sprintf("%d terms of primaries acknowledged, which is more than %d", terms, what.terms))
	}
	if reads := service.Reads; what.planned && reads.Gap.Length.Duration > readGap {
		failures = append(failures, fmt.Sprintf("nothing was read from replicas for %s, which is more than %s", reads.Gap, readGap))
	}
	if what.isolates {
		failures = append(failures, f.judgeIsolation(after, report)...)
	}
	if what.seen != nil {
		if wrong := what.seen(after, report); wrong != "" {
			failures = append(failures, wrong)
		}
	}
	f.Logf("%s: gap %s, failed %d, unknown %d of %d requests, connected again %d times, terms %d, lost %d", what.name, service.Gap,
		service.Failed, service.Unknown, service.Requests, service.Reconnects, acknowledging(report), report.Lost.Count)
	if reads := service.Reads; reads != nil {
		f.Logf("%s: of %d reads %d failed, read gap %s", what.name, reads.Requests, reads.Failed, reads.Gap)
	}
	if len(failures) > 0 {
		var text strings.Builder
		f.ok(report.WriteText(&text))
		say := f.Errorf
		if f.bed.measures {
			say = f.Logf
		}
		say("%s\n%s", strings.Join(failures, "\n"), text.String())
	}
	return len(failures) == 0
}

// acknowledging is how many terms acknowledged something.
func acknowledging(report *report) int {
	n := 0
	for i := range report.Terms {
		if report.Terms[i].Acknowledged > 0 {
			n++
		}
	}
	return n
}

// judgeLoss: without synchronous replicas, what the promoted one had not received is lost. That is what was acknowledged right before the
// fault, and what a primary that was cut off acknowledged until it stopped.
func (f *faulted) judgeLoss(report *report) []string {
	const before, until = 2 * time.Second, 13 * time.Second
	failures := slices.DeleteFunc(slices.Clone(report.Failures), func(failure string) bool {
		return strings.HasSuffix(failure, "acknowledged writes are lost")
	})
	if lost := &report.Lost; lost.Count > 0 && (lost.First.Before(f.began.Add(-before)) || lost.Last.After(f.began.Add(until))) {
		failures = append(failures, fmt.Sprintf("%d writes are lost that were acknowledged from %s to %s, and the fault began at %s",
			lost.Count, lost.First.Format(time.TimeOnly), lost.Last.Format(time.TimeOnly), f.began.UTC().Format(time.TimeOnly)))
	}
	return failures
}
