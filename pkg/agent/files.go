package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Files that survive a crash: content is synced before its name is, and a name appears whole or
// not at all.

// File is a file that is replaced whole, also on a full volume: it has a twin of the same size, which is written in
// place, and then the two change their names.
type File struct{ path string }

// reserved is the least size of a file and its twin. What is in it may grow up to there.
const reserved = 32 << 10

// Load returns nothing when there is no file.
func (f File) Load() ([]byte, error) {
	content, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return bytes.TrimRight(content, " "), err
}

// Save replaces it. The content, which does not end with a space, is padded with spaces.
func (f File) Save(content []byte) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", f.path, err)
	}
	size := reserved
	for size < len(content) {
		size *= 2
	}
	padded := append(slices.Clone(content), bytes.Repeat([]byte{' '}, size-len(content))...)
	twin := f.path + ".new"
	if err := writeSynced(twin, padded); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, twin, unix.AT_FDCWD, f.path, unix.RENAME_EXCHANGE)
	if err != nil {
		// There is no file yet, or the file system cannot exchange names.
		err = os.Rename(twin, f.path)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", f.path, err)
	}
	return SyncDir(filepath.Dir(f.path))
}

// writeFile replaces a file. Its folder is made again when somebody emptied the volume.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", path, err)
	}
	temporary := path + ".new"
	if err := writeSynced(temporary, content); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// ReplaceFile makes a file have that content, and says whether it was another one. One that is right is
// not written: a full volume must not keep the engine down.
func ReplaceFile(path string, content []byte) (changed bool, err error) {
	if is, err := os.ReadFile(path); err == nil && bytes.Equal(is, content) {
		return false, nil
	}
	return true, writeFile(path, content)
}

// writeSynced makes a file, or overwrites one in the place that it has.
func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Truncate(int64(len(content))), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// replaceLink makes a symbolic link point elsewhere, at once.
func replaceLink(path, target string) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an old link: %w", err)
	}
	if err := os.Symlink(target, temporary); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("replace link %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// readJSON reads a file into value, and says whether it was there.
func readJSON(path string, value any) (bool, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read: %w", err)
	}
	if err := json.Unmarshal(content, value); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return true, nil
}
