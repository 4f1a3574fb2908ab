//go:build integration

package driver

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// do runs a command in words.
func (i *instance) do(client *redis.Client, command string) error {
	var args []any
	for word := range strings.FieldsSeq(command) {
		args = append(args, word)
	}
	return client.Do(i.Context(), args...).Err()
}

func TestWhatAnApplicationMayDo(t *testing.T) {
	i := newInstance(t).provision()
	client := i.connect("app", "secret")
	for _, command := range []string{
		"hello 3", "hello 2", "client setname worker", "client getname", "client id", "command count", "command docs get", "info", "info server", "role", "select 3", "select 0",
		"set a 1", "get a", "keys *", "scan 0", "dbsize", "sort a-list", "xadd s * f v", "publish news hello", "eval return(1) 0", "script exists x", "object help", "memory usage a",
		"wait 0 1", "flushdb", "flushall", "swapdb 0 1", "multi", "discard", "client tracking off", "acl whoami",
	} {
		if err := i.do(client, command); err != nil && !errors.Is(err, redis.Nil) {
			t.Errorf("%s: %v", command, err)
		}
	}
	for _, command := range []string{
		"config get requirepass", "config set dir /tmp", "acl list", "acl setuser app allkeys", "shutdown", "debug sleep 0", "replicaof 10.0.0.1 6379", "migrate 10.0.0.1 6379 a 0 1000",
		"module list", "monitor", "save", "bgsave", "bgrewriteaof", "client list", "client kill 1.2.3.4:5", "client pause 1", "slowlog get", "restore a 0 x", "failover", "sync", "psync ? -1",
	} {
		err := i.do(client, command)
		if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "DEBUG command not allowed") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestNobodyComesInWithoutAPassword(t *testing.T) {
	i := newInstance(t).provision()
	for name, login := range map[string][2]string{
		"without a name": {"", ""}, "the nameless": {"default", ""}, "the nameless, with a password": {"default", "secret"}, "a wrong password": {"app", "Secret"},
		"no password": {"app", " "}, "the agent's": {"operator", "secret"}, "a stranger": {"bob", "secret"},
	} {
		if err := i.connect(login[0], login[1]).Ping(t.Context()).Err(); err == nil {
			t.Errorf("%s: it was let in", name)
		}
	}
	if err := i.connect("app", "secret").Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// The account without a name has rights, and nobody gets them.
func TestASessionWithoutALoginMayDoNothing(t *testing.T) {
	i := newInstance(t).provision()
	conn, err := net.Dial("tcp", i.listen())
	i.must(err)
	defer conn.Close()
	i.must(conn.SetDeadline(time.Now().Add(limit)))
	replies := bufio.NewReader(conn)
	say := func(command string) string {
		_, err := conn.Write([]byte(command + "\r\n"))
		i.must(err)
		reply, err := replies.ReadString('\n')
		i.must(err)
		return reply
	}
	nothing := func(when string) {
		for _, command := range []string{"GET a", "SET a 1", "CONFIG GET *", "ACL LIST", "PING", "INFO", "MULTI", "EVAL return(1) 0", "HELLO 3", "AUTH default \"\"", "AUTH \"\"", "AUTH secret", "AUTH default secret"} {
			if reply := say(command); !strings.HasPrefix(reply, "-NOAUTH") && !strings.HasPrefix(reply, "-WRONGPASS") {
				t.Errorf("%s, %s: %s", when, command, reply)
			}
		}
	}
	nothing("at first")
	if reply := say("AUTH app secret"); !strings.HasPrefix(reply, "+OK") {
		t.Fatalf("the account is not let in: %s", reply)
	}
	if reply := say("RESET"); !strings.HasPrefix(reply, "+RESET") {
		t.Fatalf("the session is not reset: %s", reply)
	}
	nothing("after a reset")
}

func TestAPasswordIsReplacedUnderARunningSession(t *testing.T) {
	i := newInstance(t).provision()
	session := i.connect("app", "secret")
	i.must(session.Set(t.Context(), "a", "1", 0).Err())
	strange := `it's "a" \ long % sécret #!`
	i.account("app", strange)
	if err := session.Get(t.Context(), "a").Err(); err != nil {
		t.Errorf("the session was ended: %v", err)
	}
	if err := i.connect("app", "secret").Ping(t.Context()).Err(); err == nil {
		t.Error("the old password still lets in")
	}
	if err := i.connect("app", strange).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	// Again, it changes nothing.
	before, err := os.Stat(i.accountsFile())
	i.must(err)
	i.account("app", strange)
	after, err := os.Stat(i.accountsFile())
	i.must(err)
	if !os.SameFile(before, after) {
		t.Error("the file was written again")
	}
}

func TestTwoPasswordsSideBySide(t *testing.T) {
	i := newInstance(t).provision()
	lets := func(want map[string]bool) {
		t.Helper()
		for password, in := range want {
			if err := i.connect("app", password).Ping(t.Context()).Err(); (err == nil) != in {
				t.Errorf("password %s: %v", password, err)
			}
		}
	}
	i.must(i.setAccount(t.Context(), account{Username: "app", Roles: []string{roleApplication}, Hashes: []string{hash("secret"), hash("next")}}))
	lets(map[string]bool{"secret": true, "next": true, "other": false})
	i.kill()
	i.newAgent()
	i.start()
	lets(map[string]bool{"secret": true, "next": true, "other": false})
	i.account("app", "next")
	lets(map[string]bool{"secret": false, "next": true, "other": false})
}

func TestAccountsSurviveARestartWithoutTheirSecrets(t *testing.T) {
	i := newInstance(t).provision()
	i.account("other", "word")
	former := i.password
	i.kill()
	i.newAgent()
	i.start()
	for name, password := range map[string]string{"app": "secret", "other": "word"} {
		if err := i.connect(name, password).Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := i.connect("operator", former).Ping(t.Context()).Err(); err == nil {
		t.Error("the password of the former agent lets in")
	}
	session := i.connect("other", "word")
	i.must(session.Ping(t.Context()).Err())
	gone := agent.Account{InstanceAccount: dbv1.InstanceAccount{Username: "other", State: dbv1.AccountAbsent}}
	for range 2 {
		if result := i.Account(t.Context(), gone); result.Err != nil || !result.Applied {
			t.Fatalf("%+v", result)
		}
	}
	if err := session.Ping(t.Context()).Err(); err == nil {
		t.Error("the session of an account that is gone goes on")
	}
	i.kill()
	i.newAgent()
	i.start()
	if err := i.connect("other", "word").Ping(t.Context()).Err(); err == nil {
		t.Error("the account is back")
	}
}
