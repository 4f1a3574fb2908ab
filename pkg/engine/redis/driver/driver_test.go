package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]version{
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0\n": {7, 0},
		"Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64 build=1\n":                         {6, 2},
		"Valkey server v=8.1.3 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1\n":               {8, 1},
	} {
		if got, err := parseVersion(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Redis server", "Redis server v=7", "Redis server v=x.y.z"} {
		if got, err := parseVersion(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	for v, want := range map[version]bool{{6, 2}: false, {7, 0}: true, {7, 2}: true, {8, 0}: true} {
		if got := v.atLeast(7, 0); got != want {
			t.Errorf("%v is at least 7.0: %v", v, got)
		}
	}
}

func TestInspect(t *testing.T) {
	const id = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const snapshot, increment = "file appendonly.aof.1.base.rdb seq 1 type b", "file appendonly.aof.1.incr.aof seq 1 type i"
	database := func(files ...string) []string { return append([]string{"redis/identity=" + id + "\n"}, files...) }
	list := func(lines ...string) string {
		return "redis/appendonlydir/appendonly.aof.manifest=" + strings.Join(lines, "\n") + "\n"
	}
	const full = "redis/appendonlydir/appendonly.aof.1.base.rdb=REDIS0011"
	for name, c := range map[string]struct {
		server version
		files  []string
		state  agent.VolumeState
		says   string
	}{
		"nothing":                         {version{7, 0}, nil, agent.VolumeEmpty, ""},
		"an empty folder":                 {version{7, 0}, []string{"redis/"}, agent.VolumeEmpty, ""},
		"what a volume has of its own":    {version{7, 0}, []string{"lost+found/", "agent/state.json="}, agent.VolumeEmpty, ""},
		"an interrupted bootstrap":        {version{7, 0}, []string{"redis.new/identity=" + id, "redis.new/appendonlydir/"}, agent.VolumeEmpty, ""},
		"a whole database":                {version{7, 0}, database(list(snapshot, increment), full), agent.VolumeReady, ""},
		"one that is rewritten":           {version{8, 0}, database(list(snapshot, "file appendonly.aof.0.incr.aof seq 1 type h", increment+" startoffset 5"), full), agent.VolumeReady, ""},
		"increments alone":                {version{7, 0}, database(list(increment)), agent.VolumeReady, ""},
		"commands, and none yet":          {version{7, 0}, database(list("file appendonly.aof seq 1 type b"), "redis/appendonlydir/appendonly.aof="), agent.VolumeReady, ""},
		"one of version 6":                {version{6, 2}, database("redis/appendonly.aof="), agent.VolumeReady, ""},
		"one of version 6, to take over":  {version{7, 0}, database("redis/appendonly.aof=", "redis/appendonlydir/"), agent.VolumeReady, ""},
		"data without identity":           {version{7, 0}, []string{list(snapshot), full}, agent.VolumeUnusable, "no identity"},
		"an identity that is cut short":   {version{7, 0}, []string{"redis/identity=ABC", list(snapshot), full}, agent.VolumeUnusable, "no identity"},
		"an identity alone":               {version{7, 0}, database("redis/dump.rdb="), agent.VolumeUnusable, "lost its append-only file"},
		"no manifest":                     {version{7, 0}, database(full), agent.VolumeUnusable, "appendonly.aof.manifest"},
		"an empty manifest":               {version{7, 0}, database(list(""), full), agent.VolumeUnusable, "appendonly.aof.manifest"},
		"a manifest of history":           {version{7, 0}, database(list("file appendonly.aof.1.base.rdb seq 1 type h"), full), agent.VolumeUnusable, "appendonly.aof.manifest"},
		"a snapshot without anything":     {version{7, 0}, database(list(snapshot, increment), "redis/appendonlydir/appendonly.aof.1.base.rdb="), agent.VolumeUnusable, "appendonly.aof.1.base.rdb"},
		"a snapshot that is gone":         {version{7, 0}, database(list(snapshot, increment)), agent.VolumeUnusable, "appendonly.aof.1.base.rdb"},
		"what version 6 does not look at": {version{6, 2}, database(list(snapshot), full), agent.VolumeUnusable, "lost its append-only file (appendonly.aof "},
		"a snapshot of somebody":          {version{7, 0}, []string{"dump.rdb="}, agent.VolumeUnusable, "another Redis"},
		"a log of somebody":               {version{7, 0}, []string{"appendonlydir/"}, agent.VolumeUnusable, "another Redis"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range c.files {
				path, content, isFile := strings.Cut(file, "=")
				if !isFile {
					must(t, os.MkdirAll(filepath.Join(dir, path), 0o700))
					continue
				}
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600))
			}
			volume, err := New(Options{VolumeDir: dir, RunDir: dir}).inspect(is(c.server))
			must(t, err)
			if volume.State != c.state || !strings.Contains(volume.Message, c.says) {
				t.Errorf("it is %+v", volume)
			}
			if want := map[bool]string{true: id}[c.state == agent.VolumeReady]; volume.SystemID != want {
				t.Errorf("its identity is %q, want %q", volume.SystemID, want)
			}
		})
	}
}

