package driver

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/platform-io/database-operator/pkg/agent"
)

func TestSynchronousNames(t *testing.T) {
	for want, given := range map[string]agent.Synchronous{
		"":                                {Names: []string{"a"}},
		`ANY 1 ("a")`:                     {Names: []string{"a"}, Quorum: 1},
		`ANY 2 ("a", "B-1", "say ""x""")`: {Names: []string{"a", "B-1", `say "x"`}, Quorum: 2},
		`ANY 1 ("nobody")`:                {Quorum: 1},
	} {
		if got := synchronousNames(given); got != want {
			t.Errorf("%+v: got %s, want %s", given, got, want)
		}
	}
}

func TestSlotNames(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"ABC234", "a-b", "a_b", "ä", "", strings.Repeat("x", 100), strings.Repeat("x", 101), "A-B"} {
		name := slotName(id)
		if len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || name != slotName(id) {
			t.Errorf("%q: %q is no name of a slot", id, name)
		}
		if other, twice := seen[name]; twice {
			t.Errorf("%q and %q have the same slot", id, other)
		}
		seen[name] = id
	}
}

func TestSlotChanges(t *testing.T) {
	found := []slotFacts{{Name: "keep"}, {Name: "gone"}, {Name: "lost", Lost: true}, {Name: "used", Lost: true, Active: true}}
	wanted := []string{"keep", "lost", "used", "new", "new"}
	drop, create := slotChanges(found, wanted, false)
	if strings.Join(drop, " ") != "gone lost" || strings.Join(create, " ") != "lost new" {
		t.Errorf("drop %v, create %v", drop, create)
	}
	if drop, create = slotChanges(found, nil, true); len(drop) != 4 || len(create) != 0 {
		t.Errorf("on a replica: drop %v, create %v", drop, create)
	}
}

