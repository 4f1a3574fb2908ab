//go:build integration

package driver

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/platform-io/database-operator/pkg/agent"
)

func TestCheckConfig(t *testing.T) {
	i := newInstance(t)
	i.must(i.Bootstrap(t.Context()))
	for _, running := range []bool{false, true} {
		if running {
			i.configure()
			i.start()
		}
		for line, setting := range map[string]string{
			"maxmemory abc": "maxmemory", "no-such-setting 1": "no-such-setting", "databases 0": "databases", "maxmemory-policy all": "maxmemory-policy",
			"save 900": "save", "timeout 1 2": "timeout", `proc-title-template "{title}`: "proc-title-template", "notify-keyspace-events": "notify-keyspace-events",
			"io-threads 4": "", `save 3600 1`: "", `proc-title-template "{title} of mine"`: "", "client-output-buffer-limit pubsub 32mb 8mb 60": "", "timeout 60": "",
		} {
			i.configure(line)
			err := i.CheckConfig(t.Context(), i.path("config"))
			refusal, refused := errors.AsType[*agent.Refusal](err)
			switch {
			case setting == "" && err != nil:
				t.Errorf("%s: %v", line, err)
			case setting != "" && (!refused || refusal.Setting != setting || refusal.Words == "" || strings.Contains(refusal.Words, i.dir)):
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if left, err := filepath.Glob(i.path("run", "trial*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReload(t *testing.T) {
	i := newInstance(t).provision()
	for _, c := range []struct {
		what     string
		settings []string
		pending  []string
		want     map[string]string
	}{
		{"nothing", nil, nil, map[string]string{"maxmemory-policy": "noeviction", "databases": "16", "timeout": "0"}},
		{"live", []string{"maxmemory-policy allkeys-lru", "timeout 60", `save 3600 1`}, nil, map[string]string{"maxmemory-policy": "allkeys-lru", "timeout": "60", "save": "3600 1"}},
		{"one goes, one changes", []string{"timeout 30"}, nil, map[string]string{"maxmemory-policy": "noeviction", "timeout": "30", "save": ""}},
		{
			"some that need a restart, and others",
			[]string{"databases 32", "io-threads 2", "appendfsync always", "hash-max-listpack-entries 64"},
			[]string{"databases", "io-threads"},
			map[string]string{"databases": "16", "appendfsync": "always", "hash-max-listpack-entries": "64", "hash-max-ziplist-entries": "64", "timeout": "0"},
		},
		{"words", []string{`notify-keyspace-events KEA`, `client-output-buffer-limit "pubsub" "33mb" "8mb" "60"`}, nil, map[string]string{"notify-keyspace-events": "AKE", "databases": "16"}},
		{"back", nil, nil, map[string]string{"maxmemory-policy": "noeviction", "databases": "16", "notify-keyspace-events": "", "appendfsync": "everysec", "hash-max-listpack-entries": "512"}},
	} {
		i.configure(c.settings...)
		for range 2 {
			pending, err := i.Reload(t.Context())
			if err != nil || !slices.Equal(pending, c.pending) {
				t.Fatalf("%s: pending %v, %v", c.what, pending, err)
			}
			for name, want := range c.want {
				if got := i.setting(name); got != want {
					t.Errorf("%s: %s is %q, want %q", c.what, name, got, want)
				}
			}
		}
	}
	i.configure("databases 32", "timeout 7")
	i.must(i.stop(agent.StopFast))
	i.start()
	if pending, err := i.Reload(t.Context()); err != nil || len(pending) > 0 {
		t.Errorf("after a restart: %v, %v", pending, err)
	}
	if i.setting("databases") != "32" || i.setting("timeout") != "7" {
		t.Error("the restart did not take the settings")
	}
}

// A limit that was raised is that of the next pod, and one that is not raised may be too small for what is configured.
func TestMaxmemoryStaysWithinTheContainer(t *testing.T) {
	i := newInstance(t, `maxmemory "1073741824"`)
	i.memoryLimit = func() int64 { return 256 << 20 }
	i.provision()
	maxmemoryIs := func(when, want string) {
		t.Helper()
		if got := i.setting("maxmemory"); got != want {
			t.Errorf("%s: maxmemory is %s, want %s", when, got, want)
		}
	}
	maxmemoryIs("started with too much", "187904780")
	for _, said := range []struct{ settings, want string }{{`maxmemory "1073741824"`, "187904780"}, {`maxmemory "200000000"`, "200000000"}, {`maxmemory "1073741825"`, "187904780"}} {
		i.configure(said.settings)
		_, err := i.Reload(t.Context())
		i.must(err)
		maxmemoryIs("reloaded with "+said.settings, said.want)
	}
}

func TestARefusedReloadChangesNothing(t *testing.T) {
	i := newInstance(t).provision()
	i.configure("timeout 60", "maxmemory-policy all")
	if _, err := i.Reload(t.Context()); !isRefusalOf(err, "maxmemory-policy") {
		t.Errorf("%v", err)
	}
	if got := i.setting("timeout"); got != "0" {
		t.Errorf("timeout is %s", got)
	}
	// What the running server alone refuses: it is set with others, and none of them stays.
	changes := []change{{"hz", "20", "10"}, {"maxclients", "3000000", "10000"}, {"timeout", "60", "0"}}
	for name, set := range map[string]func([]change) error{
		"together":   func(c []change) error { return setTogether(t.Context(), i.client, c) },
		"one by one": func(c []change) error { return setOneByOne(t.Context(), i.client, c) },
	} {
		err := set(changes)
		if err == nil {
			t.Fatalf("%s: it was accepted", name)
		}
		if setting, words, refused := parseSetError(err); !refused || setting != "maxclients" || words == "" {
			t.Errorf("%s: %v", name, err)
		}
		if i.setting("timeout") != "0" || i.setting("hz") != "10" {
			t.Errorf("%s: others were set", name)
		}
	}
}

func isRefusalOf(err error, setting string) bool {
	refusal, ok := errors.AsType[*agent.Refusal](err)
	return ok && refusal.Setting == setting
}
