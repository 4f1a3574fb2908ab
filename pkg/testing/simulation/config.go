package simulation

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/naming"
)

// RestartSettings are the settings that an engine takes over only when it starts: a few of many.
var RestartSettings = map[dbv1.Engine][]string{
	dbv1.PostgreSQL: {
		"listen_addresses", "max_connections", "max_prepared_transactions", "max_wal_senders", "max_worker_processes", "port",
		"shared_buffers", "shared_preload_libraries", "wal_buffers", "wal_level",
	},
}

// configuration is what an agent knows of the engine's settings.
type configuration struct {
	// applied is the hash of the files that the engine has read, settings what they say, and running
	// what they said when it was started.
	applied           string
	settings, running map[string]string
	// seen is a hash that is not applied yet, and since when.
	seen   string
	seenAt time.Time
}

// pendingRestart are the settings that would change with a restart.
func (c *configuration) pendingRestart(engine dbv1.Engine) []string {
	var pending []string
	for _, name := range RestartSettings[engine] {
		if c.settings[name] != c.running[name] {
			pending = append(pending, name)
		}
	}
	slices.Sort(pending)
	return pending
}

// reload takes over another configuration, after a while.
func (t *turn) reload(ctx context.Context) error {
	c, want := &t.agent.config, t.instance.Spec.ConfigHash
	switch {
	case want == c.applied:
		c.seen = ""
		return nil
	case want != c.seen:
		c.seen, c.seenAt = want, time.Now()
	}
	if wait := time.Until(c.seenAt.Add(t.options.ConfigDelay)); wait > 0 {
		t.after(wait)
		return nil
	}
	_, err := t.load(ctx)
	return err
}

// load reads the ConfigMap, as a kubelet would mount it, if it is the wanted one.
func (t *turn) load(ctx context.Context) (bool, error) {
	name := naming.Config(t.instance.Spec.DatabaseName)
	config, err := t.kube.CoreV1().ConfigMaps(t.instance.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("read ConfigMap %s: %w", name, err)
	}
	// One that is not there is empty, and has another hash.
	if confighash.ConfigHash(config.Data) != t.instance.Spec.ConfigHash {
		t.after(50 * time.Millisecond)
		return false, nil
	}
	t.agent.config.applied, t.agent.config.seen, t.agent.config.settings = t.instance.Spec.ConfigHash, "", parse(config.Data)
	return true, nil
}

// parse reads lines as name = 'value', of all files in the order of their names.
func parse(files map[string]string) map[string]string {
	settings := map[string]string{}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		lines := bufio.NewScanner(strings.NewReader(files[name]))
		for lines.Scan() {
			if key, value, ok := strings.Cut(lines.Text(), "="); ok {
				settings[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), "'")
			}
		}
	}
	return settings
}
