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
// A version is written and synced before a link names it; versions without a link are removed.

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

// MarkGood notes that the engine started with the current version, and removes what no link names.
func (c *ConfigStore) MarkGood() error {
	current := c.Current()
	if current == "" || current == c.Good() {
		return nil
	}
	if err := replaceLink(filepath.Join(c.dir, linkGood), current); err != nil {
		return err
	}
	return c.clean(current)
}

func (c *ConfigStore) clean(keep string) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("clean up configurations: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == keep {
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
