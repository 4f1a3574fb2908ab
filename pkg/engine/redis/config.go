package redis

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// The configuration is three layers, later ones win: defaults that follow from the version, the
// user's engineConfig, and the settings that the operator owns. What depends on the pod (port, folders,
// socket, accounts, memory) the agent gives on the command line, which wins over the file.
//
// A value is what stands behind the name in redis.conf: words, in quotes where they must be. The empty
// value is one empty word.

// fileConf is the file in the ConfigMap.
const fileConf = "redis.conf"

// files are the configuration files of a Database.
func files(db *dbv1.Database) map[string]string {
	return map[string]string{fileConf: render(settings(db))}
}

// settings are all that the server is told, in the three layers.
func settings(db *dbv1.Database) map[string]string {
	all := derived(db.Spec.Version)
	for name, value := range db.Spec.EngineConfig {
		all[strings.ToLower(name)] = string(value)
	}
	// The agent reads this one, and knows no units.
	if words, err := splitWords(all["maxmemory"]); err == nil && len(words) == 1 {
		if bytes, known := bytesOf(words[0]); known {
			all["maxmemory"] = strconv.FormatFloat(bytes, 'f', 0, 64)
		}
	}
	maps.Copy(all, owned)
	return all
}

// derived are defaults that follow from the version.
func derived(version string) map[string]string {
	settings := map[string]string{
		"maxmemory-policy": "noeviction",
		"appendfsync":      "everysec",
		// The append-only file has the data; snapshots would only cost memory.
		"save": "",
	}
	if engine.Major(version) != "6" {
		// Where in the file a second begins: a backup can then be restored to a point in time.
		settings["aof-timestamp-enabled"] = "yes"
	}
	return settings
}

// owned are the settings in the file that the operator decides.
var owned = map[string]string{
	// Accounts decide who comes in: there is no password-less one.
	"protected-mode": "no",
	"bind":           "* -::*",
	// What is in the file is there after a crash. With appendfsync everysec that may lack two seconds: while a
	// sync is slow, the server acknowledges before it writes.
	"appendonly":         "yes",
	"appendfilename":     "appendonly.aof",
	"aof-load-truncated": "yes",
	// The agent reads the log from standard output, and the server is its child.
	"daemonize":        "no",
	"supervised":       "no",
	"logfile":          "",
	"always-show-logo": "no",
}

// Ways to get what an owned setting is for.
const (
	wayLog      = "logs go to the pod's log, in JSON; see spec.observability.logging"
	wayAccounts = "accounts are named by spec.auth, and have their passwords in Secrets"
	wayAgent    = "the agent starts, stops and supervises the server"
	wayData     = "the agent decides where data lies"
	wayDurable  = "the append-only file is on, so that no restart loses data"
	wayReplicas = "set spec.topology"
	wayClosed   = "debugging, modules and paths stay out of clients' reach"
)

// ownedSettings are the names that engineConfig may not have, with the way to get what they are for.
// Names that end in * are prefixes.
var ownedSettings = map[string]string{
	"port":               "set spec.networking.port",
	"bind*":              "clients connect through the Service",
	"protected-mode":     wayAccounts,
	"unixsocket*":        "only the agent uses the socket",
	"tls-*":              "set spec.networking.tls",
	"aclfile":            wayAccounts,
	"user":               wayAccounts,
	"requirepass":        wayAccounts,
	"masterauth":         wayAccounts,
	"masteruser":         wayAccounts,
	"primaryauth":        wayAccounts,
	"primaryuser":        wayAccounts,
	"rename-command":     "the agent needs the commands; rights are those of the account",
	"dir":                wayData,
	"dbfilename":         wayData,
	"appendfilename":     wayData,
	"appenddirname":      wayData,
	"appendonly":         wayDurable,
	"aof-load-truncated": wayDurable,
	"rdb-del-sync-files": wayDurable,
	"replicaof":          wayReplicas,
	"slaveof":            wayReplicas,
	"replica-announce*":  wayReplicas,
	"slave-announce*":    wayReplicas,
	"replica-read-only":  wayReplicas,
	"slave-read-only":    wayReplicas,
	"replica-priority":   wayReplicas,
	"slave-priority":     wayReplicas,
	"min-replicas-*":     wayReplicas,
	"min-slaves-*":       wayReplicas,
	"cluster-*":          wayReplicas,
	"daemonize":          wayAgent,
	"supervised":         wayAgent,
	"pidfile":            wayAgent,
	"shutdown-on-*":      wayAgent,
	"shutdown-timeout":   wayAgent,
	"logfile":            wayLog,
	"syslog-*":           wayLog,
	"log-*":              wayLog,
	"always-show-logo":   wayLog,
	"enable-*":           wayClosed,
	"include":            "settings belong in spec.engineConfig",
	"loadmodule*":        "modules are not supported yet",
}

// OwnedSettings implements engine.Engine.
func (Engine) OwnedSettings() map[string]string { return ownedSettings }

// settingName is a name as the server has them. Those with a dot are of modules.
var settingName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// bounds are those of settings that the server takes in any size. Above, it has no memory or time for what was
// asked for; below, none of its connections may be left for the agent, for whom the server reserves none.
var bounds = map[string]struct {
	least, most float64
	low, high   string
}{
	"databases":  {1, 16384, "there is no database without one", "each takes memory even when it is empty"},
	"maxclients": {32, 1 << 20, "the agent connects, too, and no connection is kept for it", "each takes an open file, and the server tries for all of them"},
}

