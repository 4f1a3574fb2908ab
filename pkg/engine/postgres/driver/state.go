package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/platform-io/database-operator/pkg/agent"
)

// What the driver was told of replication lies in agent/replication on the volume, beside the data
// and not in it: pg_basebackup and pg_rewind copy whatever lies in the data. state.json is the
// truth; the files that the server reads (settings.go) are made from it at each start and change.

// replicationState is the content of state.json.
type replicationState struct {
	// Mode is empty until somebody prepares a start: then the data is started as it is.
	Mode   agent.StartMode `json:"mode,omitempty"`
	DataID string          `json:"dataID,omitempty"`
	Source *agent.Source   `json:"source,omitempty"`
	// Address is where the source was found, empty when it was not.
	Address string `json:"address,omitempty"`
	// Slot says that the source keeps a slot for us.
	Slot        bool              `json:"slot,omitempty"`
	Synchronous agent.Synchronous `json:"synchronous,omitzero"`
	// KeepClientsOut is how AdmitClients was called last.
	KeepClientsOut bool `json:"keepClientsOut,omitempty"`
}

// following is the source that the server is to have, or nil.
func (s *replicationState) following() *agent.Source {
	if s.Mode == agent.StartPrimary {
		return nil
	}
	return s.Source
}

// replicationDir is where the driver's files are.
func (d *Driver) replicationDir() string { return filepath.Join(d.VolumeDir, "agent", "replication") }

func (d *Driver) replicationFile(name string) string { return filepath.Join(d.replicationDir(), name) }

const fileState = "state.json"

// load reads the state, once. The caller holds d.files.
func (d *Driver) load() (replicationState, error) {
	if d.state != nil {
		return *d.state, nil
	}
	var state replicationState
	content, err := os.ReadFile(d.replicationFile(fileState))
	if err == nil {
		err = json.Unmarshal(content, &state)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state, fmt.Errorf("read what is known of replication: %w", err)
	}
	d.state = &state
	return state, nil
}

// change edits the state. It is on the volume when change returns.
func (d *Driver) change(edit func(*replicationState)) error {
	d.files.Lock()
	defer d.files.Unlock()
	return d.changeLocked(edit)
}

func (d *Driver) changeLocked(edit func(*replicationState)) error {
	before, err := d.load()
	if err != nil {
		return err
	}
	after := before
	edit(&after)
	if reflect.DeepEqual(before, after) {
		return nil
	}
	content, err := json.MarshalIndent(after, "", "  ")
	if err != nil {
		return fmt.Errorf("encode what is known of replication: %w", err)
	}
	if _, err := agent.ReplaceFile(d.replicationFile(fileState), content); err != nil {
		return err
	}
	d.state = &after
	return nil
}

// current is the state.
func (d *Driver) current() (replicationState, error) {
	d.files.Lock()
	defer d.files.Unlock()
	return d.load()
}

// removeFile removes a file, for good, when it is there.
func removeFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove a file: %w", err)
	}
	return agent.SyncDir(filepath.Dir(path))
}
