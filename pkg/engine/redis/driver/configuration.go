package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Configuration.
//
//  1. CheckConfig lets a server on trial (trial.go) start with the files: it knows every name and value.
//  2. Reload asks such a server for all of its settings, and compares them with those of the real one.
//     What differs is set there, all at once, so that a refusal leaves everything as it was.
//  3. What the server says cannot be set while it runs waits for a restart. So no list of settings is
//     needed here, whatever the version.

// ours are the settings that are given on the command line: they differ on trial.
var ours = []string{"port", "dir", "unixsocket", "unixsocketperm", "aclfile", "appendonly", "shutdown-on-sigterm"}

// CheckConfig implements agent.Driver.
func (d *Driver) CheckConfig(ctx context.Context, configDir string) error {
	_, err := d.wanted(ctx, configDir)
	if err != nil {
		return fmt.Errorf("check the configuration: %w", err)
	}
	return nil
}

// wanted are all settings of a server that is started with a folder, in the server's own words.
func (d *Driver) wanted(ctx context.Context, configDir string) (map[string]string, error) {
	memory, err := d.memoryArgs(configDir)
	if err != nil {
		return nil, err
	}
	var settings map[string]string
	args := append([]string{filepath.Join(configDir, fileConf), "--appendonly", "no"}, memory...)
	err = d.try(ctx, args, func(ctx context.Context, client *redis.Client) (err error) {
		settings, err = readSettings(ctx, client)
		return err
	})
	return settings, err
}

// readSettings asks for all settings but ours.
func readSettings(ctx context.Context, client *redis.Client) (map[string]string, error) {
	settings, err := client.ConfigGet(ctx, "*").Result()
	if err != nil {
		return nil, fmt.Errorf("ask for the settings: %w", err)
	}
	maps.DeleteFunc(settings, func(name, _ string) bool { return slices.Contains(ours, name) })
	return settings, nil
}

// Reload implements agent.Driver.
func (d *Driver) Reload(ctx context.Context) ([]string, error) {
	d.mu.Lock()
	configDir, version := d.configDir, d.version
	d.mu.Unlock()
	wanted, err := d.wanted(ctx, configDir)
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	running, err := readSettings(ctx, d.client)
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	set := setTogether
	if !version.atLeast(7, 0) {
		set = setOneByOne
	}
	return reload(wanted, running, func(changes []change) error { return set(ctx, d.client, changes) })
}

// change is a setting with its value, and the one before.
type change struct{ name, value, before string }

// reload sets what differs, and returns the names of what cannot be set now.
func reload(wanted, running map[string]string, set func([]change) error) ([]string, error) {
	var changes []change
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if before, known := running[name]; known && before != wanted[name] {
			changes = append(changes, change{name, wanted[name], before})
		}
	}
	var pending []string
	for len(changes) > 0 {
		err := set(changes)
		if err == nil {
			break
		}
		name, words, refused := parseSetError(err)
		i := slices.IndexFunc(changes, func(c change) bool { return c.name == name })
		switch {
		case !refused:
			return nil, fmt.Errorf("set %s: %w", names(changes), err)
		case i >= 0 && alias.MatchString(words):
			// A setting that has two names is told under both.
			changes = slices.Delete(changes, i, i+1)
		case i >= 0 && immutable.MatchString(words):
			pending = append(pending, name)
			changes = slices.Delete(changes, i, i+1)
		default:
			return nil, &agent.Refusal{Setting: name, Words: words}
		}
	}
	return pending, nil
}

func names(changes []change) string {
	list := make([]string, len(changes))
	for i, c := range changes {
		list[i] = c.name
	}
	return strings.Join(list, ", ")
}

// setTogether sets all or nothing, which versions from 7.0 on can.
func setTogether(ctx context.Context, client *redis.Client, changes []change) error {
	args := []any{"config", "set"}
	for _, c := range changes {
		args = append(args, c.name, c.value)
	}
	return client.Do(ctx, args...).Err()
}

// setOneByOne sets one after the other, and takes back what was set when one is refused.
func setOneByOne(ctx context.Context, client *redis.Client, changes []change) error {
	for i, c := range changes {
		err := client.ConfigSet(ctx, c.name, c.value).Err()
		if err == nil {
			continue
		}
		for _, done := range slices.Backward(changes[:i]) {
			if back := client.ConfigSet(ctx, done.name, done.before).Err(); back != nil {
				return fmt.Errorf("take %s back after %s was refused: %w", done.name, c.name, back)
			}
		}
		if isRefusal(err) {
			return &setError{name: c.name, words: err.Error()}
		}
		return err
	}
	return nil
}

// setError is a refusal that does not name its setting by itself.
type setError struct{ name, words string }

func (e *setError) Error() string { return e.words }

// What the server says of a setting, from version 7.0 on, and before.
var (
	setFailed = regexp.MustCompile(`^ERR CONFIG SET failed(?: \(possibly related to argument '([^']*)'\))? - (.*)$`)
	immutable = regexp.MustCompile(`can't set immutable|can't set protected|Unsupported CONFIG parameter`)
	alias     = regexp.MustCompile(`duplicate parameter`)
)

// parseSetError says which setting was refused and why, when it is that.
func parseSetError(err error) (name, words string, refused bool) {
	if single, ok := errors.AsType[*setError](err); ok {
		return single.name, strings.TrimPrefix(single.words, "ERR "), true
	}
	if match := setFailed.FindStringSubmatch(err.Error()); match != nil {
		return match[1], match[2], true
	}
	return "", "", false
}

// isRefusal tells a reply about the command from one about the server's state, as LOADING.
func isRefusal(err error) bool { return strings.HasPrefix(err.Error(), "ERR ") }
