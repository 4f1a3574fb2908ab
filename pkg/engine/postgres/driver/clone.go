package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Copies of a source's data.
//
//  1. pg_basebackup writes pgdata.clone, with the log that the copy needs, and syncs it.
//  2. A rename makes it pgdata.cloned: now it is whole.
//  3. pgdata, when there is one, becomes pgdata.old, and pgdata.cloned becomes pgdata. Inspect, and
//     the next Clone, finish this when the agent was killed in between.
//  4. What is left of the old data is removed.
//
// When the volume has no room for both, the old data is removed first. It is pgdata, or pgdata.rewind
// of an interrupted rewind.

func (d *Driver) volumePath(name string) string { return filepath.Join(d.VolumeDir, name) }

const (
	dirClone  = "pgdata.clone"
	dirCloned = "pgdata.cloned"
	dirOld    = "pgdata.old"
	dirRewind = "pgdata.rewind"
)

var errRunning = errors.New("the server runs")

// finishSwap puts a whole copy into its place, when there is one.
func (d *Driver) finishSwap() error {
	// Two at once could take the copy for the old data.
	d.swap.Lock()
	defer d.swap.Unlock()
	if _, err := os.Lstat(d.volumePath(dirCloned)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for a copy: %w", err)
	}
	if _, err := os.Lstat(d.dataDir()); err == nil {
		// One of an earlier copy may be there: the data that it was kept for is in place since.
		if err := os.RemoveAll(d.volumePath(dirOld)); err != nil {
			return fmt.Errorf("remove old data: %w", err)
		}
		if err := os.Rename(d.dataDir(), d.volumePath(dirOld)); err != nil {
			return fmt.Errorf("set the old data aside: %w", err)
		}
	}
	if err := os.Rename(d.volumePath(dirCloned), d.dataDir()); err != nil {
		return fmt.Errorf("put the copy in place: %w", err)
	}
	return agent.SyncDir(d.VolumeDir)
}