func is(v version) func() (version, error) { return func() (version, error) { return v, nil } }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The numbers are compared as numbers, and the newest one stays.
func TestDataIsForTheNewestVersionThatWroteIt(t *testing.T) {
	d := New(Options{VolumeDir: t.TempDir()})
	must(t, os.MkdirAll(filepath.Join(d.dataDir(), appendDir), 0o700))
	for name, content := range map[string]string{
		fileIdentity: strings.Repeat("A", 26), appendFile: "", appendDir + "/" + appendManifest: "file appendonly.aof.1.incr.aof seq 1 type i\n",
	} {
		must(t, os.WriteFile(filepath.Join(d.dataDir(), name), []byte(content), 0o600))
	}
	inspect := func(v version) agent.Volume {
		t.Helper()
		volume, err := d.inspect(is(v))
		must(t, err)
		return volume
	}
	for _, v := range []version{{6, 2}, {7, 2}, {7, 10}, {7, 2}} {
		must(t, noteVersion(d.dataDir(), v))
	}
	for v, ready := range map[version]bool{{6, 2}: false, {7, 2}: false, {7, 9}: false, {7, 10}: true, {7, 11}: true, {8, 0}: true} {
		volume := inspect(v)
		switch {
		case ready && volume.State != agent.VolumeReady:
			t.Errorf("for version %s it is %+v", v, volume)
		case !ready && (volume.State != agent.VolumeUnusable || volume.Reason != agent.ReasonVersionMismatch || !strings.Contains(volume.Message, "written by Redis 7.10, and the image has Redis "+v.String())):
			t.Errorf("for version %s it is %+v", v, volume)
		}
	}
	must(t, os.WriteFile(filepath.Join(d.dataDir(), fileVersion), []byte("seven"), 0o600))
	if volume, err := d.inspect(is(version{8, 0})); err == nil {
		t.Errorf("a version that cannot be read: %+v", volume)
	}
}

