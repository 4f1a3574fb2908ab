package driver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/pkg/agent"
)

const stamp = "2026-01-02 03:04:05.678 UTC"

func parse(text string) []agent.LogEntry {
	parser := NewLogParser()
	var entries []agent.LogEntry
	for line := range strings.Lines(text) {
		entries = append(entries, parser.Line(strings.TrimSuffix(line, "\n"))...)
	}
	return append(entries, parser.Flush()...)
}

func TestLogParser(t *testing.T) {
	tests := map[string]struct {
		text string
		want []agent.LogEntry
	}{
		"a message of the server": {
			stamp + " [42] LOG:  database system is ready to accept connections\n",
			[]agent.LogEntry{{Severity: "LOG", Level: agent.LogInfo, Message: "database system is ready to accept connections", Values: []any{"time", stamp, "pid", "42"}}},
		},
		"a message of a session, with its parts, over several lines": {
			stamp + " [42] app@orders ERROR:  relation \"x\" does not exist at character 15\n" +
				stamp + " [42] app@orders HINT:  There is one\n\twith another name.\n" +
				stamp + " [42] app@orders STATEMENT:  SELECT *\n\tFROM x\n\t\tWHERE true\n" +
				stamp + " [43] app@orders WARNING:  there is no transaction in progress\n",
			[]agent.LogEntry{
				{Severity: "ERROR", Level: agent.LogError, Message: `relation "x" does not exist at character 15`, Values: []any{
					"time", stamp, "pid", "42", "user", "app", "database", "orders",
					"hint", "There is one\nwith another name.", "statement", "SELECT *\nFROM x\n\tWHERE true",
				}},
				{Severity: "WARNING", Level: agent.LogWarning, Message: "there is no transaction in progress", Values: []any{
					"time", stamp, "pid", "43", "user", "app", "database", "orders",
				}},
			},
		},
		"the server's own end": {
			stamp + " [1] FATAL:  could not map anonymous shared memory: Cannot allocate memory\n" + stamp + " [1] HINT:  less\n",
			[]agent.LogEntry{{
				Severity: "FATAL", Level: agent.LogError, Fatal: true, Message: "could not map anonymous shared memory: Cannot allocate memory",
				Values: []any{"time", stamp, "pid", "1", "hint", "less"},
			}},
		},
		"the end of a session": {
			stamp + " [9] app@orders FATAL:  password authentication failed for user \"app\"\n",
			[]agent.LogEntry{{
				Severity: "FATAL", Level: agent.LogError, Message: `password authentication failed for user "app"`,
				Values: []any{"time", stamp, "pid", "9", "user", "app", "database", "orders"},
			}},
		},
		"lines that are not PostgreSQL's": {
			"postgres: could not find the database system\nExpected to find it\n",
			[]agent.LogEntry{
				{Severity: "LOG", Level: agent.LogInfo, Message: "postgres: could not find the database system"},
				{Severity: "LOG", Level: agent.LogInfo, Message: "Expected to find it"},
			},
		},
		"a part without a message": {
			stamp + " [42] DETAIL:  of what\n",
			[]agent.LogEntry{{Severity: "LOG", Level: agent.LogInfo, Message: stamp + " [42] DETAIL:  of what"}},
		},
		"a continuation without a message": {
			"\tof what\n",
			[]agent.LogEntry{{Severity: "LOG", Level: agent.LogInfo, Message: "\tof what"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := parse(test.text); !cmp.Equal(got, test.want) {
				t.Errorf("(-want +got)\n%s", cmp.Diff(test.want, got))
			}
		})
	}
}

func TestLogParserIsBounded(t *testing.T) {
	text := stamp + " [42] app@orders ERROR:  x\n" + stamp + " [42] app@orders STATEMENT:  SELECT\n" + strings.Repeat("\t"+strings.Repeat("é", 500)+"\n", 100)
	got := parse(text)
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	if statement := got[0].Values[len(got[0].Values)-1].(string); len(statement) > maxPart+8 || !strings.HasSuffix(statement, "…") {
		t.Errorf("the statement has %d bytes", len(statement))
	}
}

func TestPasswordsAreMasked(t *testing.T) {
	for text, want := range map[string]string{
		`ALTER ROLE app PASSWORD 'it''s secret'`:                       `ALTER ROLE app PASSWORD '********'`,
		`create user app with encrypted password 'secret' valid until`: `create user app with encrypted password '********' valid until`,
		`ALTER USER app PASSWORD E'se\'cret'`:                          `ALTER USER app PASSWORD '********'`,
		`ALTER USER app PASSWORD $x$secret$x$ VALID`:                   `ALTER USER app PASSWORD '********' VALID`,
		`ALTER USER app PASSWORD 'cut off`:                             `ALTER USER app PASSWORD '********'`,
		`host=db password=secret user=app`:                             `host=db password=******** user=app`,
		`host=db password='secret' user=app`:                           `host=db password='********' user=app`,
		`postgres://app:secret@db:5432/orders`:                         `postgres://app:********@db:5432/orders`,
		`x SCRAM-SHA-256$4096:c2FsdA==$a:b y`:                          `x ******** y`,
		`password authentication failed for user "app"`:                `password authentication failed for user "app"`,
		`SELECT 'password'`:                                            `SELECT 'password'`,
	} {
		if got := mask(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestHealthPollThatCameTooEarlyIsNotLogged(t *testing.T) {
	for text, want := range map[string]bool{
		stamp + " [1] postgres@postgres FATAL:  the database system is starting up":                   true,
		stamp + " [1] app@orders FATAL:  the database system is starting up":                          false,
		stamp + " [1] postgres@postgres FATAL:  sorry, too many clients already":                      false,
		stamp + " [1] LOG:  the database system is starting up":                                       false,
		stamp + " [1] postgres@postgres FATAL:  the database system is not yet accepting connections": true,
	} {
		if got := noise(parse(text)[0]); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