// removeLeftovers removes what a clone leaves behind, or left when it was interrupted.
func (d *Driver) removeLeftovers(names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(d.volumePath(name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// Clone implements agent.Replicator.
func (d *Driver) Clone(ctx context.Context, source agent.Source, progress func(message string)) error {
	return wrap("clone "+source.Instance, d.clone(ctx, source, progress))
}

func (d *Driver) clone(ctx context.Context, source agent.Source, progress func(message string)) error {
	if d.running() {
		return errRunning
	}
	if err := d.finishSwap(); err != nil {
		return err
	}
	conn, facts, err := d.connectSource(ctx, source)
	if err != nil {
		return err
	}
	closeConn(conn)
	tool, err := d.cloneTool(ctx, facts)
	if err != nil {
		return err
	}
	if err := d.removeLeftovers(dirClone, dirOld); err != nil {
		return err
	}
	if err := d.makeRoom(ctx, facts.bytes, progress); err != nil {
		return err
	}
	if err := d.baseBackup(ctx, tool, source, facts.address, progress); err != nil {
		return err
	}
	if err := os.Rename(d.volumePath(dirClone), d.volumePath(dirCloned)); err != nil {
		return fmt.Errorf("mark the copy as whole: %w", err)
	}
	if err := agent.SyncDir(d.VolumeDir); err != nil {
		return err
	}
	if err := d.finishSwap(); err != nil {
		return err
	}
	return d.removeLeftovers(dirOld, dirRewind)
}

// cloneTool finds pg_basebackup, and refuses what it cannot copy.
func (d *Driver) cloneTool(ctx context.Context, facts sourceFacts) (string, error) {
	if facts.tablespaces > 0 {
		return "", fmt.Errorf("it has %d tablespaces of its own, which lie outside of the data and are not copied: move what is in them to pg_default, and drop them", facts.tablespaces)
	}
	server, err := d.serverMajor(ctx, facts.major())
	if err != nil {
		return "", err
	}
	if server != facts.major() {
		return "", fmt.Errorf("it is PostgreSQL %s, but the image has PostgreSQL %s", facts.major(), server)
	}
	return binaryPath("pg_basebackup", facts.major())
}

// room is what a copy needs beyond the data: log that is written meanwhile.
const room = 256 << 20

// makeRoom removes the data that is there when a copy would not fit beside it.
func (d *Driver) makeRoom(ctx context.Context, need int64, progress func(string)) error {
	var volume unix.Statfs_t
	if err := unix.Statfs(d.VolumeDir, &volume); err != nil {
		return fmt.Errorf("look for room on the volume: %w", err)
	}
	free := int64(volume.Bavail) * volume.Bsize
	if free > need+need/10+room || !d.hasData() {
		return nil
	}
	klog.FromContext(ctx).Info("There is no room for the old data beside the copy", "free", free, "need", need)
	progress("removing the old data: there is no room for both")
	return d.removeData()
}

// hasData says whether there is data that takes room.
func (d *Driver) hasData() bool {
	for _, path := range []string{d.dataDir(), d.volumePath(dirRewind)} {
		if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
			return true
		}
	}
	return false
}

// removeData removes the data that is there. It vanishes under its name first: half of it must never
// be taken for a database.
func (d *Driver) removeData() error {
	if err := d.removeLeftovers(dirOld); err != nil {
		return err
	}
	if err := os.Rename(d.dataDir(), d.volumePath(dirOld)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the old data aside: %w", err)
	}
	if err := agent.SyncDir(d.VolumeDir); err != nil {
		return err
	}
	return d.removeLeftovers(dirOld, dirRewind)
}

// noSpace is the operating system's message.
const noSpace = "No space left on device"

// baseBackup copies the source into pgdata.clone. When the volume fills up in spite of the estimate,
// it makes room and tries once more.
func (d *Driver) baseBackup(ctx context.Context, tool string, source agent.Source, address string, progress func(string)) error {
	messages, err := d.runBaseBackup(ctx, tool, source, address, progress)
	if err == nil || !strings.Contains(messages, noSpace) || ctx.Err() != nil || !d.hasData() {
		return err
	}
	progress("removing the old data: there is no room for both")
	if err := errors.Join(d.removeLeftovers(dirClone), d.removeData()); err != nil {
		return err
	}
	_, err = d.runBaseBackup(ctx, tool, source, address, progress)
	return err
}

func (d *Driver) runBaseBackup(ctx context.Context, tool string, source agent.Source, address string, progress func(string)) (messages string, err error) {
	cmd := command(ctx, tool, "--pgdata="+d.volumePath(dirClone), "--dbname="+toolConninfo(source, address),
		"--wal-method=stream", "--checkpoint=fast", "--no-manifest", "--progress", "--verbose")
	if err := d.withPassword(cmd); err != nil {
		return "", err
	}
	klog.FromContext(ctx).Info("Copying a database", "source", source.Instance)
	lines := &lineWriter{line: func(line string) {
		if text, ok := copyProgress(line); ok {
			progress(text)
		}
	}}
	cmd.Stdout, cmd.Stderr = lines, lines
	if err := d.Supervisor.Command(cmd); err != nil {
		return lines.rest(), fmt.Errorf("pg_basebackup: %w: %s", ended(ctx, err), lines.rest())
	}
	return "", nil
}

// ended is why a program ended: the end of its context, or by itself.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// withPassword gives a tool the password of the account of replication.
func (d *Driver) withPassword(cmd *exec.Cmd) error {
	password, err := d.replicationPassword()
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
	return nil
}

// copied finds "12345/67890 kB (18%), 0/1 tablespace".
var copied = regexp.MustCompile(`(\d+)/(\d+) kB \((\d+)%\)`)

func copyProgress(line string) (string, bool) {
	match := copied.FindStringSubmatch(line)
	if match == nil {
		return "", false
	}
	return fmt.Sprintf("%s%% copied (%s of %s kB)", match[3], match[1], match[2]), true
}

// lineWriter passes lines on, and keeps the last ones that are no progress.
type lineWriter struct {
	line    func(string)
	pending []byte
	kept    []string
}

// Write implements io.Writer. Progress ends in a carriage return on terminals, else in a line feed.
func (w *lineWriter) Write(data []byte) (int, error) {
	w.pending = append(w.pending, data...)
	for {
		end := bytes.IndexAny(w.pending, "\r\n")
		if end < 0 {
			return len(data), nil
		}
		w.take(string(w.pending[:end]))
		w.pending = w.pending[end+1:]
	}
}

func (w *lineWriter) take(line string) {
	if line = strings.TrimSpace(line); line == "" {
		return
	}
	w.line(line)
	if !copied.MatchString(line) {
		w.kept = append(w.kept[max(0, len(w.kept)-19):], line)
	}
}

// rest is the end of what was written, which says why it failed.
func (w *lineWriter) rest() string {
	return lastLines(strings.Join(append(w.kept, string(w.pending)), "\n"))
}
