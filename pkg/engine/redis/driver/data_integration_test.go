//go:build integration

package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestANewDatabaseIsWholeOrNotThere(t *testing.T) {
	i := newInstance(t)
	inspect := func() agent.Volume {
		volume, err := i.Inspect(t.Context())
		i.must(err)
		return volume
	}
	if v := inspect(); v.State != agent.VolumeEmpty {
		t.Fatalf("an empty volume is %+v", v)
	}
	// What an agent left that was killed in the middle of it.
	i.must(os.MkdirAll(filepath.Join(i.newDir(), appendDir, "half"), 0o700))
	if v := inspect(); v.State != agent.VolumeEmpty {
		t.Fatalf("an unfinished one is %+v", v)
	}
	i.must(i.Bootstrap(t.Context()))
	made := inspect()
	if made.State != agent.VolumeReady || made.SystemID == "" {
		t.Fatalf("a new one is %+v", made)
	}
	if _, err := os.Stat(filepath.Join(i.dataDir(), appendDir, "half")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the unfinished one was taken over")
	}
	if err := i.Bootstrap(t.Context()); err == nil {
		t.Error("a second database was made over the first")
	}
	i.start()
	if v := inspect(); v != made {
		t.Errorf("while it runs it is %+v, before %+v", v, made)
	}
	i.must(i.stop(agent.StopFast))
	// Without its list, the server would begin empty, and write over what is there.
	for _, lost := range []string{filepath.Join(appendDir, appendManifest), appendDir} {
		i.must(os.RemoveAll(filepath.Join(i.dataDir(), lost)))
		if v := inspect(); v.State != agent.VolumeUnusable {
			t.Errorf("without %s it is %+v", lost, v)
		}
	}
}

func TestTheVersionIsNotedBeforeTheServerWrites(t *testing.T) {
	i := newInstance(t)
	noted := func() version {
		v, err := readVersion(i.dataDir())
		i.must(err)
		return v
	}
	i.must(i.Bootstrap(t.Context()))
	_, server, err := i.server(t.Context())
	i.must(err)
	if noted() != server {
		t.Errorf("a new database is of version %s, want %s", noted(), server)
	}
	file := filepath.Join(i.dataDir(), fileVersion)
	i.must(os.WriteFile(file, []byte("6.2\n"), 0o600))
	i.engine, err = i.Start(t.Context(), i.path("config"))
	i.must(err)
	if noted() != server {
		t.Errorf("when a newer server was started, it is %s, want %s", noted(), server)
	}
	i.kill()
	i.must(os.WriteFile(file, []byte("99.0\n"), 0o600))
	volume, err := i.Inspect(t.Context())
	i.must(err)
	if volume.Reason != agent.ReasonVersionMismatch {
		t.Errorf("data of a newer version is %+v", volume)
	}
}

func TestProbeReportsRoleAndVersion(t *testing.T) {
	i := newInstance(t).provision()
	report, err := i.Probe(t.Context())
	i.must(err)
	if report.Role != dbv1.RolePrimary || !strings.HasPrefix(report.ServerVersion, fmt.Sprintf("%d.%d.", i.version.major, i.version.minor)) {
		t.Errorf("%+v", report)
	}
	if used := report.Engine.Redis.UsedMemoryBytes; used < 1<<18 || used > 100<<20 {
		t.Errorf("it uses %d bytes", used)
	}
	i.must(i.stop(agent.StopFast))
	if _, err := i.Probe(t.Context()); err == nil {
		t.Error("a server that is down answers")
	}
}

func TestProbeTellsThatWritesAreRefused(t *testing.T) {
	i := newInstance(t).provision()
	trouble := func() string {
		report, err := i.Probe(t.Context())
		i.must(err)
		return report.Trouble
	}
	if got := trouble(); got != "" {
		t.Errorf("without trouble: %s", got)
	}
	i.must(i.client.ConfigSet(t.Context(), "maxmemory", "100kb").Err())
	client := i.connect("app", "secret")
	if err := client.Set(t.Context(), "a", "x", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Errorf("with too little memory: %v", err)
	}
	if got := trouble(); !strings.Contains(got, "maxmemory") {
		t.Errorf("with too little memory: %q", got)
	}
	i.must(i.client.ConfigSet(t.Context(), "maxmemory", "100mb").Err())
	// It cannot be replaced.
	i.must(os.MkdirAll(filepath.Join(i.dataDir(), "dump.rdb"), 0o700))
	i.must(i.client.BgSave(t.Context()).Err())
	for begin := time.Now(); !strings.Contains(trouble(), "snapshot"); time.Sleep(trialPoll) {
		if time.Since(begin) > limit {
			t.Fatalf("after a snapshot that failed: %q", trouble())
		}
	}
}

