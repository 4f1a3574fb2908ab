package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/platform-io/database-operator/pkg/engine/confighash"
)

// The engine's configuration files.
//
// The kubelet refreshes its mount when it likes, so the engine never reads it. The agent copies a
// version of the files to agent/config/<hash>/ and lets links name them:
//
//	current  what the engine reads (its path never changes, so a reload reads the new files)
//	good     the last version that the engine was seen to start, and let sessions in, with; what it goes
//	         back to
//
// A version is written and synced before a link names it. Versions without a link are removed before
// another one is written, and at no other time: who takes one over may have to go back to the one
// before.

const (
	linkCurrent = "current"
	linkGood    = "good"
)

// ConfigStore keeps versions of the configuration.
type ConfigStore struct {
	dir string
}

// NewConfigStore makes a store of versions below a folder.
func NewConfigStore(dir string) (*ConfigStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of configurations: %w", err)
	}
	return &ConfigStore{dir: dir}, nil
}

// Path is the folder that the engine reads.
func (c *ConfigStore) Path() string { return filepath.Join(c.dir, linkCurrent) }

// Current is the hash of the version that the engine reads, or empty.
func (c *ConfigStore) Current() string { return c.linked(linkCurrent) }

// Good is the hash of the last version that the engine started with, or empty.
func (c *ConfigStore) Good() string { return c.linked(linkGood) }

func (c *ConfigStore) linked(name string) string {
	target, err := os.Readlink(filepath.Join(c.dir, name))
	if err != nil {
		return ""
	}
	return target
}

// Stage copies files into the store, and returns the folder.
func (c *ConfigStore) Stage(files map[string]string) (string, error) {
	if err := c.clean(); err != nil {
		return "", err
	}
	dir := filepath.Join(c.dir, confighash.ConfigHash(files))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("stage the configuration: %w", err)
	}
	for name, content := range files {
		if err := writeSynced(filepath.Join(dir, name), []byte(content)); err != nil {
			return "", fmt.Errorf("stage the configuration: %w", err)
		}
	}
	if err := SyncDir(dir); err != nil {
		return "", err
	}
	return dir, SyncDir(c.dir)
}

// Use makes a staged version the one that the engine reads.
func (c *ConfigStore) Use(hash string) error {
	return replaceLink(filepath.Join(c.dir, linkCurrent), hash)
}

// MarkGood notes that the engine runs with a version, if that is the current one.
func (c *ConfigStore) MarkGood(hash string) error {
	if hash == "" || hash != c.Current() || hash == c.Good() {
		return nil
	}
	return replaceLink(filepath.Join(c.dir, linkGood), hash)
}

// clean removes what no link names.
func (c *ConfigStore) clean() error {
	current, good := c.Current(), c.Good()
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody may have emptied the volume
		return fmt.Errorf("clean up configurations: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == current || e.Name() == good {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.dir, e.Name())); err != nil {
			return fmt.Errorf("clean up configurations: %w", err)
		}
	}
	return nil
}

// readMounted reads the files of a mounted ConfigMap. Names that begin with a dot are the kubelet's.
func readMounted(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the mounted configuration: %w", err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the mounted configuration: %w", err)
		}
		files[e.Name()] = string(content)
	}
	return files, nil
}

// mountedHash is the hash of the mounted files, or empty when there are none.
func mountedHash(dir string) (string, map[string]string, error) {
	files, err := readMounted(dir)
	if err != nil || len(files) == 0 {
		return "", nil, err
	}
	return confighash.ConfigHash(files), files, nil
}
