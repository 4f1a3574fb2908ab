// Package cgroup keeps everything that the cluster runs in one tree of control groups. Whatever a process of ours starts,
// and what that starts, is in there; so nothing escapes when the cluster is taken down, whoever its parent has become.
//
// On a machine with cgroup v1 the tree exists once per controller. Processes of the system (containerd, kubelet, ...) join the two
// that are needed: pids, to be found, and freezer, to be stopped and continued. Containers are put into all by runc.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Tree is the tree in all hierarchies.
type Tree struct {
	// root is the name of the tree.
	root string
	// mounts are the hierarchies, by name of their controllers; v2 has one, with the name "".
	mounts map[string]string
	v2     bool
}

// Detect finds the hierarchies, for a tree of that name.
func Detect(root string) (Tree, error) {
	if root == "" {
		return Tree{}, errors.New("a tree of control groups needs a name: without, it would be the whole machine")
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Tree{}, fmt.Errorf("reading the mounts: %w", err)
	}
	t := parseMounts(string(data))
	t.root = root
	if len(t.mounts) == 0 {
		return Tree{}, errors.New("no control groups are mounted")
	}
	return t, nil
}

// parseMounts reads mountinfo. Where any controller is mounted as v1, v1 it is: the unified hierarchy beside it has none.
func parseMounts(mountinfo string) Tree {
	t := Tree{mounts: map[string]string{}}
	unified := ""
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch path := left[4]; right[0] {
		case "cgroup":
			t.mounts[filepath.Base(path)] = path
		case "cgroup2":
			unified = path
		}
	}
	if unified != "" {
		t.v2 = len(t.mounts) == 0
		t.mounts[""] = unified
	}
	return t
}

// V2 tells whether the machine has cgroup v2.
func (t Tree) V2() bool { return t.v2 }

// Create makes a group of the tree, given by its path below the root, in all hierarchies.
func (t Tree) Create(elem ...string) error {
	for _, mount := range t.mounts {
		dir := mount
		for _, name := range append([]string{t.root}, elem...) {
			if err := t.delegate(dir); err != nil {
				return err
			}
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("making a control group: %w", err)
			}
			if err := inheritCPUSet(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate lets the groups below a group of v2 have controllers.
func (t Tree) delegate(dir string) error {
	if !t.v2 {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("reading the controllers: %w", err)
	}
	for controller := range strings.FieldsSeq(string(data)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o600); err != nil {
			return fmt.Errorf("enabling the controller %s below %s: %w", controller, dir, err)
		}
	}
	return nil
}

// inheritCPUSet gives a new group of v1 the processors and memory of its parent: without, nothing can run in it.
func inheritCPUSet(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if errors.Is(err, fs.ErrNotExist) || len(strings.TrimSpace(string(parent))) == 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if present, err := os.ReadFile(filepath.Join(dir, name)); err == nil && len(strings.TrimSpace(string(present))) > 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), parent, 0o600); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// JoinFiles are the files to which a process writes "0" to join the group.
func (t Tree) JoinFiles(elem ...string) []string {
	names := []string{"pids", "freezer"}
	if t.v2 {
		names = []string{""}
	}
	var files []string
	for _, name := range names {
		if mount, ok := t.mounts[name]; ok {
			files = append(files, filepath.Join(append(append([]string{mount, t.root}, elem...), "cgroup.procs")...))
		}
	}
	return files
}

// Kill kills everything in a group, or without one in the whole tree, and returns when it is gone.
func (t Tree) Kill(elem ...string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		processes, err := t.processes(elem...)
		if err != nil || len(processes) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", processes)
		}
		for _, pid := range processes {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
		// What is frozen dies only now, all of it in one moment: nothing sees the others go.
		t.Thaw(elem...)
		time.Sleep(20 * time.Millisecond)
	}
}

// Freeze stops everything in a group, with what is started in there later, and returns when it stands still.
func (t Tree) Freeze(elem ...string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		// In v1 this has to be repeated: what forks meanwhile keeps the group at FREEZING.
		frozen, err := t.freeze(elem)
		if err != nil || frozen {
			return err
		}
		if time.Now().After(deadline) {
			t.Thaw(elem...)
			return fmt.Errorf("the control group %s does not freeze", filepath.Join(elem...))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// freeze asks for the freezing, and tells whether it is complete.
func (t Tree) freeze(elem []string) (bool, error) {
	name, control, value, state, want := "freezer", "freezer.state", "FROZEN", "freezer.state", "FROZEN"
	if t.v2 {
		name, control, value, state, want = "", "cgroup.freeze", "1", "cgroup.events", "frozen 1"
	}
	mount, ok := t.mounts[name]
	if !ok {
		return false, errors.New("this machine has no freezer for control groups")
	}
	dir := filepath.Join(append([]string{mount, t.root}, elem...)...)
	if err := writeExisting(filepath.Join(dir, control), value); err != nil {
		return false, fmt.Errorf("freezing a control group: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, state))
	if err != nil {
		return false, fmt.Errorf("freezing a control group: %w", err)
	}
	return slices.Contains(strings.Split(strings.TrimSpace(string(data)), "\n"), want), nil
}

// Thaw continues whatever was frozen in a group, or without one in the whole tree; it is done as far as it can be.
func (t Tree) Thaw(elem ...string) {
	for _, dir := range t.dirs(elem...) {
		_ = writeExisting(filepath.Join(dir, "freezer.state"), "THAWED")
		_ = writeExisting(filepath.Join(dir, "cgroup.freeze"), "0")
	}
}

// Remove removes a group, or without one the whole tree, which must be empty of processes. The kernel needs a moment for what has
// just ended.
func (t Tree) Remove(elem ...string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		var errs []error
		for _, dir := range slices.Backward(t.dirs(elem...)) { // children before parents
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
				errs = append(errs, fmt.Errorf("removing the control group %s: %w", dir, err))
			}
		}
		if len(errs) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(errs...)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// RemoveEmpty removes a group, and the tree if nothing else is in it. A group in use stays.
func (t Tree) RemoveEmpty(elem ...string) {
	for _, mount := range t.mounts {
		root := filepath.Join(mount, t.root)
		for _, dir := range []string{filepath.Join(append([]string{root}, elem...)...), root} {
			_ = syscall.Rmdir(dir)
		}
	}
}

// dirs lists a group, or without one the tree, and what is below in all hierarchies, parents before children.
func (t Tree) dirs(elem ...string) []string {
	var dirs []string
	for _, mount := range t.mounts {
		// Groups vanish while we look: what cannot be read is gone.
		_ = filepath.WalkDir(filepath.Join(append([]string{mount, t.root}, elem...)...), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	return dirs
}

func (t Tree) processes(elem ...string) ([]int, error) {
	var pids []int
	for _, dir := range t.dirs(elem...) {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a control group: %w", err)
		}
		for field := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid == 0 {
				return nil, fmt.Errorf("the control group %s lists the process %q", dir, field)
			}
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func writeExisting(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