// write writes keys one by one, and returns how many were acknowledged before the client failed.
func (i *instance) write(from, to int) int {
	client := i.connect("app", "secret")
	for n := from; n < to; n++ {
		if err := client.Set(i.Context(), fmt.Sprintf("key-%d", n), n, 0).Err(); err != nil {
			return n - from
		}
	}
	return to - from
}

func (i *instance) hasKeys(count int) {
	i.Helper()
	client := i.connect("app", "secret")
	for n := range count {
		if got, err := client.Get(i.Context(), fmt.Sprintf("key-%d", n)).Int(); err != nil || got != n {
			i.Fatalf("key %d of %d: %d, %v", n, count, got, err)
		}
	}
}

func TestNothingThatWasAcknowledgedIsLostWhenTheServerIsKilled(t *testing.T) {
	// With everysec it acknowledges before it writes, while a sync takes long.
	i := newInstance(t, "appendfsync always").provision()
	acknowledged := 0
	for range 3 {
		engine := i.engine
		time.AfterFunc(200*time.Millisecond, func() { engine.Stop(agent.StopKill) })
		written := i.write(acknowledged, 1<<20)
		if written == 0 {
			t.Fatal("nothing was written")
		}
		acknowledged += written
		if err := i.stop(agent.StopKill); err == nil {
			t.Error("it was not killed")
		}
		i.start()
		i.hasKeys(acknowledged)
	}
}

// They are in the file as transactions, which the server replays with the rights of its account without a name.
func TestTransactionsAndScriptsAreThereAfterAKill(t *testing.T) {
	i := newInstance(t, "appendfsync always").provision()
	client := i.connect("app", "secret")
	_, err := client.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Set(t.Context(), "one", "1", 0)
		p.Set(t.Context(), "two", "2", 0)
		return nil
	})
	i.must(err)
	i.must(client.Eval(t.Context(), "for i = 1, 100 do redis.call('rpush', KEYS[1], i) end return 1", []string{"list"}).Err())
	i.must(client.FunctionLoad(t.Context(), "#!lua name=lib\nredis.register_function('both', function(keys) redis.call('set', keys[1], '3') redis.call('set', keys[2], '4') return 1 end)").Err())
	i.must(client.Do(t.Context(), "fcall", "both", 2, "three", "four").Err())
	i.kill()
	i.start()
	client = i.connect("app", "secret")
	for key, want := range map[string]string{"one": "1", "two": "2", "three": "3", "four": "4"} {
		if got, err := client.Get(t.Context(), key).Result(); err != nil || got != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if got, err := client.LLen(t.Context(), "list").Result(); err != nil || got != 100 {
		t.Errorf("%d elements, %v", got, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.log {
		if e.Level == agent.LogError {
			t.Errorf("the server says: %s", e.Message)
		}
	}
}

func TestStopAndStart(t *testing.T) {
	for name, settings := range map[string][]string{"with the log alone": nil, "with snapshots, too": {"save 3600 1"}} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t, settings...).provision()
			i.write(0, 100)
			i.must(i.PrepareStop(t.Context()))
			if err := i.stop(agent.StopFast); err != nil {
				t.Errorf("it ended with %v", err)
			}
			i.newAgent()
			i.start()
			i.hasKeys(100)
		})
	}
}

// A server that must write a snapshot when it stops, and cannot, goes on.
func TestAStopDoesNotWaitForASnapshot(t *testing.T) {
	i := newInstance(t, "save 3600 1").provision()
	i.write(0, 100)
	i.must(os.Mkdir(filepath.Join(i.dataDir(), "dump.rdb"), 0o700))
	if err := i.stop(agent.StopFast); err != nil {
		t.Errorf("it ended with %v", err)
	}
	i.start()
	i.hasKeys(100)
	if pending, err := i.Reload(t.Context()); err != nil || len(pending) > 0 {
		t.Errorf("pending %v, %v", pending, err)
	}
	if got := i.setting("shutdown-on-sigterm"); got != "nosave force" {
		t.Errorf("after a reload it stops with %q", got)
	}
}

