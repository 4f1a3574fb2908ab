package agent

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"

	"golang.org/x/sys/unix"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// What the agent keeps on the volume, in agent/state.json:
//
//   - the data id, made anew together with data;
//   - the last spec that it saw, so that data which exists can be served without the API server;
//   - the operation, written down before it is begun, so that each id is carried out once;
//   - of this pod: how often it started the engine, and which configuration the engine refused. Another
//     pod may have another image, which accepts it.
//
// Beside it lie agent/election.json, which is the election's own, and a lock, which keeps a second agent
// on the same volume (a pod that is not gone yet) away.

// State is the content of state.json.
type State struct {
	DataID       string                        `json:"dataID,omitempty"`
	Spec         *dbv1.DatabaseInstanceSpec    `json:"spec,omitempty"`
	Operation    *dbv1.InstanceOperationStatus `json:"operation,omitempty"`
	PodUID       string                        `json:"podUID,omitempty"`
	EngineStarts int64                         `json:"engineStarts,omitempty"`
	Refused      *RefusedConfig                `json:"refused,omitempty"`
}

// RefusedConfig is a configuration that the engine did not accept, with its words.
type RefusedConfig struct {
	Hash  string `json:"hash"`
	Words string `json:"words"`
}

// Store is the agent's folder on the volume.
type Store struct {
	dir  string
	lock *os.File

	// mu: the loop keeps a new spec while a step keeps what is the step's.
	mu    sync.Mutex
	state State
}

// OpenStore opens the agent's folder, and makes it when it is not there.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the agent's folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the volume: %w", err)
	}
	return &Store{dir: dir, lock: lock}, nil
}

// TryLock takes the lock of the volume, and says whether it got it. It is held until the process
// ends; child processes do not inherit it.
func (s *Store) TryLock() (bool, error) {
	err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock the volume: %w", err)
	}
	return true, nil
}

// Load reads the state, for a pod. A missing file is an empty state.
func (s *Store) Load(podUID string) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := readJSON(s.path(), &s.state); err != nil {
		return State{}, err
	}
	if s.state.PodUID != podUID {
		s.state.PodUID, s.state.EngineStarts, s.state.Refused = podUID, 0, nil
	}
	return s.state, nil
}

// Update changes parts of the state, and writes it when it differs. What could not be written is
// not changed.
func (s *Store) Update(edit func(*State)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := s.state
	edit(&after)
	if reflect.DeepEqual(s.state, after) {
		return nil
	}
	content, err := json.MarshalIndent(after, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the state: %w", err)
	}
	if err := writeFile(s.path(), content); err != nil {
		return fmt.Errorf("keep the state: %w", err)
	}
	s.state = after
	return nil
}

// Election is where the election keeps what must outlive the process.
func (s *Store) Election() File { return File{path: filepath.Join(s.dir, "election.json")} }

func (s *Store) path() string { return filepath.Join(s.dir, "state.json") }

// newDataID is a fresh name for data.
func newDataID() string { return rand.Text() }
