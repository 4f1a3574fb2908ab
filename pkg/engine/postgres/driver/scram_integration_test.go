//go:build integration

package driver

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// passwords for each step of the preparation. What the server makes of them is the truth.
var passwords = []string{
	"pencil", "tab\tand\x7f", "pässword", "pa\u0308ssword", "summ²erﬁ", "Ⅸ", "no\u00a0break", "no\u200bwidth", "soft\u00adhyphen", "todo\u1806hyphen", "\u00ad", "\u200b",
	"ideographic\u3000space", "grave\u0340", "\u0958", "emoji 😀", "no\u00a0break 😀", "²😀", "newer \u1e9e", "later digit \U0001f100", "line\u2028ä", "ä\t",
	"private \ue000", "tag \U000e0041", "\u05d0\u05d1", "\u05d0\u05d1a", "\u05d01", "1\u05d0", "\u05d01\u05d1", "²\u05d0a", "\u00a0\u05d0a", "\ufdfa", "Å", "\u212b", "ſ", "㎏",
}

func TestPasswordsArePreparedAsTheServerAndLibpqDo(t *testing.T) {
	p := newPrimary(t)
	conn := p.mustConnect("")
	var tried int
	for _, word := range passwords {
		p.exec("SET password_encryption = 'scram-sha-256'; ALTER ROLE app PASSWORD " + literal(word))
		var stored string
		p.must(conn.QueryRow(context.Background(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'").Scan(&stored))
		if !verifies(stored, word) {
			t.Errorf("%+q: the server prepares it in another way", word)
		}
		_, err := p.try(call{Method: "Account", Account: agent.Account{Password: word, InstanceAccount: dbv1.InstanceAccount{
			Username: "app", Database: "orders", Roles: []string{"application"}, State: dbv1.AccountPresent,
		}}})
		if provable(prepared(word)) != (err == nil) {
			t.Errorf("%+q: the agent's login: %v", word, err)
		}
		if err != nil {
			continue
		}
		tried++
		secret, err := newVerifier(word)
		p.must(err)
		p.exec("ALTER ROLE app PASSWORD '" + secret + "'")
		psql := exec.Command("psql", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "app", "-d", "orders", "-c", "SELECT 1")
		psql.Env = append(os.Environ(), "PGPASSWORD="+word)
		if output, err := psql.CombinedOutput(); err != nil {
			t.Errorf("%+q: psql: %v: %s", word, err, output)
		}
	}
	if tried < len(passwords)*3/4 {
		t.Errorf("only %d of %d passwords are allowed", tried, len(passwords))
	}
}

// literal quotes a value.
func literal(text string) string {
	quoted := pgx.Identifier{text}.Sanitize()
	return "'" + quoted[1:len(quoted)-1] + "'"
}
