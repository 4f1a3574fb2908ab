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
	// minSize is the smallest volume: mkfs.ext4 wants room for a journal.
	minSize = 16 << 20
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
	return &Volumes{Dir: dir, format: makeExt4, attached: isAttached}, nil
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

// makeExt4 puts a file system into a file, without touching more of it than needed, and without blocks reserved for root: the
// user of the volume gets what he asked for.
func makeExt4(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", file)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
