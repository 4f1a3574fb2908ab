// Loop devices and mounts, by system calls: no output of programs has to be understood.

package csi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// loopMajor is the major number of loop devices.
const loopMajor = 7

// attachLoop attaches a file to a free loop device. The device is detached by the kernel when its last user goes: mount it, then
// close the returned file, and the unmounting will free it, whoever does that.
func attachLoop(file string) (*os.File, error) {
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a backing file: %w", err)
	}
	defer func() { _ = backing.Close() }()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the control of loop devices: %w", err)
	}
	defer func() { _ = control.Close() }()
	// Between the answer and its use another process may take the device: ask again then.
	for range 64 {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("finding a free loop device: %w", err)
		}
		device, err := openLoop(number, filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		copy(config.Info.File_name[:len(config.Info.File_name)-1], file)
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		_ = device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attaching %s to a loop device: %w", file, err)
		}
	}
	return nil, errors.New("all free loop devices were taken by others")
}

// openLoop opens a loop device; where /dev does not follow the kernel, as in containers, its node is made. A file of its name among the
// volumes says so, for who takes the cluster down.
func openLoop(number int, volumes string) (*os.File, error) {
	name := "loop" + strconv.Itoa(number)
	path := filepath.Join("/dev", name)
	err := unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(number))))
	if err == nil {
		err = os.WriteFile(filepath.Join(volumes, name), nil, 0o600)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("making %s: %w", path, err)
	}
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a loop device: %w", err)
	}
	return device, nil
}

// isAttached tells whether a loop device uses the file.
func isAttached(file string) (bool, error) {
	links, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return false, fmt.Errorf("listing loop devices: %w", err)
	}
	for _, link := range links {
		data, err := os.ReadFile(link) // fails when the device has just been detached
		if err == nil && strings.TrimSpace(string(data)) == file {
			return true, nil
		}
	}
	return false, nil
}

// isMounted tells whether something is mounted at the path.
func isMounted(path string) (bool, error) {
	device, err := mountedDevice(path)
	return device != "", err
}

// mountedDevice returns what is mounted at the path, or nothing.
func mountedDevice(path string) (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("reading the mounts: %w", err)
	}
	return mountedAt(string(data), path), nil
}

// mountedAt looks for a mount point in the text of mountinfo, and returns the device of the last mount there, which hides the others.
// Blanks in paths are written as octal there; our paths have none.
func mountedAt(mountinfo, path string) string {
	device := ""
	for line := range strings.Lines(mountinfo) {
		mount, source, _ := strings.Cut(line, " - ")
		fields, of := strings.Fields(mount), strings.Fields(source)
		if len(fields) > 4 && len(of) > 1 && fields[4] == path {
			device = of[1]
		}
	}
	return device
}

// mountVolume mounts the file system in a backing file.
func mountVolume(file, path string, options []string) error {
	device, err := attachLoop(file)
	if err != nil {
		return err
	}
	defer func() { _ = device.Close() }()
	if err := unix.Mount(device.Name(), path, fileSystem, 0, strings.Join(options, ",")); err != nil {
		return fmt.Errorf("mounting %s: %w", device.Name(), err)
	}
	return nil
}

// growMounted lets a mounted loop device, and the file system on it, become as large as the backing file. It does nothing if they are.
func growMounted(ctx context.Context, device, path string) error {
	loop, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening a loop device: %w", err)
	}
	defer func() { _ = loop.Close() }()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("growing %s: %w", device, err)
	}
	return runTool(ctx, "xfs_growfs", "-d", path)
}

// bindMount mounts one path at another. A bind mount takes the flag for reading only in a second step.
func bindMount(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", target, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("protecting %s: %w", target, err), unmount(target))
	}
	return nil
}

// unmount unmounts the path as often as something is mounted there.
func unmount(path string) error {
	for {
		mounted, err := isMounted(path)
		if err != nil || !mounted {
			return err
		}
		if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
}
