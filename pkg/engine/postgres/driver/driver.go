// Package driver runs PostgreSQL in the pod: what the agent needs to know of the engine.
//
// The agent is the only superuser: it connects over the unix socket as the operating system's user
// (peer) and makes all accounts; PostgreSQL's superuser has no password. The configuration lies
// outside the data, in the agent's folder, and the files in the data folder that initdb made are
// not read; the socket and the port are given on the command line, so that the agent always finds
// the server.
package driver

import (
	"context"
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

	"github.com/jackc/pgx/v5"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// The names of the configuration's files.
const (
	fileConf  = "postgresql.conf"
	fileHBA   = "pg_hba.conf"
	fileIdent = "pg_ident.conf"
)

// superuser is the account that initdb makes, and that the agent connects as.
const superuser = "postgres"

// Options say where things are.
type Options struct {
	// VolumeDir is the mount of the volume; data lies in folders below it.
	VolumeDir string
	// RunDir is for the socket.
	RunDir string
	Port   int
	// Addresses finds a host. It may know where one was when DNS is silent.
	Addresses func(ctx context.Context, host string) []string
	// PasswordFile has the password of naming.ReplicationUser. It is read when it is needed.
	PasswordFile string
	// Supervisor starts processes.
	Supervisor *agent.Supervisor
	// Log takes PostgreSQL's messages.
	Log func(agent.LogEntry)
}

// Driver implements agent.Replicator.
type Driver struct {
	Options

	// mu guards the connection of the health poll, which is kept, and what is remembered of one
	// look at the server for the next.
	mu     sync.Mutex
	polled *pgx.Conn
	// heard: the server said something since the last Probe.
	heard    bool
	facts    facts
	settling settling
	replies  replies
	storage  *storageTest

	// files guards the files in agent/replication, and what they are made from.
	files     sync.Mutex
	state     *replicationState
	configDir string
	major     string
	// inForce is the folder of the operator's files that the server was started with, or that Reload last
	// saw it use.
	inForce string
	// floor are settings that are configured too low for a replica.
	floor []setting
	// blocked: no commit may end for now.
	blocked bool
	// unread: server.conf was changed, and the server was not told.
	unread bool

	// swap is held while a copy takes the place of the data.
	swap sync.Mutex

	// serverVersion is the major version of the server that was started last.
	serverVersion atomic.Int32
	// process is the server that was started last.
	process atomic.Pointer[agent.Engine]
	// follows counts the calls of Follow.
	follows atomic.Int64
	asked   asked
	// promoting: a promotion was begun, and its clients are not dropped yet.
	promoting   atomic.Bool
	synchronous synchronousMemory
	// locks is the connection that the last TestStorage had.
	locks keptConn
}

// facts are what rarely changes while the server runs; they are asked for with each connection.
type facts struct {
	version  string
	timeline int64
	refusal  *agent.Refusal
	// hotStandby are the settings that a replica must not have lower than its primary.
	hotStandby map[string]int64
	floored    []string
}

var _ agent.Replicator = &Driver{}

// New makes a driver.
func New(options Options) *Driver { return &Driver{Options: options} }

// Engine implements agent.Driver.
func (d *Driver) Engine() dbv1.Engine { return dbv1.PostgreSQL }

// dataDir has the database; it appears whole, by a rename.
func (d *Driver) dataDir() string { return filepath.Join(d.VolumeDir, "pgdata") }

// newDir is where initdb works. Nobody ever wrote to what is in it.
func (d *Driver) newDir() string { return filepath.Join(d.VolumeDir, "pgdata.initdb") }

// binaryPath finds a program of PostgreSQL: of the given major version when there is one, else as PATH
// says, else of the newest version that is installed.
func binaryPath(name, major string) (string, error) {
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	newest, newestMajor := "", 0
	for _, path := range installed {
		version := filepath.Base(filepath.Dir(filepath.Dir(path)))
		if version == major {
			return path, nil
		}
		if n, err := strconv.Atoi(version); err == nil && n > newestMajor {
			newest, newestMajor = path, n
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if newest == "" {
		return "", fmt.Errorf("find %s: it is neither in PATH nor in /usr/lib/postgresql/*/bin; is this an image of PostgreSQL?", name)
	}
	return newest, nil
}

// command prepares a program: messages in English, and nothing of the agent's own environment.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{
		"PATH=" + filepath.Dir(path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8", "LANGUAGE=", "TZ=UTC", "HOME=/tmp",
	}
	cmd.Dir = "/"
	return cmd
}

// operatorsArgs are the arguments of a call of postgres that reads the operator's files alone.
func (d *Driver) operatorsArgs(configDir string) []string {
	return d.args(filepath.Join(configDir, fileConf), filepath.Join(configDir, fileHBA), configDir)
}

// serverArgs are the arguments of the server: its files include the operator's (settings.go).
func (d *Driver) serverArgs(configDir string) []string {
	return d.args(d.replicationFile(fileServer), d.replicationFile(fileHBA), configDir)
}

func (d *Driver) args(conf, hba, configDir string) []string {
	return []string{
		"-D", d.dataDir(),
		"-c", "config_file=" + conf,
		"-c", "hba_file=" + hba,
		"-c", "ident_file=" + filepath.Join(configDir, fileIdent),
		"-c", "port=" + strconv.Itoa(d.Port),
		"-c", "unix_socket_directories=" + d.RunDir,
	}
}

// Start implements agent.Driver.
func (d *Driver) Start(ctx context.Context, configDir string) (agent.Engine, error) {
	major, err := d.dataMajor()
	if err != nil {
		return nil, err
	}
	path, err := binaryPath("postgres", major)
	if err != nil {
		return nil, err
	}
	if err := d.removeLocks(); err != nil {
		return nil, err
	}
	if err := d.prepareFiles(ctx, configDir, major); err != nil {
		return nil, err
	}
	if err := d.checkMemory(ctx, path, major, configDir); err != nil {
		return nil, err
	}
	// The server is stopped by signals, not by the end of a context.
	cmd := command(context.WithoutCancel(ctx), path, d.serverArgs(configDir)...)
	klog.FromContext(ctx).Info("Starting PostgreSQL", "path", path, "config", configDir)
	process, err := d.Supervisor.Start(cmd, agent.ProcessOptions{
		Signals: map[agent.StopMode]syscall.Signal{agent.StopFast: syscall.SIGINT, agent.StopImmediate: syscall.SIGQUIT},
		Parser:  NewLogParser(),
		Log:     d.log,
	})
	if err != nil {
		return nil, err
	}
	engine := agent.Engine(process)
	d.process.Store(&engine)
	return engine, nil
}

// running says whether anything is left of the server that was started last.
func (d *Driver) running() bool {
	process := d.process.Load()
	if process == nil {
		return false
	}
	select {
	case <-(*process).Done():
		return false
	default:
		return true
	}
}

// log passes messages on, but for those that come many times.
func (d *Driver) log(e agent.LogEntry) {
	if d.Log != nil && !noise(e) {
		d.Log(e)
	}
}

// removeLocks removes the lock files of a server that was killed, in its data and beside its socket
// (whose emptyDir outlives the container). Nothing of it is alive, and the volume is locked; but
// its process id may be that of another process or thread of the same user now, which would block
// the start for ever.
func (d *Driver) removeLocks() error {
	for _, path := range []string{
		filepath.Join(d.dataDir(), "postmaster.pid"),
		filepath.Join(d.RunDir, ".s.PGSQL."+strconv.Itoa(d.Port)+".lock"),
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a lock of the previous server: %w", err)
		}
	}
	return nil
}

// output runs a program to its end, and returns what it wrote.
func (d *Driver) output(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var out, messages strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &messages
	err = d.Supervisor.Command(cmd)
	return out.String(), messages.String(), err
}
