package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/history"
)

// retryable is an error of which pgx says that nothing was sent.
type retryable struct{ error }

func (retryable) SafeToRetry() bool { return true }

func TestTheAnswerToCommit(t *testing.T) {
	refusal := func(severity, code string) error {
		return &pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: code}
	}
	tests := map[string]struct {
		tag, warning string
		err          error
		want         history.Outcome
		reason       string
	}{
		"success":                         {tag: "COMMIT", want: history.Acknowledged},
		"the wait was cancelled":          {tag: "COMMIT", warning: "canceling wait for synchronous replication due to user request", want: history.Unknown, reason: "warning"},
		"rolled back":                     {tag: "ROLLBACK", want: history.Failed, reason: "other"},
		"rolled back with a warning":      {tag: "ROLLBACK", warning: "w", want: history.Failed, reason: "other"},
		"an error":                        {err: refusal("ERROR", "40001"), want: history.Failed, reason: "40001"},
		"a translated error":              {err: &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "40001"}, want: history.Failed, reason: "40001"},
		"the session was terminated":      {err: refusal("FATAL", "57P01"), want: history.Unknown, reason: "57P01"},
		"the server panicked":             {err: refusal("PANIC", "53100"), want: history.Unknown, reason: "53100"},
		"the connection was lost":         {err: io.ErrUnexpectedEOF, want: history.Unknown, reason: "closed"},
		"no answer in time":               {err: context.DeadlineExceeded, want: history.Unknown, reason: "timeout"},
		"pgx says that nothing was sent":  {err: retryable{pgconn.ErrConnClosed}, want: history.Unknown, reason: "other"},
		"an error that nobody thought of": {err: errors.New("?"), want: history.Unknown, reason: "other"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := judge(test.tag, test.warning, test.err)
			if got.Outcome != test.want || got.Reason != test.reason || got.Warning != test.warning {
				t.Errorf("%+v", got)
			}
			// A session is kept only where it can go on.
			if keeps := test.err == nil && test.tag == "COMMIT"; (got.Error == "") != keeps {
				t.Errorf("error %q", got.Error)
			}
		})
	}
}

func TestAnyWarningIsAReservation(t *testing.T) {
	s := &session{}
	s.notice(nil, &pgconn.Notice{Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Message: "n"})
	if s.warning != "" {
		t.Errorf("a notice is a warning: %q", s.warning)
	}
	s.notice(nil, &pgconn.Notice{Severity: "WARNUNG", SeverityUnlocalized: "WARNING", Message: "w"})
	if s.warning != "w" {
		t.Errorf("the warning is %q", s.warning)
	}
}

func TestTheURIOfTheSecretIsUnderstood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uri")
	uri := "postgresql://app:a%2Fb@shop.prod.svc:5432/app?connect_timeout=5&tcp_user_timeout=10000\n"
	if err := os.WriteFile(path, []byte(uri), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := New(engine.Access{URIFile: path}).config()
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "shop.prod.svc" || config.Password != "a/b" || config.Database != "app" {
		t.Errorf("host %s, password %s, database %s", config.Host, config.Password, config.Database)
	}
	// The server would refuse what is libpq's.
	if len(config.RuntimeParams) != 1 || config.RuntimeParams["application_name"] != "checker" {
		t.Errorf("parameters %v", config.RuntimeParams)
	}
	config, err = New(engine.Access{URIFile: path, Target: "10.0.0.7:6543"}).config()
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{config.Host}
	for _, fallback := range config.Fallbacks {
		hosts = append(hosts, fallback.Host)
	}
	for _, host := range hosts {
		if host != "10.0.0.7" || config.Port != 6543 {
			t.Errorf("hosts %v, port %d", hosts, config.Port)
		}
	}
}

// dyingServer answers the start of a session, and closes the connection when it reads the last of the words.
func dyingServer(t *testing.T, last string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		backend := pgproto3.NewBackend(conn, conn)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			return
		}
		backend.Send(&pgproto3.AuthenticationOk{})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() != nil {
			return
		}
		read, buffer := "", make([]byte, 1024)
		for !strings.Contains(read, last) {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			read += string(buffer[:n])
		}
	}()
	return listener.Addr().String()
}

func openSession(t *testing.T, address string) *session {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uri")
	if err := os.WriteFile(path, []byte("postgresql://app@"+address+"/app?sslmode=disable"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(engine.Access{URIFile: path}).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestAConnectionThatIsLostAfterCommitWasSent(t *testing.T) {
	s := openSession(t, dyingServer(t, "COMMIT"))
	sent := false
	got := s.commit(t.Context(), func() { sent = true })
	if !sent || got.Outcome != history.Unknown || got.Stage != history.StageCommit || (got.Reason != "closed" && got.Reason != "reset") {
		t.Errorf("sent %v: %+v", sent, got)
	}
}

func TestAConnectionThatIsLostBeforeCommitWasSent(t *testing.T) {
	s := openSession(t, dyingServer(t, "BEGIN"))
	got := s.Write(t.Context(), history.ID{}, func() { t.Error("COMMIT is sent") })
	if got.Outcome != history.Failed || got.Stage != history.StageWrite || (got.Reason != "closed" && got.Reason != "reset") {
		t.Errorf("%+v", got)
	}
	s = openSession(t, dyingServer(t, "nothing"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.commit(ctx, func() { t.Error("COMMIT is sent") }); got.Outcome != history.Failed {
		t.Errorf("when the time was up: %+v", got)
	}
}
