// Package driver runs Redis in the pod: what the agent needs to know of the engine.
//
// The agent has an account of its own, whose password lives in this process alone, and comes over the
// unix socket. The server reads the operator's file; what depends on the pod (port, folders, socket,
// accounts, memory) is given on the command line, which wins. Accounts lie on the volume as hashes
// (accounts.go), so that they are there after a restart, also while the API server is away.
package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/redis/go-redis/v9"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// fileConf is the operator's file.
const fileConf = "redis.conf"

// Options say where things are.
type Options struct {
	// VolumeDir is the mount of the volume; data lies in folders below it.
	VolumeDir string
	// RunDir is for the socket and the server's list of accounts.
	RunDir string
	Port   int
	// Supervisor starts processes.
	Supervisor *agent.Supervisor
	// Log takes Redis's messages.
	Log func(agent.LogEntry)
}

// Driver implements agent.Driver.
type Driver struct {
	Options
	// password is that of the agent's own account.
	password string
	client   *redis.Client
	// memoryLimit is that of the container, in bytes.
	memoryLimit func() int64
	// toldMemory is the used memory that was last reported.
	toldMemory atomic.Int64

	// trial is held while there is a server on trial.
	trial sync.Mutex

	// mu guards what follows, and the files of accounts.
	mu sync.Mutex
	// configDir and version are those of the server that was started last.
	configDir string
	version   version
}

var _ agent.Driver = &Driver{}

// New makes a driver.
func New(options Options) *Driver {
	d := &Driver{Options: options, password: rand.Text(), memoryLimit: agent.MemoryLimit}
	d.client = d.newClient(d.socket())
	return d
}

// Engine implements agent.Driver.
func (d *Driver) Engine() dbv1.Engine { return dbv1.Redis }

// dataDir has the database; it appears whole, by a rename.
func (d *Driver) dataDir() string { return filepath.Join(d.VolumeDir, "redis") }

// newDir is where a new database is made. Nobody ever wrote to what is in it.
func (d *Driver) newDir() string { return filepath.Join(d.VolumeDir, "redis.new") }

func (d *Driver) socket() string { return filepath.Join(d.RunDir, "redis.sock") }

// binaryPath finds the server. Valkey's goes by its own name in some images.
func binaryPath() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("find redis-server: it is not in PATH; is this an image of Redis?")
}

// command prepares a program, with nothing of the agent's own environment.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{
		"PATH=" + filepath.Dir(path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/tmp",
	}
	cmd.Dir = "/"
	return cmd
}

// Start implements agent.Driver.
func (d *Driver) Start(ctx context.Context, configDir string) (agent.Engine, error) {
	path, version, err := d.server(ctx)
	if err != nil {
		return nil, err
	}
	memory, err := d.memoryArgs(configDir)
	if err != nil {
		return nil, err
	}
	if err := d.removeUnfinished(ctx); err != nil {
		return nil, err
	}
	if err := noteVersion(d.dataDir(), version); err != nil {
		return nil, err
	}
	if err := d.prepare(configDir, version); err != nil {
		return nil, err
	}
	// The server is stopped by signals, not by the end of a context.
	args := append([]string{
		filepath.Join(configDir, fileConf),
		"--port", strconv.Itoa(d.Port), "--dir", d.dataDir(), "--aclfile", d.aclFile(),
		"--unixsocket", d.socket(), "--unixsocketperm", "700",
	}, append(stopArgs(version), memory...)...)
	cmd := command(context.WithoutCancel(ctx), path, args...)
	klog.FromContext(ctx).Info("Starting Redis", "path", path, "config", configDir)
	process, err := d.Supervisor.Start(cmd, agent.ProcessOptions{
		// It writes what its append-only file lacks, syncs, and ends.
		Signals: map[agent.StopMode]syscall.Signal{agent.StopFast: syscall.SIGTERM},
		Parser:  NewLogParser(),
		Log:     d.log,
	})
	if err != nil {
		return nil, err
	}
	return process, nil
}

// stopArgs keep a stop from writing a snapshot, where spec.engineConfig asks for some: the append-only file has
// everything, and a server that cannot write one would not stop. Older versions cannot be told.
func stopArgs(v version) []string {
	if !v.atLeast(7, 0) {
		return nil
	}
	return []string{"--shutdown-on-sigterm", "nosave", "force"}
}

// prepare writes the accounts as the server reads them.
func (d *Driver) prepare(configDir string, version version) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.configDir, d.version = configDir, version
	return d.writeACLFile()
}

func (d *Driver) log(e agent.LogEntry) {
	if d.Log != nil {
		d.Log(e)
	}
}

// unfinished are the files of snapshots and rewrites of the append-only file that a server which was
// killed did not complete, and which no server reads. They are as large as the data.
var unfinished = []string{"temp-*.rdb", "temp-rewriteaof-*.aof"}

func (d *Driver) removeUnfinished(ctx context.Context) error {
	for _, pattern := range unfinished {
		files, err := filepath.Glob(filepath.Join(d.dataDir(), pattern))
		if err != nil {
			return fmt.Errorf("look for unfinished files: %w", err)
		}
		for _, file := range files {
			klog.FromContext(ctx).Info("Removing what an earlier server did not complete", "file", file)
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove an unfinished file: %w", err)
			}
		}
	}
	return nil
}

// PrepareStop implements agent.Driver. The server has little left to write when it stops.
func (d *Driver) PrepareStop(context.Context) error { return nil }

// version is the number of a server, "7.0.15" as [7, 0].
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// server finds the program, and asks for its version.
func (d *Driver) server(ctx context.Context) (path string, v version, err error) {
	path, err = binaryPath()
	if err != nil {
		return "", version{}, err
	}
	cmd := command(ctx, path, "--version")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := d.Supervisor.Command(cmd); err != nil {
		return "", version{}, fmt.Errorf("ask %s for its version: %w: %s", path, err, out.String())
	}
	v, err = parseVersion(out.String())
	return path, v, err
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// parseVersion reads "Redis server v=7.0.15 sha=…", also of Valkey.
func parseVersion(text string) (version, error) {
	for field := range strings.FieldsSeq(text) {
		if numbers, ok := strings.CutPrefix(field, "v="); ok {
			return parseNumbers(numbers)
		}
	}
	return version{}, fmt.Errorf("parse the version %q", text)
}

// parseNumbers reads the first two numbers of a version, "7.0.15" or "7.0".
func parseNumbers(text string) (version, error) {
	parts := strings.Split(text, ".")
	if len(parts) < 2 {
		return version{}, fmt.Errorf("parse the version %q", text)
	}
	major, majorErr := strconv.Atoi(parts[0])
	minor, minorErr := strconv.Atoi(parts[1])
	if err := errors.Join(majorErr, minorErr); err != nil {
		return version{}, fmt.Errorf("parse the version %q: %w", text, err)
	}
	return version{major, minor}, nil
}
