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
// in lines of no form; those of a refused configuration belong together, and tell why it ends.

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

// endsServer finds, among warnings, the reason of an end: the server has no weight for it.
var endsServer = regexp.MustCompile(`^(Fatal|Can't|Could not|Failed|Unable|Bad file format|Unexpected|Unrecoverable|Wrong signature|Short read|` +
	`Internal error|Terminating|Out Of Memory|Error|Configured to not|Configuring)|[Aa]bort(ed|ing)\b|[Ee]xiting|crashed by signal`)

// critical begins what the server says when it does not apply what is in its append-only file: that is lost.
const critical = "== CRITICAL =="

// fatalBegin begins the lines of a refused configuration.
const fatalBegin = "*** FATAL CONFIG FILE ERROR"

// LogParser implements agent.LogParser.
type LogParser struct {
	// fatal are the lines so far, joined.
	fatal string
	// told: the line before had a reason. What follows it at once says less, as "check server logs".
	told bool
}

// NewLogParser makes a parser for one server's output.
func NewLogParser() *LogParser { return &LogParser{} }

// Line implements agent.LogParser.
func (p *LogParser) Line(line string) []agent.LogEntry {
	match := linePattern.FindStringSubmatch(line)
	text := strings.TrimSpace(line)
	switch {
	case match != nil:
		return append(p.Flush(), p.entry(match))
	case text == "":
		return nil
	case strings.HasPrefix(text, fatalBegin):
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
	reason := weight.level == agent.LogWarning && endsServer.MatchString(text)
	fatal := reason && !p.told
	p.told = reason
	level := weight.level
	if strings.HasPrefix(text, critical) {
		level = agent.LogError
	}
	return agent.LogEntry{
		Severity: weight.severity, Level: level, Message: text,
		Values: []any{"time", match[3], "pid", match[1], "role", roles[match[2]]}, Fatal: fatal,
	}
}

func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + " …"
}
