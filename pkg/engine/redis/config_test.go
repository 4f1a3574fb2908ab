package redis

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/apis/database/v1/validation"
)

func database7(change ...func(*dbv1.Database)) *dbv1.Database {
	db := &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: "cache", Namespace: "prod"},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.Redis, Version: "7.0",
			Storage:   &dbv1.StorageSpec{Size: new(resource.MustParse("1Gi"))},
			Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1000Mi")}},
		},
	}
	for _, c := range change {
		c(db)
	}
	return db
}

func config(pairs ...string) func(*dbv1.Database) {
	return func(db *dbv1.Database) {
		db.Spec.EngineConfig = map[string]dbv1.ConfigValue{}
		for i := 0; i < len(pairs); i += 2 {
			db.Spec.EngineConfig[pairs[i]] = dbv1.ConfigValue(pairs[i+1])
		}
	}
}

// lines are those of the rendered file, without the comment.
func lines(db *dbv1.Database) []string {
	return strings.Split(strings.TrimSpace(files(db)[fileConf]), "\n")[1:]
}

func setting(db *dbv1.Database, name string) string {
	found := ""
	for _, line := range lines(db) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if found != "" {
				return "twice"
			}
			found = value
		}
	}
	return found
}

func TestSettingsFollowFromTheVersion(t *testing.T) {
	for _, c := range []struct {
		version, name, want string
	}{
		{"7.0", "maxmemory", ""},
		{"7.0", "appendonly", `"yes"`},
		{"7.0", "appendfsync", `"everysec"`},
		{"7.0", "save", `""`},
		{"7.0", "aof-timestamp-enabled", `"yes"`},
		{"8", "aof-timestamp-enabled", `"yes"`},
		{"6.2", "aof-timestamp-enabled", ""},
		{"6", "aof-timestamp-enabled", ""},
	} {
		if got := setting(database7(func(db *dbv1.Database) { db.Spec.Version = c.version }), c.name); got != c.want {
			t.Errorf("version %s: %s is %s, want %s", c.version, c.name, got, c.want)
		}
	}
}

// The agent compares it with what the container has.
func TestMaxmemoryIsWrittenInBytes(t *testing.T) {
	for value, want := range map[string]string{"100mb": `"104857600"`, `"1GB"`: `"1073741824"`, "5": `"5"`, "99999999gb": `"107374181326258176"`, "much": `"much"`, "1gb 2": `"1gb" "2"`} {
		if got := setting(database7(config("MaxMemory", value)), "maxmemory"); got != want {
			t.Errorf("%s is written as %s, want %s", value, got, want)
		}
	}
}

func TestTheUsersSettingsWinAsWordsOfTheFile(t *testing.T) {
	for value, want := range map[string]string{
		"always":                  `"always"`,
		"":                        `""`,
		"  ":                      `""`,
		"3600 1  300 100":         `"3600" "1" "300" "100"`,
		`"a b" 'c d'`:             `"a b" "c d"`,
		`'it\'s' "say \"hi\""`:    `"it's" "say \"hi\""`,
		`"\x41\n\\"`:              `"A\x0a\\"`,
		`a\b`:                     `"a\\b"`,
		`"x" # include /etc/evil`: `"x" "#" "include" "/etc/evil"`,
		"Größe":                   `"Größe"`,
	} {
		if got := setting(database7(config("AppendFsync", value)), "appendfsync"); got != want {
			t.Errorf("%q is rendered as %s, want %s", value, got, want)
		}
	}
}

// Whatever a value is, the file keeps one line for each setting.
func FuzzAValueStaysOnItsLine(f *testing.F) {
	for _, seed := range []string{"a", `"a`, `\`, "a\nport 1", `"\n"`, `'\'`, `"a"b`, `""""`} {
		f.Add(seed)
	}
	plain := len(lines(database7(config("timeout", "1"))))
	f.Fuzz(func(t *testing.T, value string) {
		db := database7(config("timeout", value))
		if got := len(lines(db)); got != plain {
			t.Errorf("%q makes %d lines of %d", value, got, plain)
		}
		words, err := splitWords(value)
		if err != nil {
			return
		}
		again, err := splitWords(strings.TrimPrefix(renderWords(words), " "))
		if err != nil || !slices.Equal(words, again) {
			t.Errorf("%q is %q, and read again %q (%v)", value, words, again, err)
		}
	})
}

// refusals are what is wrong with settings.
func refusals(pairs ...string) field.ErrorList {
	return slices.DeleteFunc(validation.ValidateDatabase(database7(config(pairs...)), validation.Context{Engine: Engine{}}), func(err *field.Error) bool {
		return !strings.HasPrefix(err.Field, "spec.engineConfig")
	})
}

func TestTheOperatorsSettingsCannotBeSet(t *testing.T) {
	for _, name := range append(
		slices.Collect(maps.Keys(owned)),
		"port", "Bind", "dir", "unixsocket", "unixsocketperm", "aclfile", "user", "requirepass", "masterauth", "masteruser", "replicaof", "slaveof",
		"replica-announce-ip", "cluster-enabled", "tls-port", "daemonize", "supervised", "pidfile", "logfile", "syslog-enabled", "log-format", "log-timestamp-format", "include",
		"rename-command", "appendonly", "appendfilename", "appenddirname", "dbfilename", "min-replicas-to-write", "enable-debug-command", "loadmodule",
	) {
		errs := refusals(name, "x")
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "spec.engineConfig["+name+"]") || !strings.Contains(errs[0].Error(), "the operator owns") {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestIllegalSettingsAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"a line break":        {[]string{"timeout", "1\nport 1"}, "one line"},
		"a name with a space": {[]string{"max memory", "4mb"}, "spec.engineConfig[max memory]"},
		"a module's name":     {[]string{"search.timeout", "1"}, "not a setting's name"},
		"one name twice":      {[]string{"timeout", "1", "Timeout", "2"}, "keep one of them"},
		"an open quote":       {[]string{"proc-title-template", `"{title}`}, "unbalanced quotes"},
		"a quote in a word":   {[]string{"proc-title-template", `"a"b`}, "unbalanced quotes"},
		"too many databases":  {[]string{"databases", "2000000000"}, "at most 16384"},
		"too many clients":    {[]string{"maxclients", "4000000000"}, "at most 1048576"},
		"no messages":         {[]string{"loglevel", "Nothing"}, "set it to warning"},
		"too few clients":     {[]string{"MaxClients", "31"}, "at least 32"},
		"no client at all":    {[]string{"maxclients", "0"}, "at least 32"},
		"no limit":            {[]string{"maxmemory", "0"}, "the limit is 1000Mi"},
		"more than there is":  {[]string{"MaxMemory", "1gb"}, "the limit is 1000Mi"},
		"more than there can": {[]string{"maxmemory", "99999999999gb"}, "the limit is 1000Mi"},
	} {
		errs := refusals(c.pairs...)
		if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, errs, c.want)
		}
	}
	legal := []string{"loglevel", "warning", "maxmemory-policy", "allkeys-lru", "databases", "32", "maxclients", "32", "save", "3600 1", "client-output-buffer-limit", "pubsub 32mb 8mb 60", "maxmemory", "999MB"}
	if errs := refusals(legal...); len(errs) != 0 {
		t.Errorf("legal settings: %v", errs)
	}
}
