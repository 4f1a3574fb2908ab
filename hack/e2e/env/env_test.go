package env

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWhoseClusterItIs goes through what is there before Open.
func TestWhoseClusterItIs(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	alive := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(alive.Close)
	for name, c := range map[string]struct {
		before        func(*Env) error
		started, ours bool
	}{
		"none":                       {before: func(*Env) error { return nil }, started: true, ours: true},
		"a person's":                 {before: func(e *Env) error { return e.writeKubeconfig(alive.URL) }},
		"a person's, after a reboot": {before: func(e *Env) error { return e.writeKubeconfig(server.URL) }},
		"a person's, half up":        {before: func(e *Env) error { return os.MkdirAll(e.ClusterFile("pki"), 0o750) }},
		"ours":                       {before: func(e *Env) error { return e.mark(alive.URL) }, ours: true},
		"ours, after a reboot":       {before: func(e *Env) error { return e.mark(server.URL) }, started: true, ours: true},
		"a person's, where ours once was": {before: func(e *Env) error {
			if err := e.mark(alive.URL); err != nil {
				return err
			}
			if err := os.RemoveAll(e.ClusterFile()); err != nil { // as `make cluster-down` does
				return err
			}
			return e.writeKubeconfig(alive.URL)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &Env{Local: true, cache: t.TempDir()}
			e.kubeconfig = e.localKubeconfig()
			if err := c.before(e); err != nil {
				t.Fatal(err)
			}
			if err := e.claim(t.Context()); err != nil {
				t.Fatal(err)
			}
			if e.Started != c.started || e.Marked() != c.ours {
				t.Errorf("started here: %v, ours to take down: %v", e.Started, e.Marked())
			}
		})
	}
}

// Whoever looks around in the local cluster has its kubeconfig in KUBECONFIG, and is not taken for one with another cluster.
func TestTheLocalClusterIsKnownByItsKubeconfig(t *testing.T) {
	e := &Env{cache: t.TempDir()}
	local := e.localKubeconfig()
	for kubeconfig, want := range map[string]bool{"": true, local: true, filepath.Dir(local) + "/./kubeconfig": true, local + ":" + local + "2": false, "/root/.kube/config": false} {
		if e.kubeconfig = kubeconfig; e.namesLocal() != want {
			t.Errorf("KUBECONFIG=%q is the local cluster's: %v", kubeconfig, !want)
		}
	}
}

func TestAnInterruptedWaitDoesNotSayThatItsTimeIsOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Poll(ctx, time.Hour, "what never comes", func(context.Context) (string, error) {
		cancel()
		return "not there", nil
	})
	if err == nil || !strings.Contains(err.Error(), "interrupted after 0s of waiting for what never comes: not there") {
		t.Errorf("got %v", err)
	}
	err = Poll(t.Context(), time.Nanosecond, "what never comes", func(context.Context) (string, error) { return "not there", nil })
	if err == nil || !strings.Contains(err.Error(), "waited 1ns for what never comes") {
		t.Errorf("got %v", err)
	}
}

func TestSeveralKubeconfigsAreReadAsOne(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "contexts"), filepath.Join(dir, "missing"), filepath.Join(dir, "clusters")}
	for file, content := range map[string]string{
		files[0]: "current-context: x\ncontexts: [{name: x, context: {cluster: z}}]\n",
		files[2]: "clusters: [{name: z, cluster: {server: 'https://z.example'}}]\n",
	} {
		if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\n"+content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := &Env{kubeconfig: strings.Join(files, string(filepath.ListSeparator))}
	if err := e.connect(); err != nil || e.Config.Host != "https://z.example" {
		t.Errorf("got %+v, %v", e.Config, err)
	}
	e = &Env{kubeconfig: files[1]}
	if err := e.connect(); err == nil {
		t.Error("connected without a kubeconfig")
	}
}

func (e *Env) writeKubeconfig(url string) error {
	if err := os.MkdirAll(e.ClusterFile(), 0o750); err != nil {
		return err
	}
	return os.WriteFile(e.kubeconfig, []byte("apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x}}]\n"+
		"clusters: [{name: x, cluster: {server: '"+url+"'}}]\n"), 0o600)
}

func (e *Env) mark(url string) error {
	if err := e.writeKubeconfig(url); err != nil {
		return err
	}
	return os.WriteFile(e.marker(), nil, 0o600)
}
