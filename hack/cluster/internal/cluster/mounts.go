// Finding and removing mounts and loop devices by where they are, not by who made them.

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountsBelow lists what is mounted at or below a folder, as often as it is, the last first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	mounts := parseMountsBelow(string(data), dir)
	slices.Reverse(mounts)
	return mounts, nil
}

// parseMountsBelow reads mountinfo, in which a mount comes after what it is mounted on. The kernel writes blanks and the like as
// octal numbers.
func parseMountsBelow(mountinfo, dir string) []string {
	var mounts []string
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if path := unescape.Replace(fields[4]); path == dir || strings.HasPrefix(path, dir+"/") {
			mounts = append(mounts, path)
		}
	}
	return mounts
}

// unmountBelow unmounts everything at or below a folder. What is still busy after a while is detached: it goes with its last user.
func unmountBelow(dir string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		mounts, err := mountsBelow(dir)
		if err != nil || len(mounts) == 0 {
			return err
		}
		flags := unix.UMOUNT_NOFOLLOW
		if time.Now().After(deadline) {
			flags |= unix.MNT_DETACH
		}
		busy := false
		for _, mount := range mounts {
			err := unix.Unmount(mount, flags)
			switch {
			case errors.Is(err, unix.EBUSY):
				busy = true
			case err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT): // gone meanwhile
				return fmt.Errorf("unmounting %s: %w", mount, err)
			}
		}
		if busy {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// noteMount writes the note if nothing is mounted at the folder yet.
func noteMount(dir, note string) error {
	mounts, err := mountsBelow(dir)
	if err != nil || slices.Contains(mounts, dir) {
		return err
	}
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		return fmt.Errorf("noting that %s was no mount: %w", dir, err)
	}
	return nil
}

// unmountNoted unmounts and removes a folder of which there is a note, unless something is in it.
func unmountNoted(dir, note string) error {
	if _, err := os.Stat(note); err != nil {
		return nil //nolint:nilerr // the mount is not ours
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return nil
	}
	switch err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); {
	case errors.Is(err, unix.EBUSY):
		return nil // somebody has just begun to use it
	case err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT): // it is no mount
		return fmt.Errorf("unmounting %s: %w", dir, err)
	}
	_ = os.Remove(dir) // only if it is still empty
	if err := os.Remove(note); err != nil {
		return fmt.Errorf("forgetting the mount of %s: %w", dir, err)
	}
	return nil
}

// detachBelow detaches loop devices of files below a folder, which are there when a driver was killed between attaching and mounting.
func detachBelow(dir string) error {
	links, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return fmt.Errorf("listing loop devices: %w", err)
	}
	for _, link := range links {
		data, err := os.ReadFile(link)
		if err != nil || !strings.HasPrefix(string(data), dir+"/") {
			continue // detached by now, or not ours
		}
		device := filepath.Join("/dev", strings.Split(link, "/")[3])
		if err := detach(device); err != nil {
			return err
		}
	}
	return nil
}

// removeLoopNodes removes the nodes of loop devices that a driver has made, and noted beside its volumes, where /dev does not follow the
// kernel. A device that others use keeps its node.
func removeLoopNodes(volumes, dev, block string) error {
	notes, err := filepath.Glob(filepath.Join(volumes, "loop[0-9]*"))
	if err != nil {
		return fmt.Errorf("listing the nodes of loop devices: %w", err)
	}
	for _, note := range notes {
		name := filepath.Base(note)
		if _, err := os.Stat(filepath.Join(block, name, "loop", "backing_file")); err == nil {
			continue // it is attached
		}
		if err := os.Remove(filepath.Join(dev, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the node of a loop device: %w", err)
		}
	}
	return nil
}

func detach(device string) error {
	file, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("opening %s: %w", device, err)
	}
	defer func() { _ = file.Close() }()
	if _, err := unix.IoctlRetInt(int(file.Fd()), unix.LOOP_CLR_FD); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detaching %s: %w", device, err)
	}
	return nil
}
