package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// The data on the volume.
//
//  1. initdb works in pgdata.initdb, and syncs what it wrote.
//  2. A rename makes it pgdata. Whatever kills the agent before that leaves a folder that nobody
//     ever used, and the next start removes it and begins again. pgdata itself is removed by nobody
//     but Clone (clone.go).
//  3. The identity of the data is the system identifier in its control file.

// Inspect implements agent.Driver.
func (d *Driver) Inspect(ctx context.Context) (agent.Volume, error) {
	if err := d.finishSwap(); err != nil {
		return agent.Volume{}, err
	}
	entries, err := os.ReadDir(d.dataDir())
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return agent.Volume{State: agent.VolumeEmpty}, nil
	}
	if err != nil {
		return agent.Volume{}, fmt.Errorf("look at the data: %w", err)
	}
	systemID, idErr := readSystemID(d.dataDir())
	major, majorErr := d.dataMajor()
	if err := errors.Join(idErr, majorErr); errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF) {
		return unusable(agent.ReasonDataDamaged, "The folder %s has files, but is no whole database (%v): "+
			"it is neither started nor removed; restore from a backup, or move the folder away by hand", d.dataDir(), err), nil
	} else if err != nil {
		return agent.Volume{}, fmt.Errorf("look at the data: %w", err)
	}
	server, err := d.serverMajor(ctx, major)
	if err != nil {
		return agent.Volume{}, err
	}
	if server != major {
		return unusable(agent.ReasonVersionMismatch, "The data was made by PostgreSQL %s, but the image has PostgreSQL %s: "+
			"it is not started; set the version (or image) to %s, or restore a dump into a new database", major, server, major), nil
	}
	return agent.Volume{State: agent.VolumeReady, SystemID: systemID}, nil
}

func unusable(reason, format string, args ...any) agent.Volume {
	return agent.Volume{State: agent.VolumeUnusable, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// readSystemID reads the first field of the control file, which has had its place in every version.
func readSystemID(dataDir string) (string, error) {
	file, err := os.Open(filepath.Join(dataDir, "global", "pg_control"))
	if err != nil {
		return "", fmt.Errorf("read the control file: %w", err)
	}
	defer file.Close()
	var field [8]byte
	if _, err := io.ReadFull(file, field[:]); err != nil {
		return "", fmt.Errorf("read the control file: %w", io.ErrUnexpectedEOF)
	}
	return strconv.FormatUint(binary.NativeEndian.Uint64(field[:]), 10), nil
}

// dataMajor is the major version that made the data.
func (d *Driver) dataMajor() (string, error) {
	content, err := os.ReadFile(filepath.Join(d.dataDir(), "PG_VERSION"))
	if err != nil {
		return "", fmt.Errorf("read the version of the data: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// serverMajor is the major version of the program that would be started.
func (d *Driver) serverMajor(ctx context.Context, preferred string) (string, error) {
	path, err := binaryPath("postgres", preferred)
	if err != nil {
		return "", err
	}
	out, messages, err := d.output(command(ctx, path, "--version"))
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w: %s", path, err, messages)
	}
	return parseMajor(out)
}

// parseMajor reads "postgres (PostgreSQL) 15.4 (Debian …)", also "16beta1".
func parseMajor(version string) (string, error) {
	fields := strings.Fields(version)
	if len(fields) < 3 {
		return "", fmt.Errorf("parse the version %q", version)
	}
	digits := strings.IndexFunc(fields[2], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(fields[2])
	}
	if digits == 0 {
		return "", fmt.Errorf("parse the version %q", version)
	}
	return fields[2][:digits], nil
}

// Bootstrap implements agent.Driver.
func (d *Driver) Bootstrap(ctx context.Context) error {
	if _, err := user.LookupId(strconv.Itoa(os.Getuid())); err != nil {
		return fmt.Errorf("make a new database: the image has no user for the id %d that the container runs as, and initdb needs one; "+
			"run it as the image's own user (podSecurityContext): %w", os.Getuid(), err)
	}
	path, err := binaryPath("initdb", "")
	if err != nil {
		return err
	}
	if err := os.RemoveAll(d.newDir()); err != nil {
		return fmt.Errorf("remove an unfinished database: %w", err)
	}
	klog.FromContext(ctx).Info("Making a new database", "path", path)
	_, messages, err := d.output(command(ctx, path, "-D", d.newDir(), "--username="+superuser, "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=peer", "--auth-host=scram-sha-256", "--data-checksums"))
	if err != nil {
		return fmt.Errorf("make a new database: %w: %s", err, lastLines(messages))
	}
	// Fails unless pgdata is missing or empty, so that data is never replaced.
	if err := os.Rename(d.newDir(), d.dataDir()); err != nil {
		return fmt.Errorf("put the new database in place: %w", err)
	}
	return agent.SyncDir(d.VolumeDir)
}

// lastLines is the end of a program's messages, which says why it failed.
func lastLines(messages string) string {
	lines := strings.Split(strings.TrimSpace(messages), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
