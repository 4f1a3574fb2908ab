package driver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/pkg/agent"
)

func parse(text string) []agent.LogEntry {
	p := NewLogParser()
	var entries []agent.LogEntry
	for line := range strings.Lines(text) {
		entries = append(entries, p.Line(strings.TrimRight(line, "\n"))...)
	}
	return append(entries, p.Flush()...)
}

func TestLogParser(t *testing.T) {
	values := func(role string) []any { return []any{"time", "26 Nov 2026 05:35:05.123", "pid", "17", "role", role} }
	for name, c := range map[string]struct {
		text string
		want []agent.LogEntry
	}{
		"a message of each weight": {
			"17:C 26 Nov 2026 05:35:05.123 . one\n17:M 26 Nov 2026 05:35:05.123 - two\n17:S 26 Nov 2026 05:35:05.123 * three\n17:M 26 Nov 2026 05:35:05.123 # four\n",
			[]agent.LogEntry{
				{Severity: "DEBUG", Level: agent.LogDebug, Message: "one", Values: values("child")},
				{Severity: "VERBOSE", Level: agent.LogDebug, Message: "two", Values: values("master")},
				{Severity: "NOTICE", Level: agent.LogInfo, Message: "three", Values: values("replica")},
				{Severity: "WARNING", Level: agent.LogWarning, Message: "four", Values: values("master")},
			},
		},
		"data that is lost": {
			"17:M 26 Nov 2026 05:35:05.123 # == CRITICAL == This server is sending an error to its AOF-loading-client: '-NOPERM'\n",
			[]agent.LogEntry{{
				Severity: "WARNING", Level: agent.LogError, Values: values("master"),
				Message: "== CRITICAL == This server is sending an error to its AOF-loading-client: '-NOPERM'",
			}},
		},
		"lines of no form": {
			"17:signal-handler (1795671607) Received SIGTERM scheduling shutdown...\n\n  ##\n",
			[]agent.LogEntry{
				{Severity: "NOTICE", Level: agent.LogInfo, Message: "17:signal-handler (1795671607) Received SIGTERM scheduling shutdown..."},
				{Severity: "NOTICE", Level: agent.LogInfo, Message: "##"},
			},
		},
		"an unreadable list of append-only files is one message": {
			"17:M 26 Nov 2026 05:35:05.123 # \n*** FATAL AOF MANIFEST FILE ERROR ***\n\n17:M 26 Nov 2026 05:35:05.123 # Reading the manifest file, at line 1\n\n" +
				"17:M 26 Nov 2026 05:35:05.123 # >>> 'nonsense'\n\n17:M 26 Nov 2026 05:35:05.123 # Invalid AOF manifest file format\n\n",
			[]agent.LogEntry{{
				Severity: "FATAL", Level: agent.LogError, Fatal: true,
				Message: "*** FATAL AOF MANIFEST FILE ERROR *** Reading the manifest file, at line 1 >>> 'nonsense' Invalid AOF manifest file format",
			}},
		},
		"a refused configuration is one message": {
			"\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 1\n>>> 'nosuch 1'\nBad directive or wrong number of arguments\n",
			[]agent.LogEntry{{
				Severity: "FATAL", Level: agent.LogError, Fatal: true,
				Message: "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) *** Reading the configuration file, at line 1 >>> 'nosuch 1' Bad directive or wrong number of arguments",
			}},
		},
	} {
		if diff := cmp.Diff(c.want, parse(c.text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// lastWords are what is taken for the reason of an end.
func lastWords(text string) string {
	last := ""
	for _, e := range parse(text) {
		switch {
		case e.Fatal:
			last = e.Message
		case e.Serves:
			last = ""
		}
	}
	return last
}

// A server that serves cannot do many things, and goes on; and its children end by themselves.
func TestWhatAServerSurvivesIsNotItsLastWords(t *testing.T) {
	const (
		server = "17:M 26 Nov 2026 05:35:05.123 # "
		child  = "18:C 26 Nov 2026 05:35:05.123 # "
		begin  = "17:C 26 Nov 2026 05:35:05.000 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo\n"
		up     = "17:M 26 Nov 2026 05:35:05.123 * Ready to accept connections tcp\n"
	)
	for text, want := range map[string]string{
		begin + server + "Failed to write PID file: Permission denied\n" + up:                                          "",
		begin + up + server + "Can't save in background: fork: Cannot allocate memory\n":                               "",
		begin + up + server + "Error writing to the AOF file: No space left on device\n":                               "",
		begin + up + child + "Failed opening the temp RDB file temp-18.rdb: No space left on device\n":                 "",
		begin + child + "Can't open the append-only file\n":                                                            "",
		begin + "17:C 26 Nov 2026 05:35:05.123 # Fatal error, can't open config file '/x': Permission denied\n":        "Fatal error, can't open config file '/x': Permission denied",
		begin + up + server + "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...\n": "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...",
		begin + up + server + "Redis 7.0.15 crashed by signal: 11, si_code: 0\n":                                       "Redis 7.0.15 crashed by signal: 11, si_code: 0",
	} {
		if got := lastWords(text); got != want {
			t.Errorf("got %q, want %q, of %s", got, want, text)
		}
	}
}

// The reason is told first, and then that there is one.
func TestTheLastWords(t *testing.T) {
	const stamp = "17:M 26 Nov 2026 05:35:05.123 # "
	for want, texts := range map[string][]string{
		"Can't handle RDB format version 12": {
			"Server initialized", "Can't handle RDB format version 12", "Error reading the RDB preamble of the AOF file x, AOF loading aborted",
		},
		"Bad file format reading the append only file x: make a backup of your AOF file, then use ./redis-check-aof --fix <filename>": {
			"WARNING Memory overcommit must be enabled!", "Bad file format reading the append only file x: make a backup of your AOF file, then use ./redis-check-aof --fix <filename>",
		},
		"Failed listening on port 6379 (TCP), aborting.": {
			"Server can't set maximum open files to 900032 because of OS error: Operation not permitted.", "Failed listening on port 6379 (TCP), aborting.",
		},
		"": {"Configuration loaded", "Server initialized", "WARNING Memory overcommit must be enabled!", "User requested shutdown...", "Redis is now ready to exit, bye bye..."},
	} {
		last := lastWords(stamp + strings.Join(texts, "\n"+stamp) + "\n")
		if last != want {
			t.Errorf("got %q, want %q", last, want)
		}
	}
}

func TestALongMessageIsCut(t *testing.T) {
	for _, text := range []string{strings.Repeat("ä", maxText), fatalBegin + "\n" + strings.Repeat("line\n", maxText)} {
		for _, e := range parse(text) {
			if len(e.Message) > maxText+len(" …") {
				t.Errorf("%d bytes", len(e.Message))
			}
		}
	}
}
