package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/platform-io/database-operator/pkg/agent"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Settings of the driver's own.
//
//  1. The server reads server.conf, which the driver writes: it includes the operator's file, and
//     then says what the driver decides. What comes later wins, and all of it can be reloaded.
//     (What stands on the command line would win too, but holds until the next start.)
//  2. One file comes later still: postgresql.auto.conf of ALTER SYSTEM. It is emptied before each
//     start. While the server runs, a folder that has the name of the temporary file makes ALTER
//     SYSTEM fail, in every version; from 17 on the server says so itself, in better words. Neither
//     pg_basebackup nor pg_rewind copies that folder.
//  3. pg_hba.conf is a link, to the operator's file or to one that lets no client in.

const (
	fileServer = "server.conf"
	fileClosed = "closed.pg_hba.conf"
	// fileAuto and fileAutoNew are ALTER SYSTEM's, in the data.
	fileAuto    = "postgresql.auto.conf"
	fileAutoNew = "postgresql.auto.conf.tmp"
	// fileStandby makes a replica of the server, in the data.
	fileStandby = "standby.signal"
)

// settingDataID shows the name of the data to whoever connects.
const settingDataID = "database_agent.data_id"

// retryInterval is how soon a replica looks again for what it misses: a source that restarts loses
// little time by it. Without a source it is shorter: the replica looks at its own files only, and
// its position is known after two looks (replication.go).
const (
	retryInterval      = 500 * time.Millisecond
	retryWithoutSource = 200 * time.Millisecond
)

// allowAlterSystemSince is the first version that can forbid ALTER SYSTEM.
const allowAlterSystemSince = 17

// closed lets nobody in but the agent, and replicas with their tools.
const closed = `# Made by the agent: clients are kept out.
local  all          ` + superuser + `  peer map=agent
host   replication  ` + naming.ReplicationUser + `  all  scram-sha-256
host   ` + superuser + `     ` + naming.ReplicationUser + `  all  scram-sha-256
local  all          all  reject
host   all          all  all  reject
`

type setting struct{ name, value string }

// ownSettings are those that the driver decides.
func ownSettings(state *replicationState, passfile string, major int, floor []setting) []setting {
	settings := []setting{
		{settingDataID, state.DataID},
		{"primary_conninfo", ""},
		{"primary_slot_name", ""},
		{"recovery_target_timeline", "latest"},
		{"synchronous_standby_names", synchronousNames(state.Synchronous)},
		{"wal_retrieve_retry_interval", milliseconds(retryWithoutSource)},
	}
	if source := state.following(); source != nil {
		settings[1].value = replicaConninfo(*source, state.Address, state.DataID, passfile)
		if state.Slot {
			settings[2].value = slotName(state.DataID)
		}
		settings[5].value = milliseconds(retryInterval)
	}
	if major >= allowAlterSystemSince {
		settings = append(settings, setting{"allow_alter_system", "off"})
	}
	return append(settings, floor...)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

// confValue quotes a value of a configuration file: backslashes are escapes there.
func confValue(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value) + "'"
}

// serverConf is the content of server.conf.
func serverConf(operators string, settings []setting) string {
	var out strings.Builder
	out.WriteString("# Made by the agent. Changes here are overwritten.\n")
	fmt.Fprintf(&out, "include %s\n", confValue(operators))
	for _, s := range settings {
		fmt.Fprintf(&out, "%s = %s\n", s.name, confValue(s.value))
	}
	return out.String()
}

// writeFiles writes what the server reads. The caller holds d.files.
func (d *Driver) writeFiles() error {
	state, err := d.load()
	if err != nil {
		return err
	}
	if d.blocked {
		state.Synchronous = agent.Synchronous{Names: []string{nobody}, Quorum: 1}
	}
	major, _ := strconv.Atoi(d.major)
	settings := ownSettings(&state, d.replicationFile(filePassword), major, d.floor)
	changed, err := agent.ReplaceFile(d.replicationFile(fileServer), []byte(serverConf(filepath.Join(d.configDir, fileConf), settings)))
	if err != nil {
		return err
	}
	d.unread = d.unread || changed
	if _, err := agent.ReplaceFile(d.replicationFile(fileClosed), []byte(closed)); err != nil {
		return err
	}
	target := filepath.Join(d.configDir, fileHBA)
	if state.KeepClientsOut {
		target = fileClosed
	}
	return replaceLink(d.replicationFile(fileHBA), target)
}

// replaceLink makes a symbolic link point there, at once.
func replaceLink(path, target string) error {
	if is, err := os.Readlink(path); err == nil && is == target {
		return nil
	}
	temporary := path + ".new"
	if err := removeFile(temporary); err != nil {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("replace the link %s: %w", path, err)
	}
	return agent.SyncDir(filepath.Dir(path))
}

// refuseAlterSystem keeps everybody from settings that would win over ours. The server is down.
func (d *Driver) refuseAlterSystem() error {
	if _, err := agent.ReplaceFile(filepath.Join(d.dataDir(), fileAuto), []byte("# Settings belong in spec.engineConfig of the Database.\n")); err != nil {
		return err
	}
	path := filepath.Join(d.dataDir(), fileAutoNew)
	if err := os.Mkdir(path, 0o700); errors.Is(err, os.ErrExist) {
		// Left by an ALTER SYSTEM that was killed, or ours.
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return err
		}
		if err := removeFile(path); err != nil {
			return err
		}
		return os.Mkdir(path, 0o700)
	} else if err != nil {
		return fmt.Errorf("keep ALTER SYSTEM from writing: %w", err)
	}
	return nil
}
