package driver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// The server's processes, as /proc shows them. A replica that is not consistent yet receives and
// acknowledges, but answers no query; so whether it receives is looked up here.

var errNotUp = errors.New("the server is not up yet")

// postmaster is the process id of the running server.
func (d *Driver) postmaster() (int, error) {
	if !d.running() {
		return 0, errNotUp
	}
	content, err := os.ReadFile(filepath.Join(d.dataDir(), "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, errNotUp
	}
	if err != nil {
		return 0, fmt.Errorf("find the server: %w", err)
	}
	first, _, _ := bytes.Cut(content, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil || pid <= 1 {
		return 0, errNotUp
	}
	return pid, nil
}

// signalPostmaster makes the server read its files again, and does not wait. It works when the
// server answers no query yet.
func (d *Driver) signalPostmaster() error {
	pid, err := d.postmaster()
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		return fmt.Errorf("signal the server: %w", err)
	}
	return nil
}

// receiverTitle finds the WAL receiver, with or without the name of the cluster before its own.
var receiverTitle = regexp.MustCompile(`^postgres: (\S+: )?walreceiver( |\x00|$)`)

// receivers are the WAL receivers of a server: one, or for a moment two.
func receivers(postmaster int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("list processes: %w", errors.Join(err, errors.New("/proc cannot be read")))
	}
	var found []int
	for _, path := range paths {
		// One that ended since the listing cannot be read.
		stat, err := os.ReadFile(path)
		if err != nil || parentOf(stat) != postmaster {
			continue
		}
		dir := filepath.Dir(path)
		title, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !receiverTitle.Match(title) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			found = append(found, pid)
		}
	}
	return found, nil
}

// parentOf reads "pid (command) state parent …"; the command may have spaces and parentheses.
func parentOf(stat []byte) int {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}
