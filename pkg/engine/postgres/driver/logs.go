package driver

import (
	"regexp"
	"strings"

	"github.com/platform-io/database-operator/pkg/agent"
)

// PostgreSQL's messages, as the operator's log_line_prefix '%m [%p] %q%u@%d ' writes them:
//
//	2026-01-02 03:04:05.678 UTC [42] app@orders ERROR:  relation "x" does not exist at character 15
//	2026-01-02 03:04:05.678 UTC [42] app@orders STATEMENT:  SELECT
//	<tab>* FROM x
//
// A message has a line with its severity, further lines of the same process with its parts, and,
// for each line feed within a part, a line that begins with a tab. All is bounded, and what looks
// like a password is masked.

const (
	// maxPart is the length at which a message or one of its parts is cut.
	maxPart = 8 << 10
	masked  = "********"
)

// Keys of a message's values.
const (
	keyPID       = "pid"
	keyUser      = "user"
	keyDatabase  = "database"
	keyTime      = "time"
	keyDetail    = "detail"
	keyHint      = "hint"
	keyStatement = "statement"
)

var linePattern = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \S+) \[(\d+)\] (?:(\S+)@(\S*) )?([A-Z]+\d?):  (.*)$`)

// severities are PostgreSQL's, with their weight.
var severities = map[string]agent.LogLevel{
	"DEBUG1": agent.LogDebug, "DEBUG2": agent.LogDebug, "DEBUG3": agent.LogDebug, "DEBUG4": agent.LogDebug, "DEBUG5": agent.LogDebug,
	"LOG": agent.LogInfo, "INFO": agent.LogInfo, "NOTICE": agent.LogInfo,
	"WARNING": agent.LogWarning,
	"ERROR":   agent.LogError, "FATAL": agent.LogError, "PANIC": agent.LogError,
}

// parts are the further lines of a message.
var parts = map[string]string{
	"DETAIL": keyDetail, "HINT": keyHint, "STATEMENT": keyStatement, "CONTEXT": "context",
	"QUERY": "query", "LOCATION": "location", "BACKTRACE": "backtrace",
}

// LogParser implements agent.LogParser.
type LogParser struct {
	held *message
}

// message is one that may get further lines.
type message struct {
	severity       string
	time, pid      string
	user, database string
	fromSession    bool
	// keys are those of text, in their order.
	keys []string
	text map[string]string
}

// keyMessage is the part that every message has.
const keyMessage = ""

// NewLogParser makes a parser for one server's output.
func NewLogParser() *LogParser { return &LogParser{} }

// Line implements agent.LogParser.
func (p *LogParser) Line(line string) []agent.LogEntry {
	if rest, ok := strings.CutPrefix(line, "\t"); ok && p.held != nil {
		p.held.add(p.held.keys[len(p.held.keys)-1], "\n"+rest)
		return nil
	}
	match := linePattern.FindStringSubmatch(line)
	if match == nil {
		return p.next(&message{severity: "LOG"}, line)
	}
	word, text := match[5], match[6]
	if key, ok := parts[word]; ok && p.held != nil && p.held.pid == match[2] {
		p.held.add(key, text)
		return nil
	}
	if _, ok := severities[word]; !ok {
		return p.next(&message{severity: "LOG"}, line)
	}
	return p.next(&message{
		severity: word, time: match[1], pid: match[2], user: match[3], database: match[4], fromSession: match[3] != "",
	}, text)
}

// Flush implements agent.LogParser.
func (p *LogParser) Flush() []agent.LogEntry {
	if p.held == nil {
		return nil
	}
	entry := p.held.entry()
	p.held = nil
	return []agent.LogEntry{entry}
}

// next completes what is held, and holds another message.
func (p *LogParser) next(m *message, text string) []agent.LogEntry {
	complete := p.Flush()
	m.text = map[string]string{}
	m.add(keyMessage, text)
	p.held = m
	return complete
}

func (m *message) add(key, text string) {
	before, known := m.text[key]
	if !known {
		m.keys = append(m.keys, key)
	}
	if len(before) >= maxPart {
		return
	}
	after := before + text
	if len(after) > maxPart {
		after = strings.ToValidUTF8(after[:maxPart], "") + " …"
	}
	m.text[key] = after
}

func (m *message) entry() agent.LogEntry {
	entry := agent.LogEntry{
		Severity: m.severity,
		Level:    severities[m.severity],
		Message:  mask(m.text[keyMessage]),
		// A session's FATAL is its own end, such as a wrong password; without one it is the server's.
		Fatal: (m.severity == "FATAL" || m.severity == "PANIC") && !m.fromSession,
	}
	add := func(key, value string) {
		if value != "" {
			entry.Values = append(entry.Values, key, value)
		}
	}
	add(keyTime, m.time)
	add(keyPID, m.pid)
	add(keyUser, m.user)
	add(keyDatabase, m.database)
	for _, key := range m.keys {
		if key != keyMessage {
			add(key, mask(m.text[key]))
		}
	}
	return entry
}

// notYet is what a server that starts answers to those who come too early.
var notYet = regexp.MustCompile(`^the database system is (starting up|not yet accepting connections|shutting down)$`)

// looksAgain is what a replica says several times a second while it has no source.
const looksAgain = "waiting for WAL to become available at "

// noise says whether a message says nothing that the agent does not report, many times: a look of
// the startup process, or the answer to a health poll that came too early.
func noise(e agent.LogEntry) bool {
	if e.Severity == "LOG" && strings.HasPrefix(e.Message, looksAgain) {
		return true
	}
	if e.Severity != "FATAL" || !notYet.MatchString(e.Message) {
		return false
	}
	for i := 0; i+1 < len(e.Values); i += 2 {
		if e.Values[i] == keyUser {
			return e.Values[i+1] == superuser
		}
	}
	return false
}

// secrets finds passwords and verifiers: PASSWORD 'x', password=x, scheme://user:x@host.
var secrets = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(?i)(\bpassword(?:\s*=\s*|\s+))E'(?:[^'\\]|\\.|'')*(?:'|$)`), `${1}'` + masked + `'`},
	{regexp.MustCompile(`(?i)(\bpassword(?:\s*=\s*|\s+))(?:U&)?'(?:[^']|'')*(?:'|$)`), `${1}'` + masked + `'`},
	{regexp.MustCompile(`(?is)(\bpassword\s+)(\$\w*\$).*?(?:\$\w*\$|$)`), `${1}'` + masked + `'`},
	{regexp.MustCompile(`(?i)(\bpassword=)[^\s'"&]+`), `${1}` + masked},
	{regexp.MustCompile(`SCRAM-SHA-256\$[^\s'"]+`), masked},
	{regexp.MustCompile(`(\w+://[^\s:/@]+:)[^\s@]+@`), `${1}` + masked + `@`},
}

// mask removes what looks like a password.
func mask(text string) string {
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.with)
	}
	return text
}