// What was a source when somebody looked may have been taken away since, and nothing may come from there any more.
func TestASourceThatWasTakenAwayIsNotFollowedAgain(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := New(Options{VolumeDir: dir, PasswordFile: password})
	source := agent.Source{Instance: "a", Host: "127.0.0.1", Port: 1}
	if err := d.PrepareStart(t.Context(), agent.StartReplica, "data"); err != nil {
		t.Fatal(err)
	}
	if err := d.Follow(t.Context(), &source); err != nil {
		t.Fatal(err)
	}
	if err := d.again(t.Context(), source, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Follow(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := d.again(t.Context(), source, 0); !errors.Is(err, errSuperseded) {
		t.Errorf("got %v", err)
	}
	state, err := d.current()
	if _, missing := os.Stat(d.replicationFile(filePassword)); err != nil || state.Source != nil || missing == nil {
		t.Errorf("the source is %+v, and its password there: %v, %v", state.Source, missing == nil, err)
	}
}

// One answer is not enough, nor are two about something else, or with another answer between.
func TestLogIsGoneWhenTheSourceSaysSoTwice(t *testing.T) {
	source, other := agent.Source{Instance: "a"}, agent.Source{Instance: "b"}
	state := replicationState{Mode: agent.StartReplica, Source: &source}
	waits := replicationFacts{recovery: true, position: 100, received: 90, startup: "Timeout:" + waitForMore}
	type answer struct {
		source agent.Source
		next   agent.Position
		gone   bool
	}
	for name, test := range map[string]struct {
		answers []answer
		facts   func(*replicationFacts)
		want    bool
	}{
		"twice":                    {answers: []answer{{source, 100, true}, {source, 100, true}}, want: true},
		"once":                     {answers: []answer{{source, 100, true}}},
		"not without a break":      {answers: []answer{{source, 100, true}, {source, 100, false}, {source, 100, true}}},
		"by two sources":           {answers: []answer{{other, 100, true}, {source, 100, true}}},
		"by another one":           {answers: []answer{{other, 100, true}, {other, 100, true}}},
		"about two positions":      {answers: []answer{{source, 96, true}, {source, 100, true}}},
		"and it streams":           {answers: []answer{{source, 100, true}, {source, 100, true}}, facts: func(f *replicationFacts) { f.streaming = true }},
		"and it replays":           {answers: []answer{{source, 100, true}, {source, 100, true}}, facts: func(f *replicationFacts) { f.startup = "" }},
		"and it got further":       {answers: []answer{{source, 100, true}, {source, 100, true}}, facts: func(f *replicationFacts) { f.position = 104 }},
		"and it received more":     {answers: []answer{{source, 100, true}, {source, 100, true}}, facts: func(f *replicationFacts) { f.received = 104 }},
		"and is a primary already": {answers: []answer{{source, 100, true}, {source, 100, true}}, facts: func(f *replicationFacts) { f.recovery = false }},
	} {
		var a asked
		for _, answer := range test.answers {
			a.answer(answer.source, answer.next, answer.gone)
		}
		facts := waits
		if test.facts != nil {
			test.facts(&facts)
		}
		if got := a.logGone(&state, &facts); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
		if a.logGone(&replicationState{}, &facts) {
			t.Errorf("%s: without a source log is gone", name)
		}
	}
}

func TestConninfoIsQuoted(t *testing.T) {
	source := agent.Source{Host: `h'o\st`, Port: 5432}
	got := replicaConninfo(source, "", "ABC", "/p")
	if !strings.HasPrefix(got, `host='h\'o\\st' port='5432' user='db_replication' application_name='ABC' `) || !strings.HasSuffix(got, ` passfile='/p'`) {
		t.Errorf("got %s", got)
	}
	if got := string(passwordLine(agent.Source{Host: "h", Port: 5432}, `a:b\c`)); got != "h:5432:*:db_replication:a\\:b\\\\c\n" {
		t.Errorf("got %q", got)
	}
}

// A name that goes with an address is not looked up: DNS may be silent.
func TestConninfoHasTheAddress(t *testing.T) {
	got := replicaConninfo(agent.Source{Host: "h", Port: 5432}, "10.0.0.7", "ABC", "/p")
	if !strings.HasPrefix(got, `host='h' hostaddr='10.0.0.7' port='5432' `) {
		t.Errorf("got %s", got)
	}
}

// somebodyElse listens like a server that knows no account of ours.
func somebodyElse(t *testing.T) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server := pgproto3.NewBackend(conn, conn)
			if message, err := server.ReceiveStartupMessage(); err == nil {
				if _, tls := message.(*pgproto3.SSLRequest); tls {
					_, _ = conn.Write([]byte("N"))
					_, _ = server.ReceiveStartupMessage()
				}
				server.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"})
				_ = server.Flush()
			}
			_ = conn.Close()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

// An address is where the source was seen; it is kept while that is away, and forgotten when somebody else has it.
func TestAddressOfASourceIsWhereItWasSeen(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := New(Options{VolumeDir: dir, PasswordFile: password, Addresses: func(context.Context, string) []string { return []string{"127.0.0.1"} }})
	if err := d.PrepareStart(t.Context(), agent.StartReplica, "data"); err != nil {
		t.Fatal(err)
	}
	nobody := agent.Source{Instance: "a", Host: "a.test", Port: 1}
	other := agent.Source{Instance: "b", Host: "b.test", Port: somebodyElse(t)}
	for _, test := range []struct {
		name           string
		source         agent.Source
		seen, expected string
	}{
		{"was never seen", nobody, "", ""},
		{"is away", nobody, "10.0.0.7", "10.0.0.7"},
		{"is somebody else", other, "127.0.0.1", ""},
	} {
		before := func(s *replicationState) { s.Source, s.Address = &test.source, test.seen }
		if err := d.change(before); err != nil {
			t.Fatal(err)
		}
		if err := d.Follow(t.Context(), &test.source); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if state, err := d.current(); err != nil || state.Address != test.expected || *state.Source != test.source {
			t.Errorf("a source that %s is looked for at %q: %v", test.name, state.Address, err)
		}
	}
}

func TestOwnSettings(t *testing.T) {
	state := replicationState{Mode: agent.StartReplica, DataID: "ABC", Source: &agent.Source{Host: "h", Port: 1}, Slot: true}
	conf := serverConf("/conf/it's", ownSettings(&state, "/p", 17, []setting{{"max_connections", "40"}}))
	for _, line := range []string{
		`include '/conf/it''s'`, `database_agent.data_id = 'ABC'`, `primary_slot_name = 'database_agent_abc'`,
		`synchronous_standby_names = ''`, `wal_retrieve_retry_interval = '500ms'`, `allow_alter_system = 'off'`, `max_connections = '40'`,
	} {
		if !strings.Contains(conf, line+"\n") {
			t.Errorf("no line %s in\n%s", line, conf)
		}
	}
	// A primary has no source, whatever it was told before.
	state.Mode = agent.StartPrimary
	conf = serverConf("/conf", ownSettings(&state, "/p", 16, nil))
	for _, line := range []string{`primary_conninfo = ''`, `primary_slot_name = ''`} {
		if !strings.Contains(conf, line+"\n") {
			t.Errorf("no line %s in\n%s", line, conf)
		}
	}
	if strings.Contains(conf, "allow_alter_system") {
		t.Error("an old version does not know allow_alter_system")
	}
}

func TestStateSurvivesAndIsWrittenOnce(t *testing.T) {
	d := New(Options{VolumeDir: t.TempDir()})
	edit := func(s *replicationState) {
		s.DataID, s.Synchronous = "ABC", agent.Synchronous{Names: []string{"x"}, Quorum: 1}
	}
	if err := d.change(edit); err != nil {
		t.Fatal(err)
	}
	path := d.replicationFile(fileState)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.change(edit); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same state was written again: %v", err)
	}
	state, err := New(d.Options).current()
	if err != nil || state.DataID != "ABC" || state.Synchronous.Quorum != 1 {
		t.Errorf("got %+v, %v", state, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(d.Options).current(); err == nil {
		t.Error("half a file passes")
	}
}

// controlText is what pg_controldata says, shortened.
const controlText = `pg_control version number:            1300
Database cluster state:               shut down in recovery
Latest checkpoint location:           1/A00000C8
Latest checkpoint's REDO location:    1/A0000090
Latest checkpoint's REDO WAL file:    0000000200000001000000A0
Latest checkpoint's TimeLineID:       2
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
WAL block size:                       8192
Bytes per WAL segment:                16777216
`

func TestParseControlData(t *testing.T) {
	data, err := parseControlData(controlText)
	if err != nil {
		t.Fatal(err)
	}
	if data.state != "shut down in recovery" || data.checkpoint != 0x1A00000C8 || data.timeline != 2 || data.needs["max_wal_senders"] != 10 {
		t.Errorf("got %+v", data)
	}
	if formatPosition(data.checkpoint) != "1/A00000C8" {
		t.Errorf("got %s", formatPosition(data.checkpoint))
	}
	for _, gone := range []string{"Latest checkpoint location", "max_connections setting", "WAL block size"} {
		if _, err := parseControlData(strings.Replace(controlText, gone, "else", 1)); err == nil {
			t.Errorf("without %q: no error", gone)
		}
	}
}

func TestEndOfRecord(t *testing.T) {
	const page, segment = 8192, 1 << 24
	for _, test := range []struct{ begin, length, want uint64 }{
		{segment + 40, 114, segment + 40 + 120},
		{segment + 40, 120, segment + 40 + 120},
		// To the last byte of a page, and over its end.
		{segment + page - 120, 114, segment + page},
		{segment + page - 112, 114, segment + page + 24 + 8},
		{segment + page - 8, 114, segment + page + 24 + 112},
		// Over the end of a segment, whose first page has a longer header.
		{2*segment - 8, 114, 2*segment + 40 + 112},
		// Over more than one page.
		{segment + page - 8, 8 + (page - 24) + 8, segment + 2*page + 24 + 8},
	} {
		got := endOfRecord(controlData{checkpoint: agent.Position(test.begin), pageSize: page, segmentSize: segment}, test.length)
		if uint64(got) != test.want {
			t.Errorf("%x + %d: got %x, want %x", test.begin, test.length, uint64(got), test.want)
		}
	}
}

func TestSettling(t *testing.T) {
	waits := "Timeout:" + waitForMore
	begin := time.Now()
	quiet := replicationFacts{recovery: true, position: 100, received: 100, startup: waits}
	ahead := quiet
	ahead.received = 108
	for name, facts := range map[string]func(*replicationFacts){
		"a primary":            func(f *replicationFacts) { f.recovery = false },
		"a receiver":           func(f *replicationFacts) { f.receiver = true },
		"an address":           func(f *replicationFacts) { f.hasSource = true },
		"replay that goes on":  func(f *replicationFacts) { f.startup = "" },
		"replay that is held":  func(f *replicationFacts) { f.startup = "IPC:RecoveryPause" },
		"a wait for a stream":  func(f *replicationFacts) { f.startup = "Activity:RecoveryWalStream" },
		"a wait for a segment": func(f *replicationFacts) { f.startup = "IPC:RestoreCommand" },
	} {
		changed := quiet
		facts(&changed)
		if (&settling{}).look(begin, changed, false) {
			t.Errorf("settled in spite of %s", name)
		}
	}
	if !(&settling{}).look(begin, quiet, false) || (&settling{}).look(begin, quiet, true) {
		t.Error("one look is enough when all that was received is replayed, and there is no source")
	}
	s := &settling{}
	if s.look(begin, ahead, false) || s.look(begin.Add(settleTime), ahead, false) || !s.look(begin.Add(settleTime+1), ahead, false) {
		t.Error("what was received beyond the position is waited for")
	}
	moved := ahead
	moved.position = 104
	if s.look(begin.Add(2*settleTime), moved, false) || s.look(begin.Add(3*settleTime), moved, false) || !s.look(begin.Add(3*settleTime+1), moved, false) {
		t.Error("a position that moves begins the wait anew")
	}
}

func TestRepliesAreTimedByOurClock(t *testing.T) {
	begin := time.Now()
	var r replies
	look := func(seconds int, words ...string) []agent.Standby {
		var facts []standbyFacts
		for _, word := range words {
			facts = append(facts, standbyFacts{DataID: "a", Reply: word, Flushed: int64(len(word))})
		}
		return r.standbys(begin.Add(time.Duration(seconds)*time.Second), facts)
	}
	if got := look(0, ""); !got[0].RepliedAt.IsZero() {
		t.Errorf("nothing was said yet: %+v", got)
	}
	look(1, "x")
	if got := look(5, "x"); !got[0].RepliedAt.Equal(begin.Add(time.Second)) {
		t.Errorf("got %+v", got)
	}
	// Of two connections the later word counts.
	if got := look(6, "x", "xy"); len(got) != 1 || !got[0].RepliedAt.Equal(begin.Add(6*time.Second)) || got[0].Flushed != 2 {
		t.Errorf("got %+v", got)
	}
	if got := look(7); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestEarlierConnectionsOfAReplica(t *testing.T) {
	standbys := []standbyFacts{
		{DataID: "a", PID: 1, Begun: 20},
		{DataID: "b", PID: 2, Begun: 30},
		{DataID: "a", PID: 3, Begun: 10},
		{DataID: "a", PID: 4, Begun: 40},
		{DataID: "other", PID: 5, Begun: 10},
		{DataID: "other", PID: 6, Begun: 20},
	}
	if got := earlier(standbys, []string{"a", "b", "gone"}); !slices.Equal(got, []int32{3, 1}) {
		t.Errorf("got %v", got)
	}
}

// Whatever a clone was killed at, one of the two is there in the end.
func TestSwapIsFinished(t *testing.T) {
	tests := map[string]struct{ there, left []string }{
		"nothing":                       {nil, nil},
		"a copy that is not whole":      {[]string{"pgdata=old", "pgdata.clone=half"}, []string{"pgdata=old", "pgdata.clone=half"}},
		"a whole copy":                  {[]string{"pgdata=old", "pgdata.cloned=new"}, []string{"pgdata=new", "pgdata.old=old"}},
		"a whole copy beside nothing":   {[]string{"pgdata.cloned=new"}, []string{"pgdata=new"}},
		"in the middle of the swap":     {[]string{"pgdata.old=old", "pgdata.cloned=new"}, []string{"pgdata.old=old", "pgdata=new"}},
		"after the swap":                {[]string{"pgdata.old=old", "pgdata=new"}, []string{"pgdata.old=old", "pgdata=new"}},
		"with what an earlier one left": {[]string{"pgdata.old=older", "pgdata=old", "pgdata.cloned=new"}, []string{"pgdata.old=old", "pgdata=new"}},
	}
	for name, test := range tests {
		d := New(Options{VolumeDir: t.TempDir()})
		for _, entry := range test.there {
			dir, content, _ := strings.Cut(entry, "=")
			if err := os.Mkdir(d.volumePath(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.volumePath(dir), "who"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.finishSwap(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		entries, _ := os.ReadDir(d.VolumeDir)
		if len(entries) != len(test.left) {
			t.Errorf("%s: left %v", name, entries)
		}
		for _, entry := range test.left {
			dir, content, _ := strings.Cut(entry, "=")
			if got, err := os.ReadFile(filepath.Join(d.volumePath(dir), "who")); err != nil || string(got) != content {
				t.Errorf("%s: %s has %q, %v", name, dir, got, err)
			}
		}
	}
}

func TestCopyProgress(t *testing.T) {
	var seen []string
	w := &lineWriter{line: func(line string) {
		if text, ok := copyProgress(line); ok {
			seen = append(seen, text)
		}
	}}
	for _, chunk := range []string{"waiting for checkp", "oint\n    32/100 kB (32%), 0/1 table", "space\r  100/100 kB (100%), 1/1 tablespace\npg_basebackup: error: x", "\n"} {
		if n, err := w.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	if strings.Join(seen, "|") != "32% copied (32 of 100 kB)|100% copied (100 of 100 kB)" {
		t.Errorf("progress %q", seen)
	}
	if got := w.rest(); got != "waiting for checkpoint; pg_basebackup: error: x" {
		t.Errorf("rest %q", got)
	}
}

func TestReceiverTitle(t *testing.T) {
	for title, want := range map[string]bool{
		"postgres: walreceiver streaming 0/3000148":          true,
		"postgres: orders: walreceiver ":                     true,
		"postgres: orders: walreceiver\x00":                  true,
		"postgres: walreceiver: startup recovering 0000001":  false,
		"postgres: orders: startup recovering":               false,
		"postgres: orders: app walreceiver 10.0.0.1(5) idle": false,
		"/usr/lib/postgresql/15/bin/postgres":                false,
	} {
		if got := receiverTitle.MatchString(title); got != want {
			t.Errorf("%q: got %v", title, got)
		}
	}
}

// A write that hangs is waited for, and none is begun beside it.
func TestStorageThatHangs(t *testing.T) {
	d := New(Options{VolumeDir: t.TempDir()})
	hung := &storageTest{done: make(chan struct{})}
	d.storage = hung
	if d.beginStorageTest() != hung {
		t.Error("another write is begun while one hangs")
	}
	close(hung.done)
	if err := d.TestStorage(t.Context()); err != nil || d.storage == hung {
		t.Errorf("after it returned: %v", err)
	}
	if err := os.RemoveAll(d.replicationDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.VolumeDir, "agent", "replication"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.TestStorage(t.Context()); err == nil {
		t.Error("a write that fails passes")
	}
}
