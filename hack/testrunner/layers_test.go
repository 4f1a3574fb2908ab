package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// clusterScript stands for the cluster tool.
const clusterScript = `#!/bin/sh
echo "cluster $1"
[ "$1" = down ] && rm -r "$DATABASE_OPERATOR_CACHE/cluster" || true
`

// clusterTest is a test that brings up a cluster, and then does not get to take it down.
const clusterTest = `package x
import ("os"; "testing")
func TestCluster(t *testing.T) {
	if err := os.MkdirAll(os.Getenv("DATABASE_OPERATOR_CACHE") + "/cluster/up", 0o700); err != nil { panic(err) }
	if os.Getenv("END") == "panic" { panic("too long") }
	println("the cluster is up")
	select {}
}
`

// screen is what a person sees, who does something when a text appears.
type screen struct {
	mutex sync.Mutex
	seen  bytes.Buffer
	at    string
	do    func()
}

func (s *screen) Write(p []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if strings.Contains(string(p), s.at) {
		s.do()
	}
	return s.seen.Write(p)
}

func TestAClusterThatTestsLeaveIsTakenDown(t *testing.T) {
	for name, c := range map[string]struct {
		end               string
		before, keep, say bool
	}{
		"after an interruption":          {end: "interruption", say: true},
		"after a panic":                  {end: "panic", say: true},
		"not if it was there before":     {end: "panic", before: true},
		"not if it is wanted for a look": {end: "panic", keep: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			out := &screen{at: "the cluster is up", do: interrupt}
			r := &repo{root: t.TempDir(), cache: t.TempDir(), out: out, prepared: map[string]error{"cluster": nil}}
			for file, content := range map[string]string{
				filepath.Join(r.cache, "bin", "cluster"): clusterScript, filepath.Join(r.root, "x_test.go"): clusterTest, filepath.Join(r.root, "go.mod"): "module x\n",
			} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("END", c.end)
			t.Setenv("E2E_KEEP", map[bool]string{true: "yes"}[c.keep])
			if c.before {
				if err := os.Mkdir(filepath.Join(r.cache, "cluster"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			results := r.onLocalCluster(ctx, "e2e", goTest{dir: ".", args: []string{"-count=1", "-v", "."}, verbose: true})
			if !hasFailed(results) {
				t.Errorf("the tests passed: %v", results)
			}
			if said := strings.Contains(out.seen.String(), "cluster down\n"); said != c.say || r.hasCluster() == c.say {
				t.Errorf("taken down: %v, there is a cluster: %v\n%s", said, r.hasCluster(), out.seen.String())
			}
		})
	}
}

// What an engine's tests need may be there, while that of another cannot be installed.
func TestWithoutAPTNothingIsInstalledAndNothingFails(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	required := os.Getenv("TEST_REQUIRE_POSTGRES")
	if err := (&repo{cache: t.TempDir(), prepared: map[string]error{}, out: &bytes.Buffer{}}).prepareEngines(t.Context()); err != nil {
		t.Errorf("the layer fails: %v", err)
	}
	if os.Getenv("TEST_REQUIRE_POSTGRES") != required {
		t.Error("a missing engine fails its tests")
	}
}
