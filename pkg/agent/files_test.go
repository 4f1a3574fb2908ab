package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestStateSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	store, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	state := State{
		DataID: "id", PodUID: "uid", EngineStarts: 3, Spec: &dbv1.DatabaseInstanceSpec{SystemID: "7"},
		Operation: &dbv1.InstanceOperationStatus{ID: "x", Phase: dbv1.OperationRunning},
		Refused:   &RefusedConfig{Hash: "a", Words: "no such setting"},
	}
	if err := store.Update(func(s *State) { *s = state }); err != nil {
		t.Fatal(err)
	}
	// What an interrupted write leaves does not matter.
	if err := os.WriteFile(filepath.Join(dir, "state.json.new"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(podUID string) State {
		t.Helper()
		again, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.Load(podUID)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if diff := cmp.Diff(state, load("uid")); diff != "" {
		t.Errorf("loaded by the next container: %s", diff)
	}
	state.PodUID, state.EngineStarts, state.Refused = "other", 0, nil
	if diff := cmp.Diff(state, load("other")); diff != "" {
		t.Errorf("loaded by the next pod: %s", diff)
	}
}

// On a full volume nothing new can be made: what is kept changes places with what was kept before.
func TestWhatTheElectionKeepsNeedsNoNewRoom(t *testing.T) {
	file := File{path: filepath.Join(t.TempDir(), "election.json")}
	places := func() map[uint64]int64 {
		found := map[uint64]int64{}
		for _, path := range []string{file.path, file.path + ".new"} {
			var info unix.Stat_t
			if err := unix.Stat(path, &info); err != nil {
				t.Fatal(err)
			}
			found[info.Ino] = info.Size
		}
		return found
	}
	save := func(n int) {
		t.Helper()
		want := strings.Repeat("x", n)
		if err := file.Save([]byte(`"` + want + `"`)); err != nil {
			t.Fatal(err)
		}
		var got string
		if there, err := readJSON(file.path, &got); err != nil || !there || got != want {
			t.Fatalf("%d bytes are kept as %d, %v", n, len(got), err)
		}
	}
	save(10)
	save(20)
	before := places()
	for _, n := range []int{reserved / 2, 5, 0, reserved - 2} {
		save(n)
	}
	if diff := cmp.Diff(before, places()); diff != "" || len(before) != 2 {
		t.Errorf("other places are used: %s", diff)
	}
	// More than was ever kept needs more room, and less again is not followed by what was there.
	save(3 * reserved)
	save(3 * reserved)
	save(7)
}

func TestWhatTheElectionKeepsSurvives(t *testing.T) {
	store, err := OpenStore(filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	file := store.Election()
	if content, err := file.Load(); err != nil || content != nil {
		t.Errorf("before the first time it has %q, %v", content, err)
	}
	for _, want := range []string{"one", "", "two"} {
		if err := file.Save([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if content, err := file.Load(); err != nil || content == nil || string(content) != want {
			t.Errorf("it has %q, %v", content, err)
		}
	}
}

func TestVolumeHasOneAgent(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []bool{true, false} {
		store, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := store.TryLock(); err != nil || got != want {
			t.Errorf("agent %d: got %v, %v", i, got, err)
		}
		t.Cleanup(func() { _ = store.lock.Close() })
	}
}

func TestConfigStoreKeepsWhatIsGood(t *testing.T) {
	store, err := NewConfigStore(filepath.Join(t.TempDir(), "config"))
	if err != nil {
		t.Fatal(err)
	}
	use := func(content string) string {
		t.Helper()
		dir, err := store.Stage(map[string]string{"a.conf": content})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Use(filepath.Base(dir)); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(dir)
	}
	if store.Current() != "" || store.Good() != "" {
		t.Error("a new store has something")
	}
	a := use("a")
	if err := store.MarkGood(a); err != nil {
		t.Fatal(err)
	}
	b := use("b")
	if store.Current() != b || store.Good() != a {
		t.Errorf("current %q, good %q; want %q, %q", store.Current(), store.Good(), b, a)
	}
	if content, err := os.ReadFile(filepath.Join(store.Path(), "a.conf")); err != nil || string(content) != "b" {
		t.Errorf("the engine reads %q, %v", content, err)
	}
	if err := store.Use(a); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(filepath.Join(store.Path(), "a.conf")); string(content) != "a" {
		t.Errorf("after going back the engine reads %q", content)
	}
	// Another one is staged, and then the one that runs is found good: neither may be gone.
	b = use("b")
	c, err := store.Stage(map[string]string{"a.conf": "c"})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.MarkGood(b); err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{filepath.Base(c), a, b} {
		if err := store.Use(hash); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(store.Path(), "a.conf")); err != nil {
			t.Errorf("what the engine may have to read is gone: %v", err)
		}
	}
	if err := store.MarkGood(filepath.Base(c)); err != nil || store.Good() != b {
		t.Errorf("what does not run is called good: %q, %v", store.Good(), err)
	}
	d := use("d")
	if entries, _ := filepath.Glob(filepath.Join(filepath.Dir(store.Path()), "*")); len(entries) != 4 {
		t.Errorf("want current, good, %s and %s, got %v", b, d, entries)
	}
	// Somebody empties the volume under the agent.
	if err := os.RemoveAll(filepath.Dir(store.Path())); err != nil {
		t.Fatal(err)
	}
	if again := use("d"); store.Current() != again || store.Good() != "" {
		t.Errorf("current %q, good %q", store.Current(), store.Good())
	}
}

func TestMountedFilesLeaveOutWhatTheKubeletKeeps(t *testing.T) {
	dir := t.TempDir()
	version := filepath.Join(dir, "..2026")
	if err := os.Mkdir(version, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(version, "a.conf"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"..data": "..2026", "a.conf": "..data/a.conf"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readMounted(dir)
	if want := map[string]string{"a.conf": "x"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if hash, _, err := mountedHash(filepath.Join(dir, "missing")); hash != "" || err != nil {
		t.Errorf("a mount that is missing has hash %q, %v", hash, err)
	}
}
