package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Log is the file that a checker writes.
type Log struct {
	mu   sync.Mutex
	file *os.File
}

// OpenLog opens a log to append to it. Nothing is buffered: what Append wrote outlives the process.
func OpenLog(path string) (*Log, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if err := endLine(file); err != nil {
		return nil, errors.Join(fmt.Errorf("mend the log %s: %w", path, err), file.Close())
	}
	return &Log{file: file}, nil
}

// endLine ends a line that an earlier, killed process left half, so that ours does not continue it.
func endLine(file *os.File) error {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = file.Write([]byte("\n"))
	}
	return err
}

// Append writes one line.
func (l *Log) Append(event Event) error {
	line, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

// Run is what one checker saw.
type Run struct {
	ID    string
	Start Start
	// Begin is when it started; End, when its last event was written.
	Begin, End Instant
	// Complete: it came to its own end.
	Complete bool

	Writes   []Write // in the order of their ends
	Reads    []Read
	Sessions []Session
	Stalls   []Stall

	wall time.Time // at Begin
}

// History is what several checkers saw.
type History struct {
	Runs []Run
	// Torn lines were cut when a checker was killed: the outcome that they held is not known.
	Torn int
	// WallClock: the runs come from several machines, and are only as comparable as their wall clocks.
	WallClock bool
}

// LoadFiles reads logs from files.
func LoadFiles(paths ...string) (History, error) {
	readers := make([]io.Reader, 0, len(paths))
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return History{}, fmt.Errorf("read a log: %w", err)
		}
		readers = append(readers, bytes.NewReader(content))
	}
	return Load(readers...)
}

// Load reads logs.
func Load(logs ...io.Reader) (History, error) {
	loader := loader{runs: map[string]*Run{}}
	for i, log := range logs {
		content, err := io.ReadAll(log)
		if err != nil {
			return History{}, fmt.Errorf("read log %d: %w", i+1, err)
		}
		number := 0
		for line := range bytes.Lines(content) {
			number++
			if err := loader.line(line); err != nil {
				return History{}, fmt.Errorf("log %d, line %d: %w", i+1, number, err)
			}
		}
	}
	return loader.history(), nil
}

type loader struct {
	runs  map[string]*Run
	order []string
	torn  int
}

func (l *loader) line(line []byte) error {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil
	}
	event := Event{}
	if err := json.Unmarshal(line, &event); err != nil {
		// A line is written by one call, so a cut one has lost its end. Anything else is not our log.
		if head := `{"run":"`; !strings.HasPrefix(string(line), head[:min(len(head), len(line))]) {
			return fmt.Errorf("not an event: %w", err)
		}
		l.torn++
		return nil
	}
	if event.Start != nil {
		if l.runs[event.Run] != nil {
			return fmt.Errorf("run %s starts twice: is a log given twice?", event.Run)
		}
		l.order = append(l.order, event.Run)
		l.runs[event.Run] = &Run{ID: event.Run, Start: *event.Start, Begin: event.At, wall: event.Wall}
	}
	run := l.runs[event.Run]
	if run == nil {
		return fmt.Errorf("run %q has not started", event.Run)
	}
	run.add(event)
	return nil
}

func (r *Run) add(event Event) {
	r.End = max(r.End, event.At)
	switch {
	case event.Write != nil:
		event.Write.End = event.At
		r.Writes = append(r.Writes, *event.Write)
	case event.Read != nil:
		event.Read.End = event.At
		r.Reads = append(r.Reads, *event.Read)
	case event.Session != nil:
		event.Session.At = event.At
		r.Sessions = append(r.Sessions, *event.Session)
	case event.Stall != nil:
		event.Stall.End = event.At
		r.Stalls = append(r.Stalls, *event.Stall)
	case event.End != nil:
		r.Complete = true
	}
}

// history places the runs on one axis.
func (l *loader) history() History {
	h := History{Torn: l.torn}
	shifts := map[string]Instant{}
	for _, id := range l.order {
		run := l.runs[id]
		shift := Instant(run.wall.UnixNano()) - run.Begin
		if clock := run.Start.Clock; clock != "" {
			if first, known := shifts[clock]; known {
				shift = first
			}
			shifts[clock] = shift
		}
		run.shift(shift)
		slices.SortStableFunc(run.Writes, func(a, b Write) int { return compare(a.End, b.End) })
		h.Runs = append(h.Runs, *run)
		h.WallClock = h.WallClock || run.Start.Clock != h.Runs[0].Start.Clock || (run.Start.Clock == "" && len(h.Runs) > 1)
	}
	return h
}

func (r *Run) shift(by Instant) {
	r.Begin, r.End = r.Begin+by, r.End+by
	for i := range r.Writes {
		w := &r.Writes[i]
		w.Begin, w.End = w.Begin+by, w.End+by
		if w.Sent != 0 {
			w.Sent += by
		}
	}
	for i := range r.Reads {
		r.Reads[i].Begin, r.Reads[i].End = r.Reads[i].Begin+by, r.Reads[i].End+by
	}
	for i := range r.Sessions {
		r.Sessions[i].At += by
	}
	for i := range r.Stalls {
		r.Stalls[i].Begin, r.Stalls[i].End = r.Stalls[i].Begin+by, r.Stalls[i].End+by
	}
}
