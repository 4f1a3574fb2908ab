package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/platform-io/database-operator/pkg/agent"
	"github.com/platform-io/database-operator/pkg/agent/elector"
)

func TestInstallReplacesTheProgram(t *testing.T) {
	source, dir := filepath.Join(t.TempDir(), "program"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "database-agent"), []byte("an old and longer one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := install(source, dir); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "database-agent"))
	if err != nil || string(content) != "new" {
		t.Errorf("got %q, %v", content, err)
	}
	info, err := os.Stat(filepath.Join(dir, "database-agent"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("something is left: %v", entries)
	}
	if err := install(source, filepath.Join(dir, "missing")); err == nil {
		t.Error("installed into a folder that is not there")
	}
}

func TestRunNeedsItsFlags(t *testing.T) {
	valid := runOptions{engine: "PostgreSQL", database: "d", instance: "d-0", namespace: "n", podUID: "u", port: 5432, gracePeriod: time.Minute}
	if err := valid.validate(); err != nil {
		t.Errorf("valid flags: %v", err)
	}
	for words, edit := range map[string]func(*runOptions){
		"--engine":       func(o *runOptions) { o.engine = "" },
		"--instance":     func(o *runOptions) { o.instance = "" },
		"--pod-uid":      func(o *runOptions) { o.podUID = "" },
		"--port":         func(o *runOptions) { o.port = 0 },
		"--grace-period": func(o *runOptions) { o.gracePeriod = time.Second },
	} {
		o := valid
		edit(&o)
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v", words, err)
		}
	}
	o := runOptions{engine: "Oracle"}
	if _, err := o.driver(nil, nil, elector.NewAddresses()); err == nil || !strings.Contains(err.Error(), "Oracle") {
		t.Errorf("an engine that is not there: %v", err)
	}
}

func TestLevelHoldsForTheEngineAndTheAgent(t *testing.T) {
	var got []string
	sink := funcr.New(func(_, args string) { got = append(got, args) }, funcr.Options{})
	write := engineLog(sink, agent.LogWarning)
	write(agent.LogEntry{Severity: "LOG", Level: agent.LogInfo, Message: "left out"})
	write(agent.LogEntry{Severity: "WARNING", Level: agent.LogWarning, Message: "kept", Values: []any{"pid", "1"}})
	if len(got) != 1 || !strings.Contains(got[0], `"msg"="kept" "severity"="WARNING" "pid"="1"`) {
		t.Errorf("got %q", got)
	}
	got = nil
	filtered := logr.New(errorsOnly{sink.GetSink()}).WithName("x").WithValues("k", 1)
	filtered.Info("left out")
	filtered.Error(nil, "kept")
	if len(got) != 1 || !strings.Contains(got[0], "kept") {
		t.Errorf("got %q", got)
	}
	if _, _, err := setUpLogging("json", "loud", "postgresql"); err == nil {
		t.Error("an unknown level is taken")
	}
}
