package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// The data on the volume.
//
//  1. A server makes an empty append-only file in redis.new; the identity, a random id, is put beside
//     it, and all is synced.
//  2. A rename makes it redis. Whatever kills the agent before that leaves a folder that nobody ever
//     used, and the next start removes it and begins again. redis itself is removed by nobody.
//  3. So data without its identity, or an identity without an append-only file, is not whole: a server
//     would begin empty, in the place of what was there.

// fileIdentity is the file with the identity, in the data.
const fileIdentity = "identity"

var identityForm = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// Files of a Redis: appendDir since version 7, appendFile before, in the name of which both are kept.
const (
	appendDir  = "appendonlydir"
	appendFile = "appendonly.aof"
)

// others are what another Redis leaves on its volume.
var others = []string{appendDir, appendFile, "dump.rdb", "nodes.conf"}

// Inspect implements agent.Driver.
func (d *Driver) Inspect(context.Context) (agent.Volume, error) {
	entries, err := os.ReadDir(d.dataDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return agent.Volume{}, fmt.Errorf("look at the data: %w", err)
	}
	if len(entries) == 0 {
		return d.inspectWithoutData()
	}
	content, err := os.ReadFile(filepath.Join(d.dataDir(), fileIdentity))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return agent.Volume{}, fmt.Errorf("read the identity of the data: %w", err)
	}
	identity := strings.TrimSpace(string(content))
	if !identityForm.MatchString(identity) {
		return unusable("The folder %s has files, but no identity: it is neither started nor removed; "+
			"restore from a backup, or move the folder away by hand", d.dataDir()), nil
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == appendDir || e.Name() == appendFile }) {
		return unusable("The folder %s has lost its append-only file (%s): it is not started, because it would begin empty; "+
			"put the file back, restore from a backup, or move the folder away by hand", d.dataDir(), appendDir), nil
	}
	return agent.Volume{State: agent.VolumeReady, SystemID: identity}, nil
}

// inspectWithoutData looks whether another Redis was here.
func (d *Driver) inspectWithoutData() (agent.Volume, error) {
	for _, name := range others {
		_, err := os.Lstat(filepath.Join(d.VolumeDir, name))
		if err == nil {
			return unusable("The volume holds the data of another Redis (%s): it is neither started nor removed; "+
				"give the instance an empty volume and load that data over the network, or move the file away by hand", filepath.Join(d.VolumeDir, name)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return agent.Volume{}, fmt.Errorf("look at the volume: %w", err)
		}
	}
	return agent.Volume{State: agent.VolumeEmpty}, nil
}

func unusable(format string, args ...any) agent.Volume {
	return agent.Volume{State: agent.VolumeUnusable, Reason: agent.ReasonDataDamaged, Message: fmt.Sprintf(format, args...)}
}

// Bootstrap implements agent.Driver.
func (d *Driver) Bootstrap(ctx context.Context) error {
	if err := os.RemoveAll(d.newDir()); err != nil {
		return fmt.Errorf("remove an unfinished database: %w", err)
	}
	if err := os.MkdirAll(d.newDir(), 0o700); err != nil {
		return fmt.Errorf("make a new database: %w", err)
	}
	klog.FromContext(ctx).Info("Making a new database", "folder", d.newDir())
	// The file is there when the server answers.
	err := d.try(ctx, []string{"--dir", d.newDir(), "--appendonly", "yes", "--save", ""}, func(ctx context.Context, client *redis.Client) error {
		return client.Ping(ctx).Err()
	})
	if err != nil {
		return fmt.Errorf("make a new database: %w", err)
	}
	if _, err := agent.ReplaceFile(filepath.Join(d.newDir(), fileIdentity), []byte(rand.Text()+"\n")); err != nil {
		return err
	}
	if err := syncFileSystem(d.newDir()); err != nil {
		return err
	}
	// Fails unless redis is missing or empty, so that data is never replaced.
	if err := os.Rename(d.newDir(), d.dataDir()); err != nil {
		return fmt.Errorf("put the new database in place: %w", err)
	}
	return agent.SyncDir(d.VolumeDir)
}

// syncFileSystem syncs all that was written to the file system of a folder.
func syncFileSystem(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := errors.Join(unix.Syncfs(int(file.Fd())), file.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
