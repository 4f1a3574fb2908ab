package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A folder that was a mount before stays one; otherwise the last of those that use it takes it away.
func TestTheMountOfTheFirstGoesWithTheLast(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir, note := filepath.Join(t.TempDir(), "netns"), filepath.Join(t.TempDir(), "note")
	add := func(name string) { // as `ip netns add` does
		t.Helper()
		if err := errors.Join(noteMount(dir, note), os.MkdirAll(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		if !isMount(t, dir) {
			mount(t, dir)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := errors.Join(os.Remove(filepath.Join(dir, name)), unmountNoted(dir, note)); err != nil {
			t.Fatal(err)
		}
	}
	add("a")
	add("b")
	remove("a")
	if !isMount(t, dir) {
		t.Error("unmounted while it is in use")
	}
	remove("b")
	for _, path := range []string{dir, note} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, dir)
	add("a")
	remove("a")
	if !isMount(t, dir) {
		t.Error("the mount of others is gone")
	}
}

func mount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func isMount(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := mountsBelow(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(mounts) > 0
}

func TestOnlyLoopNodesThatADriverMadeAreRemoved(t *testing.T) {
	volumes, dev, block := t.TempDir(), t.TempDir(), t.TempDir()
	for _, file := range []string{
		filepath.Join(volumes, "n1", "loop1"), filepath.Join(volumes, "n2", "loop2"), filepath.Join(volumes, "n2", "loop3"), filepath.Join(volumes, "n2", "pvc-1.img"),
		filepath.Join(dev, "loop0"), filepath.Join(dev, "loop1"), filepath.Join(dev, "loop2"), filepath.Join(block, "loop2", "loop", "backing_file"),
	} {
		if err := writeFile(file, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeLoopNodes(filepath.Join(volumes, "n*"), dev, block); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"loop0": true, "loop1": false, "loop2": true} {
		if _, err := os.Stat(filepath.Join(dev, name)); (err == nil) != stays {
			t.Errorf("%s: stays is %v", name, !stays)
		}
	}
}
