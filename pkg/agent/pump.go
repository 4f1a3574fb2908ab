package agent

import (
	"bufio"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The engine's output.
//
// Lines are read, cut at a bound, and given to the driver's parser, which joins lines that belong
// together. A message is known to be whole only when the next one begins, so what the parser holds
// back is flushed when the engine is silent for a moment.

const (
	// maxLine is the longest line that is kept.
	maxLine = 32 << 10
	// quiet is the silence that ends a message.
	quiet = 200 * time.Millisecond
)

// LogEntry is one message of the engine.
type LogEntry struct {
	// Severity is the engine's own word.
	Severity string
	Level    LogLevel
	Message  string
	// Values are further keys and values.
	Values []any
	// Fatal marks a message that tells why the engine ends.
	Fatal bool
	// Serves marks a message that tells that the engine came up: what was Fatal before was not.
	Serves bool
}

// LogLevel orders messages by their weight.
type LogLevel int

// The levels of messages.
const (
	LogDebug LogLevel = iota
	LogInfo
	LogWarning
	LogError
)

// LogParser makes messages of lines. It keeps state, and is used by one goroutine.
type LogParser interface {
	// Line takes one line, and returns the messages that it completes.
	Line(line string) []LogEntry
	// Flush returns what was held back.
	Flush() []LogEntry
}

type pump struct {
	parser LogParser
	emit   func(LogEntry)
}

func newPump(parser LogParser, emit func(LogEntry)) *pump {
	return &pump{parser: parser, emit: emit}
}

// run reads until the last writer of the pipe is gone.
func (p *pump) run(output io.Reader) {
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		reader := bufio.NewReaderSize(output, maxLine)
		for {
			line, err := readLine(reader)
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	idle := time.NewTimer(quiet)
	defer idle.Stop()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				p.all(p.parser.Flush())
				return
			}
			p.all(p.parser.Line(line))
			idle.Reset(quiet)
		case <-idle.C:
			p.all(p.parser.Flush())
		}
	}
}

func (p *pump) all(entries []LogEntry) {
	for _, e := range entries {
		p.emit(e)
	}
}

// readLine returns a line without its end, cut at maxLine. An unfinished last line counts.
func readLine(reader *bufio.Reader) (string, error) {
	kept, more, err := reader.ReadLine()
	if err != nil {
		return "", err
	}
	line := string(kept)
	for more {
		if _, more, err = reader.ReadLine(); err != nil {
			break
		}
	}
	if !utf8.ValidString(line) {
		return strings.ToValidUTF8(line, "\uFFFD"), nil
	}
	return line, nil
}
