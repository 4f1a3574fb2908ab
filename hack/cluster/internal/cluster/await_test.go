package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

// A runtime listens before it is ready.
func TestRuntimeReadiness(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if err := runtimeReady(t.Context(), socket); err == nil {
		t.Fatal("nobody listens, and it is ready")
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var initialized atomic.Bool
	server := &http.Server{Protocols: &http.Protocols{}, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path != "/runtime.v1.RuntimeService/Version" || r.Header.Get("Content-Type") != "application/grpc" {
			w.Header().Set("Grpc-Status", "12")
			return
		}
		if !initialized.Load() {
			w.Header().Set("Grpc-Status", "2")
			w.Header().Set("Grpc-Message", "server is not initialized yet")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(make([]byte, 5))
		w.Header().Set("Grpc-Status", "0")
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	if err := runtimeReady(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "not initialized yet") {
		t.Errorf("before it is ready: %v", err)
	}
	initialized.Store(true)
	if err := runtimeReady(t.Context(), socket); err != nil {
		t.Error(err)
	}
}

// What nobody starts again is not waited for, and its log is what one would look for.
func TestAwaitEndsWithAProgram(t *testing.T) {
	dir := t.TempDir()
	c := &Cluster{table: process.Table{Records: dir, Logs: dir}}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(self)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"alive.json": record, "kubelet-n1.json": []byte(`{"pid": 999999999, "start": 1}`),
		"kubelet-n1.log": []byte("first\n" + strings.Repeat("more\n", 20) + "server is not initialized yet\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = c.await(ctx, []string{"alive", "kubelet-n1"}, func() error { return errors.New("no such node") })
	if ctx.Err() != nil || err == nil {
		t.Fatalf("it waited: %v", err)
	}
	for _, words := range []string{"kubelet-n1 has ended", c.table.Log("kubelet-n1"), "server is not initialized yet"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is missing in: %v", words, err)
		}
	}
	if strings.Contains(err.Error(), "first") {
		t.Errorf("the whole log: %v", err)
	}
	if c.await(ctx, []string{"kubelet-n1"}, func() error { return nil }) == nil {
		t.Error("all is well without a kubelet")
	}
	calls := 0
	if err := c.await(ctx, []string{"alive"}, func() error {
		if calls++; calls < 2 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// kube-proxy may not start before its Node has the addresses that it keeps.
func TestANodeIsKnownByItsAddresses(t *testing.T) {
	var answer atomic.Value
	answer.Store(`{"status": {}}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer.Load().(string))) }))
	defer server.Close()
	client := &api{server: server.URL, client: server.Client()}
	if client.nodeKnown(t.Context(), "n1") == nil {
		t.Error("a node without addresses is known")
	}
	answer.Store(`{"status": {"addresses": [{"address": "10.199.0.11"}]}}`)
	if err := client.nodeKnown(t.Context(), "n1"); err != nil {
		t.Error(err)
	}
}
