package driver

import (
	"regexp"
	"strings"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Redis's messages:
//
//	1:M 26 Nov 2026 05:35:05.123 * Ready to accept connections
//
// that is process, role (of the main process M, a child C, a replica S, a sentinel X), time, weight and
// text. A message is one line. What the server says before it knows where to log, or when it crashes, is
// in lines of no form; those of a refused configuration belong together, and tell why it ends. So do those of
// a list of append-only files that it cannot read, though the reason is in messages again.

// maxText is the length at which a message is cut.
const maxText = 8 << 10

var linePattern = regexp.MustCompile(`^(\d+):([A-Z]) (\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d+) ([.*#-]) (.*)$`)

// weights are Redis's, with its own words for them.
var weights = map[string]struct {
	severity string
	level    agent.LogLevel
}{
	".": {"DEBUG", agent.LogDebug},
	"-": {"VERBOSE", agent.LogDebug},
	"*": {"NOTICE", agent.LogInfo},
	"#": {"WARNING", agent.LogWarning},
}

var roles = map[string]string{"M": "master", "S": "replica", "C": "child", "X": "sentinel"}

// endsStart finds, among the server's own warnings, the reason why it does not come up: it has no weight for that.
// endsServing finds the reason of a later end: the server goes on after most of what it cannot do.
var (
	endsStart = regexp.MustCompile(`^(Fatal|Can't|Could not|Failed|Unable|Bad file format|Unexpected|Unrecoverable|Wrong signature|Short read|` +
		`Internal error|Terminating|Out Of Memory|Error|Configured to not|Configuring)|[Aa]bort(ed|ing)\b|[Ee]xiting|crashed by signal`)
	endsServing = regexp.MustCompile(`^(Fatal|Terminating|Out Of Memory)|[Aa]bort(ed|ing)\b|[Ee]xiting|crashed by signal`)
)

// serving is what the server says when it came up.
const serving = "Ready to accept connections"

// critical begins what the server says when it does not apply what is in its append-only file: that is lost.
const critical = "== CRITICAL =="

// fatalBegin begins the lines of a refused configuration, and manifestBegin those of a list of append-only files.
const (
	fatalBegin    = "*** FATAL CONFIG FILE ERROR"
	manifestBegin = "*** FATAL AOF MANIFEST FILE ERROR"
)

// LogParser implements agent.LogParser.
type LogParser struct {
	// fatal are the lines so far, joined.
	fatal string
	// told: the line before had a reason. What follows it at once says less, as "check server logs".
	told bool
	// server is the number of the server's process, which says something first. Its children end by themselves.
	server string
	// serves: it came up.
	serves bool
}

// NewLogParser makes a parser for one server's output.
func NewLogParser() *LogParser { return &LogParser{} }

// Line implements agent.LogParser.
func (p *LogParser) Line(line string) []agent.LogEntry {
	match := linePattern.FindStringSubmatch(line)
	text := strings.TrimSpace(line)
	if match != nil && (match[5] == "" || strings.HasPrefix(p.fatal, manifestBegin)) {
		text, match = strings.TrimSpace(match[5]), nil
	}
	switch {
	case match != nil:
		return append(p.Flush(), p.entry(match))
	case text == "":
		return nil
	case strings.HasPrefix(text, fatalBegin), strings.HasPrefix(text, manifestBegin):
		before := p.Flush()
		p.fatal = text
		return before
	case p.fatal != "":
		if len(p.fatal) < maxText {
			p.fatal = cut(p.fatal + " " + text)
		}
		return nil
	}
	return []agent.LogEntry{{Severity: "NOTICE", Level: agent.LogInfo, Message: cut(text)}}
}

// Flush implements agent.LogParser.
func (p *LogParser) Flush() []agent.LogEntry {
	if p.fatal == "" {
		return nil
	}
	text := p.fatal
	p.fatal = ""
	return []agent.LogEntry{{Severity: "FATAL", Level: agent.LogError, Message: text, Fatal: true}}
}

func (p *LogParser) entry(match []string) agent.LogEntry {
	weight, text := weights[match[4]], cut(match[5])
	fatal := p.judge(match[1], text, weight.level)
	level := weight.level
	if strings.HasPrefix(text, critical) {
		level = agent.LogError
	}
	return agent.LogEntry{
		Severity: weight.severity, Level: level, Message: text,
		Values: []any{"time", match[3], "pid", match[1], "role", roles[match[2]]}, Fatal: fatal,
		Serves: match[1] == p.server && strings.HasPrefix(text, serving),
	}
}

// judge says whether a message of a process tells why the server ends.
func (p *LogParser) judge(process, text string, level agent.LogLevel) (fatal bool) {
	if p.server == "" {
		p.server = process
	}
	if process != p.server {
		return false
	}
	p.serves = p.serves || strings.HasPrefix(text, serving)
	ends := endsStart
	if p.serves {
		ends = endsServing
	}
	reason := level == agent.LogWarning && ends.MatchString(text)
	fatal = reason && !p.told
	p.told = reason
	return fatal
}

func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + " …"
}