// ValidateConfig implements engine.Engine.
func (Engine) ValidateConfig(db *dbv1.Database) field.ErrorList {
	errs := engine.ValidateNames(db.Spec.EngineConfig, settingName, "use letters, digits and -, as in maxmemory-policy")
	for _, name := range slices.Sorted(maps.Keys(db.Spec.EngineConfig)) {
		value := string(db.Spec.EngineConfig[name])
		if wrong := judge(db, strings.ToLower(name), value); wrong != "" {
			errs = append(errs, field.Invalid(field.NewPath("spec", "engineConfig").Key(name), value, wrong))
		}
	}
	return errs
}

// judge says what is wrong with a value, as far as the server would not say it.
func judge(db *dbv1.Database, name, value string) string {
	words, err := splitWords(value)
	if err != nil {
		return err.Error() + ": write it as it stands in redis.conf"
	}
	if name == "loglevel" && strings.EqualFold(words[0], "nothing") {
		return "the reason of an end would be told nowhere: set it to warning for the fewest messages"
	}
	number, known := bytesOf(words[0])
	if !known {
		return ""
	}
	limits := dbv1.Resources(db).Limits
	if limit := limits.Memory(); name == "maxmemory" && (number == 0 || number > float64(limit.Value())) {
		return fmt.Sprintf("data may not take more memory than the container has, where the limit is %s: lower it, leave it out for 70 %% of that, or raise spec.resources.limits.memory", limit)
	}
	bound, bounded := bounds[name]
	switch {
	case bounded && number > bound.most:
		return fmt.Sprintf("at most %.0f, because %s: lower it", bound.most, bound.high)
	case bounded && number < bound.least:
		return fmt.Sprintf("at least %.0f, because %s: raise it", bound.least, bound.low)
	}
	return ""
}

var memoryForm = regexp.MustCompile(`^([0-9]+)([a-z]*)$`)

// memoryUnits are those of redis.conf.
var memoryUnits = map[string]float64{"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30}

// bytesOf is a number with a unit.
func bytesOf(word string) (bytes float64, known bool) {
	match := memoryForm.FindStringSubmatch(strings.ToLower(word))
	if match == nil {
		return 0, false
	}
	unit, known := memoryUnits[match[2]]
	number, err := strconv.ParseFloat(match[1], 64)
	return number * unit, known && err == nil
}

// render writes settings as the server reads them (sdssplitargs in its source): every word in double
// quotes, with backslashes for what would end them.
func render(settings map[string]string) string {
	var out strings.Builder
	out.WriteString("# Made by the operator from spec.engineConfig and spec.resources. Changes here are overwritten.\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		// What cannot be split was refused before; whole it is one word, which the server refuses.
		words, err := splitWords(settings[name])
		if err != nil {
			words = []string{settings[name]}
		}
		out.WriteString(name + renderWords(words) + "\n")
	}
	return out.String()
}

func renderWords(words []string) string {
	var out strings.Builder
	for _, word := range words {
		out.WriteString(" " + quote(word))
	}
	return out.String()
}

func quote(word string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(word) {
		switch c := word[i]; {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&out, `\x%02x`, c)
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

var errQuotes = errors.New("unbalanced quotes")

// splitWords splits a value as the server would split its line. Nothing at all is one empty word.
func splitWords(value string) ([]string, error) {
	var words []string
	rest := strings.TrimLeft(value, " ")
	for rest != "" {
		word, after, err := nextWord(rest)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		rest = strings.TrimLeft(after, " ")
	}
	if len(words) == 0 {
		return []string{""}, nil
	}
	return words, nil
}

// nextWord takes the first word, which may be in quotes, or have quotes in it.
func nextWord(text string) (word, rest string, err error) {
	var out strings.Builder
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ':
			return out.String(), text[i:], nil
		case '"', '\'':
			length, err := quoted(text[i:], &out)
			if err != nil {
				return "", "", err
			}
			i += length
			// The closing quote ends the word, or it is no quote.
			if i < len(text) && text[i] != ' ' {
				return "", "", errQuotes
			}
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String(), "", nil
}

// escapes are those of double quotes.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'a': '\a'}

// quoted takes what is in quotes, and returns the length of it with them.
func quoted(text string, out *strings.Builder) (int, error) {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote:
			return i + 1, nil
		case c == '\\' && quote == '\'' && i+1 < len(text) && text[i+1] == '\'':
			out.WriteByte('\'')
			i++
		case c == '\\' && quote == '"' && i+1 < len(text):
			i += escaped(text[i+1:], out)
		default:
			out.WriteByte(c)
		}
	}
	return 0, errQuotes
}

// escaped takes what is behind a backslash, and returns its length.
func escaped(text string, out *strings.Builder) int {
	if len(text) >= 3 && text[0] == 'x' {
		if code, err := strconv.ParseUint(text[1:3], 16, 8); err == nil {
			out.WriteByte(byte(code))
			return 3
		}
	}
	if code, ok := escapes[text[0]]; ok {
		out.WriteByte(code)
	} else {
		out.WriteByte(text[0])
	}
	return 1
}
