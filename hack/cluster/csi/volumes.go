// The backing files, without anything of CSI or mounting: the part that can be tested anywhere.

package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	// minSize is the smallest volume that mkfs.xfs makes.
	minSize = 300 << 20
	// blockSize is what sizes are rounded up to.
	blockSize = 4096
)

// Errors that the services translate into status codes.
var (
	ErrInvalidID    = errors.New("invalid volume id")
	ErrSizeDiffers  = errors.New("a volume of that name with another size exists")
	ErrNoVolume     = errors.New("no such volume")
	ErrStillInUse   = errors.New("the volume is still attached")
	ErrSizeTooSmall = errors.New("the limit is below the smallest possible volume")
)

// Volumes keeps the backing files of one node in a folder.
type Volumes struct {
	Dir string
	// format makes a file system in a file; replaced in tests.
	format func(ctx context.Context, file string) error
	// attached tells whether a loop device uses the file; replaced in tests.
	attached func(file string) (bool, error)
}

// NewVolumes returns the volumes in that folder, which is made if it is missing.
func NewVolumes(dir string) (*Volumes, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of volumes: %w", err)
	}
	return &Volumes{Dir: dir, format: makeFileSystem, attached: isAttached}, nil
}

// Size returns the size of a volume that is to hold at least `required` bytes and at most `limit` (0: no limit).
func Size(required, limit int64) (int64, error) {
	size := max(required, minSize)
	size = (size + blockSize - 1) / blockSize * blockSize
	if limit > 0 && size > limit {
		return 0, fmt.Errorf("%w: %d bytes, with a limit of %d", ErrSizeTooSmall, size, limit)
	}
	return size, nil
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// File returns the backing file of a volume, which need not exist.
func (v *Volumes) File(id string) (string, error) {
	if !idPattern.MatchString(id) {
		return "", fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	return filepath.Join(v.Dir, id+".img"), nil
}

// Create makes a volume. To make it again with the same size does nothing: calls are repeated when an answer gets lost.
func (v *Volumes) Create(ctx context.Context, id string, size int64) error {
	file, err := v.File(id)
	if err != nil {
		return err
	}
	present, err := v.Capacity(id)
	switch {
	case err == nil && present == size:
		return nil
	case err == nil:
		return fmt.Errorf("%w: %d, not %d bytes", ErrSizeDiffers, present, size)
	case !errors.Is(err, ErrNoVolume):
		return err
	}
	// Only a complete file system gets the name of a volume.
	temp, err := os.CreateTemp(v.Dir, id+".*.new")
	if err != nil {
		return fmt.Errorf("making the file of volume %s: %w", id, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := errors.Join(temp.Truncate(size), temp.Close()); err != nil {
		return fmt.Errorf("sizing the file of volume %s: %w", id, err)
	}
	if err := v.format(ctx, temp.Name()); err != nil {
		return fmt.Errorf("formatting volume %s: %w", id, err)
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return fmt.Errorf("keeping volume %s: %w", id, err)
	}
	return nil
}

// Capacity returns the size of a volume, or ErrNoVolume.
func (v *Volumes) Capacity(id string) (int64, error) {
	file, err := v.File(id)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s", ErrNoVolume, id)
	}
	if err != nil {
		return 0, fmt.Errorf("looking at volume %s: %w", id, err)
	}
	return info.Size(), nil
}

// Grow makes a volume at least that large, and returns its size. Its file system has still to follow.
func (v *Volumes) Grow(id string, size int64) (int64, error) {
	present, err := v.Capacity(id)
	if err != nil || present >= size {
		return present, err
	}
	file, err := v.File(id)
	if err != nil {
		return 0, err
	}
	if err := os.Truncate(file, size); err != nil {
		return 0, fmt.Errorf("growing volume %s: %w", id, err)
	}
	return size, nil
}

// Delete removes a volume and gives its space back. One that is attached stays: data in use would go on living unseen. To delete
// what does not exist is no error.
func (v *Volumes) Delete(id string) error {
	file, err := v.File(id)
	if err != nil {
		return err
	}
	inUse, err := v.attached(file)
	if err != nil {
		return err
	}
	if inUse {
		return fmt.Errorf("%w: %s", ErrStillInUse, id)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting volume %s: %w", id, err)
	}
	return nil
}

// fileSystem is that of volumes. A mounted ext4 cannot be grown without CAP_SYS_RESOURCE, which containers in which the cluster may run
// lack; XFS can.
const fileSystem = "xfs"

// contents describes the root folder of a new file system to mkfs.xfs. It has a folder lost+found, as on ext4, so that what
// believes a new volume to be empty is found out here.
const contents = `/dev/null
0 0
d--755 0 0
lost+found d--700 0 0
$
$
`

// makeFileSystem puts a file system into a file, without touching more of it than needed, and without room kept for shared blocks: the
// user of the volume gets what he asked for.
func makeFileSystem(ctx context.Context, file string) error {
	prototype := file + ".proto"
	if err := os.WriteFile(prototype, []byte(contents), 0o600); err != nil {
		return fmt.Errorf("describing a file system: %w", err)
	}
	defer func() { _ = os.Remove(prototype) }()
	return runTool(ctx, "mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=0", "-p", prototype, file)
}

// runTool runs a program of xfsprogs.
func runTool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(output)))
	}
	return nil
}
