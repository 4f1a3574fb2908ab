package elector

import (
	"encoding/json"
	"fmt"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// Memory is a file on the volume: it is replaced whole, and is there after a crash of the machine once
// Save has returned.
type Memory interface {
	// Load returns nothing when there is no file yet.
	Load() ([]byte, error)
	Save(content []byte) error
}

// loadDisk reads what an earlier process kept. What cannot be read is not taken for nothing: an
// instance that forgot what it asked for, or whose fence it is under, could do harm.
func loadDisk(memory Memory) (election.Disk, error) {
	var disk election.Disk
	content, err := memory.Load()
	if err != nil {
		return disk, fmt.Errorf("read what is known of the election: %w", err)
	}
	if content == nil {
		return disk, nil
	}
	if err := json.Unmarshal(content, &disk); err != nil {
		return disk, fmt.Errorf("read what is known of the election: %w", err)
	}
	return disk, nil
}

func saveDisk(memory Memory, disk *election.Disk) error {
	content, err := json.MarshalIndent(disk, "", "  ")
	if err != nil {
		return fmt.Errorf("encode what is known of the election: %w", err)
	}
	return memory.Save(content)
}
