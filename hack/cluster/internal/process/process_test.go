package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	// Table.Start runs this very program as its shim.
	if len(os.Args) == 3 && os.Args[1] == ShimCommand {
		if err := Exec(os.Args[2]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestParseStat(t *testing.T) {
	tail := " 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10"
	tests := map[string]struct {
		in    string
		state byte
		start uint64
		fails bool
	}{
		"plain":                    {in: "12 (etcd) S" + tail, state: 'S', start: 4711},
		"name with ) and blanks":   {in: "12 (a) R (b) c) Z" + tail, state: 'Z', start: 4711},
		"no name":                  {in: "12 etcd S" + tail, fails: true},
		"cut off":                  {in: "12 (etcd) S 1 1", fails: true},
		"start time is no number":  {in: "12 (x) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 - 1000", fails: true},
		"the least number of them": {in: "12 (x) D 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9", state: 'D', start: 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(test.in))
			if (err != nil) != test.fails {
				t.Fatalf("error %v", err)
			}
			if err == nil && (got.state != test.state || got.start != test.start) {
				t.Errorf("got %c %d", got.state, got.start)
			}
		})
	}
}

// A record with the id of a living process, but another start time, is that of a process that has ended.
func TestReusedIDIsNotOurs(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	stat, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if other := (Record{PID: cmd.Process.Pid, Start: stat.start - 1}); other.Alive() {
		t.Error("an id alone was taken for the process")
	} else if err := other.Stop(time.Second); err != nil {
		t.Error(err)
	}
	same := Record{PID: cmd.Process.Pid, Start: stat.start}
	if !same.Alive() {
		t.Error("the process was hit, or is not recognised")
	}
	if err := same.Stop(time.Second); err != nil || same.Alive() {
		t.Errorf("still alive, error %v", err)
	}
}

func TestReadRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.json")
	for name, content := range map[string]string{"cut off": `{"pid": 1`, "empty": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := ReadRecord(file); err != nil || r.Alive() {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r, err := ReadRecord(file + ".missing"); err != nil || r.Alive() {
		t.Errorf("missing: %v, %v", r, err)
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if err := self.write(file); err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRecord(file); err != nil || r != self || !r.Alive() {
		t.Errorf("own record: %v, %v", r, err)
	}
}

// Whoever has started a program finds it running, and not the shim, which the kernel may show as a zombie while it becomes it.
func TestAProgramRunsWhenItWasStarted(t *testing.T) {
	dir := t.TempDir()
	table := Table{Records: filepath.Join(dir, "run"), Logs: filepath.Join(dir, "logs")}
	file, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := table.Start(t.Context(), Spec{Name: "sleeper", Args: []string{"sleep", "60"}, Files: []*os.File{file}}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = table.Stop("sleeper", time.Second) }()
	record, err := table.Record("sleeper")
	if err != nil {
		t.Fatal(err)
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", record.PID)); err != nil || string(comm) != "sleep\n" {
		t.Errorf("%q runs, %v", comm, err)
	}
	if at, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/3", record.PID)); err != nil || at != dir {
		t.Errorf("its first file is %q, %v", at, err)
	}
	if at, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/4", record.PID)); err == nil {
		t.Errorf("it inherited %s", at)
	}
	if err := table.Start(t.Context(), Spec{Name: "missing", Args: []string{"no-such-program"}}); err == nil || !strings.Contains(err.Error(), table.Log("missing")) {
		t.Errorf("a program that does not exist: %v", err)
	}
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	table := Table{Records: filepath.Join(dir, "run"), Logs: filepath.Join(dir, "logs")}
	spec := Spec{Name: "sleeper", Args: []string{"sh", "-c", "echo started; trap 'exit 0' TERM; while :; do sleep 0.01; done"}}
	if err := table.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	first, err := table.Record("sleeper")
	if err != nil || !first.Alive() {
		t.Fatalf("%v, %v", first, err)
	}
	if err := table.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if second, err := table.Record("sleeper"); err != nil || second != first {
		t.Errorf("started again although it runs: %v, then %v, %v", first, second, err)
	}
	if err := table.Stop("sleeper", 5*time.Second); err != nil || first.Alive() {
		t.Errorf("still alive, error %v", err)
	}
	if again, err := table.Record("sleeper"); err != nil || again != (Record{}) {
		t.Errorf("not forgotten: %v, %v", again, err)
	}
	if err := table.Stop("never", time.Second); err != nil {
		t.Errorf("stopping what was never started: %v", err)
	}
}
