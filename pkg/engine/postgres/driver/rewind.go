package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Rewinding.
//
//  1. The source's control file must be on its new timeline, or pg_rewind of some versions sees no
//     need to do anything; a primary's first checkpoint sees to that, and is waited for.
//  2. pgdata becomes pgdata.rewind: data that is half rewound has a control file as if it were whole,
//     and must never be started. Killed in between, the agent finds no data, and clones.
//  3. pg_rewind recovers the data first, in a single-user server, which must not be a standby and
//     reads postgresql.conf in the data: so that includes our configuration.
//  4. Until pg_rewind says from where it rewinds it has changed nothing; the data goes back into its
//     place then, also when it failed.
//
// It copies the source's configuration files into the data, which nobody reads, and takes
// standby.signal away; Start writes that.

// Messages of pg_rewind.
const (
	rewindBegins       = "rewinding from last common checkpoint"
	rewindSameTimeline = "are on the same timeline"
	rewindNotRequired  = "no rewind required"
	rewindNoSource     = "connection to server"
)

// Rewind implements agent.Replicator.
func (d *Driver) Rewind(ctx context.Context, source agent.Source) error {
	return wrap("rewind to "+source.Instance, d.rewind(ctx, source))
}

func (d *Driver) rewind(ctx context.Context, source agent.Source) error {
	if d.running() {
		return errRunning
	}
	conn, facts, err := d.connectSource(ctx, source)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	major, err := d.dataMajor()
	if err != nil {
		return err
	}
	if facts.major() != major {
		return fmt.Errorf("%w: the source is PostgreSQL %s, and the data %s", agent.ErrCannotRewind, facts.major(), major)
	}
	if facts.inRecovery {
		return errors.New("the source is no primary yet")
	}
	if err := waitForCheckpoint(ctx, conn); err != nil {
		return err
	}
	return d.runRewind(ctx, major, source, facts.address)
}

const timelinesQuery = `SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int, timeline_id FROM pg_control_checkpoint()`

const checkpointPoll = 50 * time.Millisecond

// waitForCheckpoint returns when the source's control file is on the source's timeline.
func waitForCheckpoint(ctx context.Context, conn *pgx.Conn) error {
	for {
		var current, written int64
		if err := conn.QueryRow(ctx, timelinesQuery).Scan(&current, &written); err != nil {
			return fmt.Errorf("ask the source for its timeline: %w", err)
		}
		if current == written {
			return nil
		}
		if err := sleep(ctx, checkpointPoll); err != nil {
			return fmt.Errorf("the source has made no checkpoint since its promotion: %w", err)
		}
	}
}

func (d *Driver) runRewind(ctx context.Context, major string, source agent.Source, address string) error {
	cmd, err := d.rewindCommand(ctx, major, source, address)
	if err != nil {
		return err
	}
	if err := d.removeLeftovers(dirRewind); err != nil {
		return err
	}
	if err := d.prepareRewind(); err != nil {
		return err
	}
	if err := os.Rename(d.dataDir(), d.volumePath(dirRewind)); err != nil {
		return fmt.Errorf("set the data aside: %w", err)
	}
	if err := agent.SyncDir(d.VolumeDir); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Rewinding", "source", source.Instance)
	out, messages, err := d.output(cmd)
	messages = out + messages
	klog.FromContext(ctx).Info("pg_rewind ended", "err", err, "messages", messages)
	if strings.Contains(messages, rewindBegins) {
		if err != nil {
			return fmt.Errorf("%w, and is lost: pg_rewind: %w: %s", agent.ErrCannotRewind, ended(ctx, err), lastLines(messages))
		}
		return d.putBack()
	}
	return errors.Join(notBegun(ctx, err, messages), d.putBack())
}

// notBegun is the outcome of a pg_rewind that changed nothing.
func notBegun(ctx context.Context, err error, messages string) error {
	switch {
	case strings.Contains(messages, rewindSameTimeline):
		return fmt.Errorf("%w: the source and the data have the same timeline, so pg_rewind cannot see where they part", agent.ErrCannotRewind)
	case err == nil && strings.Contains(messages, rewindNotRequired):
		// The data ends where the source's history leaves it.
		return nil
	case ctx.Err() != nil || strings.Contains(messages, rewindNoSource):
		return fmt.Errorf("pg_rewind: %w: %s", ended(ctx, err), lastLines(messages))
	}
	return fmt.Errorf("%w: %s", agent.ErrCannotRewind, lastLines(messages))
}

func (d *Driver) rewindCommand(ctx context.Context, major string, source agent.Source, address string) (*exec.Cmd, error) {
	path, err := binaryPath("pg_rewind", major)
	if err != nil {
		return nil, err
	}
	cmd := command(ctx, path, "--target-pgdata="+d.volumePath(dirRewind), "--source-server="+toolConninfo(source, address))
	if d.restores(ctx, major) {
		cmd.Args = append(cmd.Args, "--restore-target-wal")
	}
	return cmd, d.withPassword(cmd)
}

// prepareRewind makes the data one that a single-user server recovers, with our configuration.
func (d *Driver) prepareRewind() error {
	for _, name := range []string{fileStandby, "postmaster.pid"} {
		if err := removeFile(filepath.Join(d.dataDir(), name)); err != nil {
			return err
		}
	}
	include := "include_if_exists " + confValue(d.replicationFile(fileServer)) + "\n"
	_, err := agent.ReplaceFile(filepath.Join(d.dataDir(), fileConf), []byte(include))
	return err
}

// putBack puts the data back into its place.
func (d *Driver) putBack() error {
	if err := os.Rename(d.volumePath(dirRewind), d.dataDir()); err != nil {
		return fmt.Errorf("put the data back: %w", err)
	}
	return agent.SyncDir(d.VolumeDir)
}

// restores says whether the configuration has a command that gets archived log.
func (d *Driver) restores(ctx context.Context, major string) bool {
	if _, err := os.Stat(d.replicationFile(fileServer)); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	path, err := binaryPath("postgres", major)
	if err != nil {
		return false
	}
	out, _, err := d.output(command(ctx, path, "-D", d.dataDir(), "-c", "config_file="+d.replicationFile(fileServer), "-C", "restore_command"))
	return err == nil && strings.TrimSpace(out) != ""
}
