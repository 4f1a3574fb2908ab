//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/platform-io/database-operator/hack/e2e/env"
)

// cluster is what all tests share.
var cluster *env.Env

var keep = os.Getenv("E2E_KEEP") != ""

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if cluster, err = env.Open(ctx, os.Stderr); err == nil {
		err = errors.Join(cluster.InstallOperator(ctx), loadImages(ctx))
	}
	stop() // from here on a signal ends the tests at once
	code := 1
	if err == nil {
		code = m.Run()
		err = waitForNamespaces(context.Background())
	}
	if cluster != nil && !keep {
		err = errors.Join(err, cluster.Close(context.Background()))
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return code
}

// loadImages loads what the demo does not need. Other clusters get images by themselves.
func loadImages(ctx context.Context) error {
	if !cluster.Local {
		return nil
	}
	return errors.Join(cluster.BuildImage(ctx, "redis-7"), cluster.BuildImage(ctx, "redis-8"))
}

// scope is a namespace for one test, and what is done in it. Its methods end the test when something goes wrong.
type scope struct {
	*testing.T
	ctx       context.Context //nolint:containedctx // the test's own; methods are short sentences without it
	namespace string
	client    *env.Client
	redisCLI  *env.Client
}

// newScope makes the namespace. When the test is over it is deleted; when it failed, what is in it is written down before.
func newScope(t *testing.T) *scope {
	t.Helper()
	s := &scope{T: t, ctx: t.Context()}
	namespace, err := cluster.NewNamespace(s.ctx, "e2e-"+strings.ToLower(strings.TrimPrefix(shorten(t.Name(), 30), "Test"))+"-")
	s.ok(err)
	s.namespace = namespace
	t.Cleanup(s.close)
	return s
}

func shorten(name string, longest int) string {
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == '_' {
			return '-'
		}
		return r
	}, name)
	return name[:min(len(name), longest)]
}

func (s *scope) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if s.Failed() {
		text, err := cluster.Diagnose(ctx, s.namespace, filepath.Join(cluster.Root, "out", "e2e", shorten(s.Name(), 100)))
		s.Logf("%s\n%v", text, err)
		if keep {
			return
		}
	}
	if err := cluster.StartDeletingNamespace(ctx, s.namespace); err != nil {
		s.Error(err)
	}
	deleted.Store(s.namespace, true)
}

// deleted are the namespaces of tests that are over. That they go takes a while, for which no test waits.
var deleted sync.Map

// waitForNamespaces waits until all of them have gone.
func waitForNamespaces(ctx context.Context) error {
	var errs []error
	deleted.Range(func(name, _ any) bool {
		errs = append(errs, cluster.DeleteNamespace(ctx, fmt.Sprint(name), 3*time.Minute))
		return true
	})
	return errors.Join(errs...)
}

// ok ends the test if there is an error.
func (s *scope) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// wait waits until the condition returns an empty state.
func (s *scope) wait(timeout time.Duration, what string, condition func() (state string, err error)) {
	s.Helper()
	s.ok(env.Poll(s.ctx, timeout, what, func(context.Context) (string, error) { return condition() }))
}

// never watches for some time that the condition stays empty.
func (s *scope) never(duration time.Duration, what string, condition func() string) {
	s.Helper()
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if seen := condition(); seen != "" {
			s.Fatalf("%s: %s", what, seen)
		}
	}
}
