package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/platform-io/database-operator/pkg/agent"
)

// The control file, as pg_controldata shows it (in English).

// controlData is what is needed of it.
type controlData struct {
	state string
	// checkpoint is where the record of the last checkpoint begins, on that timeline.
	checkpoint agent.Position
	timeline   uint64
	// pageSize and segmentSize are those of the log.
	pageSize, segmentSize uint64
	// needs are the settings that a replica must have at least so.
	needs map[string]int64
}

// Words of the control file for a database that is, or was, a replica.
var replicaStates = map[string]bool{"in archive recovery": true, "shut down in recovery": true}

const stateShutDown = "shut down"

// hotStandbySettings are those that must not be lower on a replica than on its primary, with the
// control file's words for them.
var hotStandbySettings = []struct{ name, label string }{
	{"max_connections", "max_connections setting"},
	{"max_locks_per_transaction", "max_locks_per_xact setting"},
	{"max_prepared_transactions", "max_prepared_xacts setting"},
	{"max_wal_senders", "max_wal_senders setting"},
	{"max_worker_processes", "max_worker_processes setting"},
}

func (d *Driver) controlData(ctx context.Context, major string) (controlData, error) {
	path, err := binaryPath("pg_controldata", major)
	if err != nil {
		return controlData{}, err
	}
	out, messages, err := d.output(command(ctx, path, "-D", d.dataDir()))
	if err != nil {
		return controlData{}, fmt.Errorf("read the control file: %w: %s", err, lastLines(messages))
	}
	return parseControlData(out)
}

func parseControlData(text string) (controlData, error) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if label, value, ok := strings.Cut(line, ":"); ok {
			values[label] = strings.TrimSpace(value)
		}
	}
	var errs []error
	number := func(label string) uint64 {
		n, err := strconv.ParseUint(values[label], 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", label, err))
		}
		return n
	}
	data := controlData{
		state:    values["Database cluster state"],
		timeline: number("Latest checkpoint's TimeLineID"), pageSize: number("WAL block size"), segmentSize: number("Bytes per WAL segment"),
		needs: map[string]int64{},
	}
	position, err := parsePosition(values["Latest checkpoint location"])
	data.checkpoint = position
	errs = append(errs, err)
	for _, s := range hotStandbySettings {
		data.needs[s.name] = int64(number(s.label))
	}
	if err := errors.Join(errs...); err != nil {
		return data, fmt.Errorf("read the control file: %w", err)
	}
	return data, nil
}

// parsePosition reads an LSN, "16/B374D848".
func parsePosition(text string) (agent.Position, error) {
	high, low, ok := strings.Cut(text, "/")
	h, errHigh := strconv.ParseUint(high, 16, 32)
	l, errLow := strconv.ParseUint(low, 16, 32)
	if !ok || errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("parse the position %q", text)
	}
	return agent.Position(h<<32 | l), nil
}

func formatPosition(p agent.Position) string { return fmt.Sprintf("%X/%X", uint64(p)>>32, uint32(p)) }

// wasReplica says whether the data must replay as a replica before it can be a primary's: it never
// was promoted, or it is a copy whose log was not replayed to its end. Started without
// standby.signal it would take writes on the timeline of the primary that it comes from.
func (d *Driver) wasReplica(data controlData) bool {
	_, err := os.Stat(filepath.Join(d.dataDir(), "backup_label"))
	return err == nil || replicaStates[data.state]
}

// configured asks the server's program for the value of a setting in the operator's files.
func (d *Driver) configured(ctx context.Context, configDir, name string) (int64, error) {
	path, err := binaryPath("postgres", d.major)
	if err != nil {
		return 0, err
	}
	out, messages, err := d.output(command(ctx, path, append(d.operatorsArgs(configDir), "-C", name)...))
	if err != nil {
		return 0, fmt.Errorf("ask for %s: %w: %s", name, err, lastLines(messages))
	}
	value, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask for %s: %w", name, err)
	}
	return value, nil
}

// floorOf are the settings that a replica must have higher than they are configured: it would not
// start, or would pause.
func (d *Driver) floorOf(ctx context.Context, configDir string, data controlData) ([]setting, error) {
	var floor []setting
	for _, s := range hotStandbySettings {
		configured, err := d.configured(ctx, configDir, s.name)
		if err != nil {
			return nil, err
		}
		if need := data.needs[s.name]; configured < need {
			floor = append(floor, setting{s.name, strconv.FormatInt(need, 10)})
		}
	}
	return floor, nil
}

var recordLength = regexp.MustCompile(`len \(rec/tot\):\s*\d+/\s*(\d+),`)

// EndOfLog implements agent.Replicator. The last record of a clean stop is its checkpoint, and the
// log ends where that record does; a replica that replayed it is at the same position.
func (d *Driver) EndOfLog(ctx context.Context) (agent.Position, error) {
	if d.running() {
		return 0, errRunning
	}
	major, err := d.dataMajor()
	if err != nil {
		return 0, err
	}
	data, err := d.controlData(ctx, major)
	if err != nil {
		return 0, err
	}
	if data.state != stateShutDown {
		return 0, fmt.Errorf("find the end of the log: the server was not stopped cleanly as a primary, it is %q", data.state)
	}
	path, err := binaryPath("pg_waldump", major)
	if err != nil {
		return 0, err
	}
	out, messages, err := d.output(command(ctx, path, "--path="+filepath.Join(d.dataDir(), "pg_wal"), "--limit=1",
		"--timeline="+strconv.FormatUint(data.timeline, 10), "--start="+formatPosition(data.checkpoint)))
	if err != nil {
		return 0, fmt.Errorf("read the last record: %w: %s", err, lastLines(messages))
	}
	match := recordLength.FindStringSubmatch(out)
	if match == nil || !strings.Contains(out, "CHECKPOINT_SHUTDOWN") {
		return 0, fmt.Errorf("read the last record: it is %q", strings.TrimSpace(out))
	}
	length, err := strconv.ParseUint(match[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the last record: %w", err)
	}
	return endOfRecord(data, length), nil
}

// Sizes of the headers of pages, and the alignment of records:
// https://github.com/postgres/postgres/blob/master/src/include/access/xlog_internal.h
const (
	pageHeader    = 24
	segmentHeader = 40
	alignment     = 8
)

// endOfRecord is where the record of the checkpoint ends: what does not fit into a page goes on
// behind the header of the next one.
func endOfRecord(data controlData, length uint64) agent.Position {
	position := uint64(data.checkpoint)
	for room := data.pageSize - position%data.pageSize; length > room; room = data.pageSize - position%data.pageSize {
		position, length = position+room, length-room
		if position%data.segmentSize == 0 {
			position += segmentHeader
		} else {
			position += pageHeader
		}
	}
	position += length
	return agent.Position((position + alignment - 1) / alignment * alignment)
}
