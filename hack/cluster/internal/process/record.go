// Package process starts the long-running programs of the cluster and ends them again, also when the command that started them
// was killed in between. Two things make that safe:
//
//   - A program records itself. It is started through a shim (Exec) that writes its own process id and start time to a file, and
//     only then becomes the program. There is no moment in which it runs and nobody knows of it.
//   - A process id alone proves nothing, since ids are reused. A record counts only while the process with that id has the recorded
//     start time, and the signal is sent through a handle of that very process.
package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Record identifies one process for as long as the machine runs.
type Record struct {
	PID int `json:"pid"`
	// Start is the time of the process's start in clock ticks since boot, field 22 of /proc/PID/stat.
	Start uint64 `json:"start"`
}

// Self returns the record of the calling process.
func Self() (Record, error) {
	stat, err := readStat(os.Getpid())
	if err != nil {
		return Record{}, err
	}
	return Record{PID: os.Getpid(), Start: stat.start}, nil
}

// Alive tells whether the recorded process still runs. A zombie does not: it has released everything but its id.
func (r Record) Alive() bool {
	stat, err := readStat(r.PID)
	return err == nil && stat.start == r.Start && stat.state != 'Z' && stat.state != 'X'
}

// Signal sends a signal to the recorded process, and to none that has its id by now. It is no error if the process is gone.
func (r Record) Signal(sig syscall.Signal) error {
	handle, err := os.FindProcess(r.PID) // a pidfd: it stays with the process that has the id now, which is checked next
	if err != nil {
		return nil
	}
	defer func() { _ = handle.Release() }()
	if !r.Alive() {
		return nil
	}
	if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling process %d: %w", r.PID, err)
	}
	return nil
}

// Stop asks the process to end, kills it after the grace period, and returns once it is gone.
func (r Record) Stop(grace time.Duration) error {
	// What is paused hears of nothing but SIGKILL: continue it.
	if err := errors.Join(r.Signal(syscall.SIGTERM), r.Signal(syscall.SIGCONT)); err != nil {
		return err
	}
	if r.wait(grace) {
		return nil
	}
	if err := r.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if r.wait(10 * time.Second) {
		return nil
	}
	return fmt.Errorf("process %d is still there after SIGKILL", r.PID)
}

// wait polls until the process has ended; it says whether it did. The process need not be a child of ours.
func (r Record) wait(limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for r.Alive() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// ReadRecord reads a record. A file that is missing or was cut off by a crash yields one that is not alive.
func ReadRecord(file string) (Record, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("reading a process record: %w", err)
	}
	var r Record
	if json.Unmarshal(data, &r) != nil {
		return Record{}, nil //nolint:nilerr // cut off
	}
	return r, nil
}

// write puts the record into the file in one step.
func (r Record) write(file string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a process record: %w", err)
	}
	temp := file + ".new"
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return fmt.Errorf("making the folder of process records: %w", err)
	}
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return fmt.Errorf("writing a process record: %w", err)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("writing a process record: %w", err)
	}
	return nil
}

type stat struct {
	state byte
	start uint64
}

func readStat(pid int) (stat, error) {
	if pid <= 0 {
		return stat{}, os.ErrProcessDone
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, fmt.Errorf("reading the state of process %d: %w", pid, err)
	}
	return parseStat(data)
}

// parseStat reads /proc/PID/stat. The second field is the program's name in parentheses and may itself contain blanks and
// parentheses, so fields are counted from the last one.
func parseStat(data []byte) (stat, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("no program name in %q", data)
	}
	fields := strings.Fields(string(data[end+1:])) // from field 3, the state
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("too few fields in %q", data)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time in %q: %w", data, err)
	}
	return stat{state: fields[0][0], start: start}, nil
}
