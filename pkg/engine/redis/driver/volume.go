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
//     would begin empty, in the place of what was there. What it does not find, it takes for new; so what
//     this very server would read must be there.
//  4. Files that a newer version wrote are not understood by an older one, or not even looked at. So the
//     newest version that ever wrote is noted beside the identity, before it begins to.

// Files in the data that are the agent's.
const (
	fileIdentity = "identity"
	fileVersion  = "version"
)

var identityForm = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// Files of a Redis: appendDir since version 7, with a manifest of what is in it; appendFile before, which
// later versions take over when there is nothing in a manifest.
const (
	appendDir      = "appendonlydir"
	appendManifest = "appendonly.aof.manifest"
	appendFile     = "appendonly.aof"
)

// manifestLine is one of a base or an increment, and not of history: nobody reads that any more.
var manifestLine = regexp.MustCompile(`(?m)^file (\S+) seq \d+ type [bi]\b`)

// others are what another Redis leaves on its volume.
var others = []string{appendDir, appendFile, "dump.rdb", "nodes.conf"}

// Inspect implements agent.Driver.
func (d *Driver) Inspect(ctx context.Context) (agent.Volume, error) {
	return d.inspect(func() (version, error) {
		_, server, err := d.server(ctx)
		return server, err
	})
}

// inspect asks for the version of the server when there is data.
func (d *Driver) inspect(server func() (version, error)) (agent.Volume, error) {
	entries, err := os.ReadDir(d.dataDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return agent.Volume{}, fmt.Errorf("look at the data: %w", err)
	}
	if len(entries) == 0 {
		return d.inspectWithoutData()
	}
	v, err := server()
	if err != nil {
		return agent.Volume{}, err
	}
	return d.inspectData(v)
}

// inspectData judges what there is by what a server would make of it.
func (d *Driver) inspectData(server version) (agent.Volume, error) {
	content, err := os.ReadFile(filepath.Join(d.dataDir(), fileIdentity))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return agent.Volume{}, fmt.Errorf("read the identity of the data: %w", err)
	}
	identity := strings.TrimSpace(string(content))
	if !identityForm.MatchString(identity) {
		return unusable(agent.ReasonDataDamaged, "The folder %s has files, but no identity: it is neither started nor removed; "+
			"restore from a backup, or move the folder away by hand", d.dataDir()), nil
	}
	newest, err := readVersion(d.dataDir())
	if err != nil {
		return agent.Volume{}, err
	}
	if !server.atLeast(newest.major, newest.minor) {
		return unusable(agent.ReasonVersionMismatch, "The data was written by Redis %s, and the image has Redis %s, which cannot read it: "+
			"it is not started; set the version (or image) to %s or a later one, or load the data into a new Database", newest, server, newest), nil
	}
	lost, err := d.lostFile(server)
	if err != nil {
		return agent.Volume{}, err
	}
	if lost != "" {
		return unusable(agent.ReasonDataDamaged, "The folder %s has lost its append-only file (%s is not there, or has nothing in it): it is not started, because it would begin empty; "+
			"put the file back, restore from a backup, or move the folder away by hand", d.dataDir(), lost), nil
	}
	return agent.Volume{State: agent.VolumeReady, SystemID: identity}, nil
}

// lostFile names the file without which a server would begin empty, "" when it has what it reads.
func (d *Driver) lostFile(server version) (string, error) {
	if server.atLeast(7, 0) {
		listed, err := d.readManifest()
		if err != nil {
			return "", err
		}
		for _, file := range listed {
			// A snapshot always has a header. An increment, or a file of commands, may have nothing yet.
			if !strings.HasSuffix(file, ".rdb") {
				continue
			}
			if full, err := isFull(filepath.Join(d.dataDir(), appendDir, file)); err != nil || !full {
				return filepath.Join(appendDir, file), err
			}
		}
		if len(listed) > 0 {
			return "", nil
		}
	}
	_, err := os.Stat(filepath.Join(d.dataDir(), appendFile))
	switch {
	case err == nil:
		return "", nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("look at the append-only file: %w", err)
	case server.atLeast(7, 0):
		return filepath.Join(appendDir, appendManifest), nil
	}
	return appendFile, nil
}

// readManifest lists the files that a server of version 7 or later reads.
func (d *Driver) readManifest() ([]string, error) {
	content, err := os.ReadFile(filepath.Join(d.dataDir(), appendDir, appendManifest))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the list of append-only files: %w", err)
	}
	var files []string
	for _, match := range manifestLine.FindAllStringSubmatch(string(content), -1) {
		files = append(files, match[1])
	}
	return files, nil
}

// isFull is true for a file that has something in it.
func isFull(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the append-only file: %w", err)
	}
	return info.Size() > 0, nil
}

// inspectWithoutData looks whether another Redis was here.
func (d *Driver) inspectWithoutData() (agent.Volume, error) {
	for _, name := range others {
		_, err := os.Lstat(filepath.Join(d.VolumeDir, name))
		if err == nil {
			return unusable(agent.ReasonDataDamaged, "The volume holds the data of another Redis (%s): it is neither started nor removed; "+
				"give the instance an empty volume and load that data over the network, or move the file away by hand", filepath.Join(d.VolumeDir, name)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return agent.Volume{}, fmt.Errorf("look at the volume: %w", err)
		}
	}
	return agent.Volume{State: agent.VolumeEmpty}, nil
}

func unusable(reason, format string, args ...any) agent.Volume {
	return agent.Volume{State: agent.VolumeUnusable, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// readVersion is the newest version that wrote to a folder; the zero version when none is noted.
func readVersion(dir string) (version, error) {
	content, err := os.ReadFile(filepath.Join(dir, fileVersion))
	if errors.Is(err, fs.ErrNotExist) {
		return version{}, nil
	}
	if err != nil {
		return version{}, fmt.Errorf("read the version of the data: %w", err)
	}
	v, err := parseNumbers(strings.TrimSpace(string(content)))
	if err != nil {
		return version{}, fmt.Errorf("read the version of the data in %s: %w", dir, err)
	}
	return v, nil
}

// noteVersion must be done before a server starts in a folder.
func noteVersion(dir string, server version) error {
	newest, err := readVersion(dir)
	if err != nil || newest.atLeast(server.major, server.minor) {
		return err
	}
	_, err = agent.ReplaceFile(filepath.Join(dir, fileVersion), []byte(server.String()+"\n"))
	return err
}

// Bootstrap implements agent.Driver.
func (d *Driver) Bootstrap(ctx context.Context) error {
	if err := os.RemoveAll(d.newDir()); err != nil {
		return fmt.Errorf("remove an unfinished database: %w", err)
	}
	if err := os.MkdirAll(d.newDir(), 0o700); err != nil {
		return fmt.Errorf("make a new database: %w", err)
	}
	_, server, err := d.server(ctx)
	if err != nil {
		return err
	}
	if err := noteVersion(d.newDir(), server); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Making a new database", "folder", d.newDir())
	// The file is there when the server answers.
	err = d.try(ctx, []string{"--dir", d.newDir(), "--appendonly", "yes", "--save", ""}, func(ctx context.Context, client *redis.Client) error {
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