func TestAServerThatIsBusyIsNotSilent(t *testing.T) {
	for text, want := range map[string]bool{
		"LOADING Redis is loading the dataset in memory":                                         true,
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": true,
		"failed to initialize the connection: LOADING Redis is loading the dataset in memory":    true,
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":       true,
		"ERR max number of clients reached":                                                      true,
		"BUSYGROUP Consumer Group name already exists":                                           false,
		"dial unix /run/database/redis.sock: connect: connection refused":                        false,
	} {
		if got := errors.Is(probeError(errors.New(text)), agent.ErrAlive); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestDataHasWhatTheContainerHas(t *testing.T) {
	for limit, want := range map[int64]int64{64 << 20: 16 << 20, 128 << 20: 80 << 20, 256 << 20: 187904780, 100 << 30: 75161927680, 0: 0} {
		if got := maxmemory("timeout \"0\"\n", limit); got != want {
			t.Errorf("with %d, it is %d, want %d", limit, got, want)
		}
	}
	const limit = 256 << 20
	for said, want := range map[string]int64{
		"1": 0, "200000000": 0, "268435456": 0,
		// The next pod has it, and this one has not.
		"268435457": 187904780, "4294967296": 187904780, "99999999999999999999": 187904780,
	} {
		if got := maxmemory("databases \"16\"\nmaxmemory \""+said+"\"\nmaxmemory-policy \"noeviction\"\n", limit); got != want {
			t.Errorf("where %s is configured, it is %d, want %d", said, got, want)
		}
	}
}

func TestVersion6IsNotToldWhatItDoesNotKnow(t *testing.T) {
	if args := stopArgs(version{6, 2}); len(args) > 0 {
		t.Errorf("it would not start with %v", args)
	}
}

func TestAServerThatRefusesWritesIsInTrouble(t *testing.T) {
	const full = "maxmemory:1000\r\nused_memory:1090\r\nmem_not_counted_for_evict:100\r\nmaxmemory_policy:"
	for text, want := range map[string]string{
		"aof_last_write_status:ok\r\nrdb_last_bgsave_status:ok\r\n":  "",
		"aof_last_write_status:err\r\nrdb_last_bgsave_status:ok\r\n": "append-only file",
		"aof_last_write_status:ok\r\nrdb_last_bgsave_status:err\r\n": "snapshot",
		full + "noeviction\r\n":  "raise spec.resources.limits.memory",
		full + "allkeys-lru\r\n": "",
		"maxmemory:1000\r\nused_memory:1080\r\nmem_not_counted_for_evict:100\r\nmaxmemory_policy:noeviction\r\n": "",
		"maxmemory:0\r\nused_memory:1080\r\nmaxmemory_policy:noeviction\r\n":                                     "",
	} {
		if got := trouble(parseInfo(text)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestUsedMemoryIsToldInSteps(t *testing.T) {
	d := New(Options{})
	for _, c := range []struct{ used, want string }{{"1000", "1000"}, {"1050", "1000"}, {"1051", "1051"}, {"1001", "1051"}, {"1000", "1000"}} {
		if got := d.usedMemory(map[string]string{"maxmemory": "1000", "used_memory": c.used}); strconv.FormatInt(got, 10) != c.want {
			t.Errorf("of %s, %d is told, want %s", c.used, got, c.want)
		}
	}
}

func TestTheServersListOfAccounts(t *testing.T) {
	d := New(Options{VolumeDir: t.TempDir(), RunDir: t.TempDir()})
	d.version = version{7, 0}
	must(t, d.changeAccounts(func([]account) []account {
		return []account{{Username: "app", Roles: []string{roleApplication}, Hashes: []string{hash("one"), hash("two")}}}
	}))
	must(t, d.writeACLFile())
	content, err := os.ReadFile(d.aclFile())
	must(t, err)
	want := "user default reset off ~* &* +@all\n" +
		"user operator reset on #" + hash(d.password) + " ~* &* +@all\n" +
		"user app reset on #7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed #3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3 " +
		"~* &* +@all -@admin -@dangerous +info +role +keys +sort +flushdb +flushall +swapdb +sort_ro\n"
	if diff := cmp.Diff(want, string(content)); diff != "" {
		t.Error(diff)
	}
	for _, file := range []string{d.aclFile(), d.accountsFile()} {
		content, err := os.ReadFile(file)
		must(t, err)
		if strings.Contains(string(content), d.password) || strings.Contains(string(content), "one") {
			t.Errorf("a password is in %s", file)
		}
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s is open to others: %v", file, info.Mode())
		}
	}
	rules := account{}.rules(version{6, 2})
	if slices.Contains(rules, "+sort_ro") {
		t.Error("version 6.2 does not know sort_ro")
	}
	if !slices.Contains(rules, "+client|setname") || slices.Contains(rules, "+client") {
		t.Errorf("in version 6.2 a client names its own connection, and ends no others: %v", rules)
	}
}

func TestAccountsThatMustNotBe(t *testing.T) {
	application := func(name string) agent.Account {
		return agent.Account{InstanceAccount: dbv1.InstanceAccount{Username: name, Roles: []string{roleApplication}}, Password: "p"}
	}
	for name, c := range map[string]struct {
		account agent.Account
		want    string
	}{
		"the agent's":   {application("operator"), "agent's own"},
		"the nameless":  {application("default"), "is off"},
		"two words":     {application("app ~*"), "letters"},
		"a line":        {application("app\nuser x on nopass"), "letters"},
		"another role":  {agent.Account{InstanceAccount: dbv1.InstanceAccount{Username: "x", Roles: []string{"superuser"}}, Password: "p"}, "not for superuser"},
		"no password":   {agent.Account{InstanceAccount: dbv1.InstanceAccount{Username: "x", Roles: []string{roleApplication}}}, "no password"},
		"one that goes": {agent.Account{InstanceAccount: dbv1.InstanceAccount{Username: "operator", State: dbv1.AccountAbsent}}, "agent's own"},
	} {
		if err := checkAccount(c.account); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkAccount(application("app-1_x")); err != nil {
		t.Error(err)
	}
}

func TestReloadSetsWhatDiffersAndNothingWhenItIsRefused(t *testing.T) {
	wanted := map[string]string{"a": "1", "b": "2", "new-name": "5", "old-name": "5", "fixed": "9", "same": "0", "unknown": "1"}
	running := map[string]string{"a": "0", "b": "0", "new-name": "4", "old-name": "4", "fixed": "8", "same": "0"}
	failed := func(name, words string) error {
		return fmt.Errorf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, words)
	}
	has := func(changes []change, name string) bool {
		return slices.ContainsFunc(changes, func(c change) bool { return c.name == name })
	}
	for name, c := range map[string]struct {
		refuse  string
		pending []string
		setting string
		broken  bool
	}{
		"all is well":     {"", []string{"fixed"}, "", false},
		"one is refused":  {"b", nil, "b", false},
		"it does not say": {"?", nil, "", true},
	} {
		var applied []string
		pending, err := reload(wanted, running, func(changes []change) error {
			switch {
			case has(changes, "unknown"), has(changes, "same"):
				t.Errorf("%s: set %s", name, names(changes))
			case has(changes, "fixed"):
				return failed("fixed", "can't set immutable config")
			case has(changes, "new-name") && has(changes, "old-name"):
				return failed("old-name", "duplicate parameter")
			case c.refuse == "?":
				return errors.New("LOADING Redis is loading the dataset in memory")
			case has(changes, c.refuse):
				return failed(c.refuse, "argument must be a memory value")
			}
			applied = strings.Split(names(changes), ", ")
			return nil
		})
		refusal, refused := errors.AsType[*agent.Refusal](err)
		switch {
		case c.broken && (err == nil || refused):
			t.Errorf("%s: %v", name, err)
		case c.setting != "" && (!refused || refusal.Setting != c.setting || refusal.Words != "argument must be a memory value"):
			t.Errorf("%s: %v", name, err)
		case c.setting == "" && !c.broken && err != nil:
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(pending, c.pending) {
			t.Errorf("%s: pending %v, want %v", name, pending, c.pending)
		}
		if want := []string{"a", "b", "new-name"}; (err == nil) != slices.Equal(applied, want) {
			t.Errorf("%s: applied %v", name, applied)
		}
	}
}

func TestParseSetErrorOfVersion6(t *testing.T) {
	name, words, refused := parseSetError(&setError{name: "databases", words: "ERR Unsupported CONFIG parameter: databases"})
	if name != "databases" || !refused || !immutable.MatchString(words) {
		t.Errorf("%q, %q, %v", name, words, refused)
	}
}

func TestParseRefusal(t *testing.T) {
	const output = "1:C 26 Nov 2026 05:40:04.909 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo\n" +
		"\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 12\n" +
		">>> 'maxmemory \"it's\"'\nargument must be a memory value\n"
	want := &agent.Refusal{Setting: "maxmemory", Words: "argument must be a memory value"}
	if diff := cmp.Diff(want, parseRefusal(output)); diff != "" {
		t.Error(diff)
	}
	const modules = "30330:M 26 Nov 2026 06:06:45.661 # Unresolved Configuration(s) Detected:\n30330:M 26 Nov 2026 06:06:45.661 # >>> 'no-such-setting 1'\n" +
		"30330:M 26 Nov 2026 06:06:45.661 # Module Configuration detected without loadmodule directive or no ApplyConfig call: aborting\n"
	if got := parseRefusal(modules); got == nil || got.Setting != "no-such-setting" {
		t.Errorf("a setting of no module: %v", got)
	}
	if got := parseRefusal("1:M 26 Nov 2026 05:40:04.909 # Failed listening on port 6379 (TCP), aborting.\n"); got != nil {
		t.Errorf("it is no refusal of a setting: %v", got)
	}
}