func TestAServerThatLoadsIsNotReadyAndNotDead(t *testing.T) {
	i := newInstance(t).provision()
	i.write(0, 400)
	// It answers while it reads the part of the file that is a snapshot.
	i.must(i.client.BgRewriteAOF(t.Context()).Err())
	for begin := time.Now(); !strings.Contains(i.client.Info(t.Context(), "persistence").Val(), "aof_rewrite_in_progress:0"); time.Sleep(trialPoll) {
		if time.Since(begin) > limit {
			t.Fatal("the file is not rewritten")
		}
	}
	i.must(i.stop(agent.StopFast))
	// Settings for tests of Redis: it waits 5 ms for each key, and answers after each 1024 bytes.
	i.configure("key-load-delay 5000", "loading-process-events-interval-bytes 1024")
	engine, err := i.Start(t.Context(), i.path("config"))
	i.must(err)
	i.engine = engine
	loading := false
	for begin := time.Now(); time.Since(begin) < limit; time.Sleep(trialPoll) {
		_, err := i.Probe(t.Context())
		loading = loading || errors.Is(err, agent.ErrAlive) && strings.Contains(err.Error(), "loads its data")
		if err == nil {
			break
		}
	}
	if !loading {
		t.Error("it was not seen to load")
	}
	i.hasKeys(400)
}

func TestAServerThatRunsAScriptIsNotReadyAndNotSilent(t *testing.T) {
	i := newInstance(t, "lua-time-limit 10").provision()
	client := i.connect("app", "secret")
	ended := make(chan error, 1)
	go func() { ended <- client.Eval(t.Context(), "while true do end", nil).Err() }()
	busy := false
	for begin := time.Now(); !busy && time.Since(begin) < limit; time.Sleep(trialPoll) {
		_, err := i.Probe(t.Context())
		busy = errors.Is(err, agent.ErrAlive)
	}
	if !busy {
		t.Error("it was not seen to be busy")
	}
	// One that connects now hears the same.
	stranger := i.newClient(i.socket())
	defer func() { _ = stranger.Close() }()
	if err := stranger.Info(t.Context()).Err(); err == nil || !errors.Is(probeError(err), agent.ErrAlive) {
		t.Errorf("a new connection: %v", err)
	}
	i.must(i.client.ScriptKill(t.Context()).Err())
	if err := <-ended; err == nil {
		t.Error("the script ended by itself")
	}
	_, err := i.Probe(t.Context())
	i.must(err)
}

func TestAFileThatIsCutShortIsReadAndADamagedOneIsNot(t *testing.T) {
	i := newInstance(t).provision()
	i.write(0, 10)
	i.must(i.stop(agent.StopFast))
	files, err := filepath.Glob(filepath.Join(i.dataDir(), appendDir, "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	i.must(err)
	i.must(os.WriteFile(files[0], content[:len(content)-3], 0o600))
	i.start()
	i.hasKeys(9)
	i.must(i.stop(agent.StopFast))

	content = append([]byte("nonsense\r\n"), content...)
	i.must(os.WriteFile(files[0], content, 0o600))
	i.engine, err = i.Start(t.Context(), i.path("config"))
	i.must(err)
	select {
	case <-i.engine.Done():
	case <-time.After(limit):
		t.Fatal("it runs")
	}
	if err := i.engine.Err(); err == nil || !strings.Contains(err.Error(), "Bad file format") {
		t.Errorf("its last words are %v", err)
	}
	left, err := os.ReadFile(files[0])
	if err != nil || string(left) != string(content) {
		t.Error("the damaged file was changed")
	}
}

func TestAnUnreadableManifestIsTheReasonOfTheEnd(t *testing.T) {
	i := newInstance(t).provision()
	i.must(i.stop(agent.StopFast))
	i.must(os.WriteFile(filepath.Join(i.dataDir(), appendDir, appendManifest), []byte("nonsense\n"), 0o600))
	var err error
	i.engine, err = i.Start(t.Context(), i.path("config"))
	i.must(err)
	select {
	case <-i.engine.Done():
	case <-time.After(limit):
		t.Fatal("it runs")
	}
	if err := i.engine.Err(); err == nil || !strings.Contains(err.Error(), "nonsense") || !strings.Contains(err.Error(), "Invalid AOF manifest file format") {
		t.Errorf("its last words are %v", err)
	}
}

func TestWhatAKilledServerDidNotCompleteIsRemoved(t *testing.T) {
	i := newInstance(t).provision()
	i.kill()
	for _, name := range []string{"temp-17.rdb", "temp-rewriteaof-bg-17.aof", "dump.rdb", "temp-notes.txt"} {
		i.must(os.WriteFile(filepath.Join(i.dataDir(), name), nil, 0o600))
	}
	i.start()
	for name, stays := range map[string]bool{"temp-17.rdb": false, "temp-rewriteaof-bg-17.aof": false, "dump.rdb": true, "temp-notes.txt": true} {
		if _, err := os.Stat(filepath.Join(i.dataDir(), name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
