package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestParseMounts(t *testing.T) {
	tests := map[string]struct {
		in     string
		v2     bool
		mounts map[string]string
	}{
		"v1 with the unified hierarchy beside": {
			in: `32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`,
			mounts: map[string]string{"cpu": "/sys/fs/cgroup/cpu", "pids": "/sys/fs/cgroup/pids", "": "/sys/fs/cgroup/unified"},
		},
		"v2": {
			in:     "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			v2:     true,
			mounts: map[string]string{"": "/sys/fs/cgroup"},
		},
		"none": {in: "22 27 0:21 / /proc rw - proc proc rw\n", mounts: map[string]string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := parseMounts(test.in)
			if got.v2 != test.v2 || len(got.mounts) != len(test.mounts) {
				t.Errorf("got %+v", got)
			}
			for name, mount := range test.mounts {
				if got.mounts[name] != mount {
					t.Errorf("%s is %s", name, got.mounts[name])
				}
			}
		})
	}
}

func TestJoinFiles(t *testing.T) {
	v1 := Tree{root: "kdev", mounts: map[string]string{"cpu": "/c/cpu", "pids": "/c/pids", "freezer": "/c/freezer", "": "/c/unified"}}
	if got, want := v1.JoinFiles("n1", "system"), []string{"/c/pids/kdev/n1/system/cgroup.procs", "/c/freezer/kdev/n1/system/cgroup.procs"}; !slices.Equal(got, want) {
		t.Errorf("v1: %v", got)
	}
	v2 := Tree{root: "kdev", mounts: map[string]string{"": "/c"}, v2: true}
	if got, want := v2.JoinFiles("fab", "system"), []string{"/c/kdev/fab/system/cgroup.procs"}; !slices.Equal(got, want) {
		t.Errorf("v2: %v", got)
	}
}

// Plain files stand for those of the kernel: what is written says that it has been done, except in v2, where another file does.
func TestFreeze(t *testing.T) {
	tests := map[string]struct {
		controller string
		v2         bool
		files      map[string]string
		control    string
		frozen     string
		thawed     string
	}{
		"v1": {"freezer", false, map[string]string{"freezer.state": "THAWED"}, "freezer.state", "FROZEN", "THAWED"},
		"v2": {"", true, map[string]string{"cgroup.freeze": "0", "cgroup.events": "populated 1\nfrozen 1\n"}, "cgroup.freeze", "1", "0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mount := t.TempDir()
			dir := filepath.Join(mount, "kdev", "n1")
			if err := os.MkdirAll(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			for file, content := range test.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			control := func() string {
				data, err := os.ReadFile(filepath.Join(dir, test.control))
				if err != nil {
					t.Fatal(err)
				}
				return string(data)[:len(test.frozen)]
			}
			tree := Tree{root: "kdev", mounts: map[string]string{test.controller: mount}, v2: test.v2}
			if err := tree.Freeze("n1"); err != nil || control() != test.frozen {
				t.Errorf("%q, %v", control(), err)
			}
			tree.Thaw("n1")
			if got := control(); got != test.thawed[:len(test.frozen)] {
				t.Errorf("after thawing: %q", got)
			}
			if err := tree.Freeze("n2"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a group that is not there: %v", err)
			}
		})
	}
}

// A plain folder stands for the file system of control groups, as far as that goes.
func TestCreateAndRemove(t *testing.T) {
	mount := t.TempDir()
	for name, content := range map[string]string{"cpuset.cpus": "0-1", "cpuset.mems": "0"} {
		if err := os.WriteFile(filepath.Join(mount, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree := Tree{root: "kdev", mounts: map[string]string{"cpuset": mount}}
	for range 2 {
		if err := tree.Create("n1", "system"); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"kdev", "kdev/n1", "kdev/n1/system"} {
		data, err := os.ReadFile(filepath.Join(mount, dir, "cpuset.cpus"))
		if err != nil || string(data) != "0-1" {
			t.Errorf("%s has processors %q, %v", dir, data, err)
		}
	}
	for _, dir := range tree.dirs() { // in the real one these files need no removal
		_ = os.Remove(filepath.Join(dir, "cpuset.cpus"))
		_ = os.Remove(filepath.Join(dir, "cpuset.mems"))
	}
	tree.RemoveEmpty("n1") // not empty
	if len(tree.dirs()) != 3 {
		t.Errorf("removed: %v", tree.dirs())
	}
	if err := tree.Remove(); err != nil || len(tree.dirs()) > 0 {
		t.Errorf("left: %v, %v", tree.dirs(), err)
	}
}
