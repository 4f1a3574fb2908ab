package build

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

func TestKeyFollowsTheSources(t *testing.T) {
	source := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module x")
	write("go.sum", "")
	write("main.go", "package main")
	b := Builder{Source: source}
	p := Program{Name: "x", Module: ".", Sources: []string{"."}}
	key := func() string {
		t.Helper()
		k, err := b.key(p)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	write("main_test.go", "package main")
	if key() != first {
		t.Error("a test changes the program")
	}
	write("main.go", "package main // changed")
	second := key()
	if second == first {
		t.Error("a source does not change the program")
	}
	write("go.mod", "module x // changed")
	if key() == second {
		t.Error("the module does not change the program")
	}
}

func TestPrune(t *testing.T) {
	cache := paths.Cache(t.TempDir())
	if err := os.MkdirAll(cache.Bin("store"), 0o750); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"kube-1": false, "kube-2": true, "kube-3.new": true, "kube.lock": true} {
		defer func() {
			if exists(cache.Bin("store", name)) != stays {
				t.Errorf("%s: stays is %v", name, !stays)
			}
		}()
		if err := os.WriteFile(cache.Bin("store", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := symlink(cache.Bin("store", "kube-2"), cache.Bin("kube")); err != nil {
		t.Fatal(err)
	}
	if err := Prune(cache); err != nil {
		t.Fatal(err)
	}
}
