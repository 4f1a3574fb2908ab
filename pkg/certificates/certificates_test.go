package certificates_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/platform-io/database-operator/pkg/certificates"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T) certificates.Pair {
	t.Helper()
	ca, err := certificates.NewAuthority("db", now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca certificates.Pair, at time.Time) (certificates.Pair, time.Time) {
	t.Helper()
	pair, renew, err := certificates.Issue(ca, "db", []string{"*.db-headless.ns.svc"}, at)
	if err != nil {
		t.Fatal(err)
	}
	return pair, renew
}

// accepts says what an agent that trusts an authority says of another's certificate, as a server
// under a name and as a client.
func accepts(t *testing.T, ca, pair certificates.Pair, host string, at time.Time) error {
	t.Helper()
	parsed, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Certificate)
	_, server := parsed.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	_, client := parsed.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return errors.Join(server, client)
}

func TestAgentsOfOneDatabaseKnowEachOther(t *testing.T) {
	ca, other := authority(t), authority(t)
	old, renew := issue(t, ca, now)
	renewed, _ := issue(t, ca, renew)
	foreign, _ := issue(t, other, now)
	const host = "db-0.db-headless.ns.svc"
	for name, c := range map[string]struct {
		pair certificates.Pair
		host string
		at   time.Time
		ok   bool
	}{
		"an instance":                     {old, host, now, true},
		"one that is renewed":             {renewed, host, renew, true},
		"one that is not renewed yet":     {old, host, renew, true},
		"a clock that is a little behind": {old, host, now.Add(-time.Minute), true},
		"an agent of another Database":    {foreign, host, now, false},
		"another name":                    {old, "db-0.other-headless.ns.svc", now, false},
		"expired":                         {old, host, now.Add(certificates.Life + time.Hour), false},
	} {
		if err := accepts(t, ca, c.pair, c.host, c.at); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateIsRenewedAtTwoThirdsAndDoesNotOutliveItsAuthority(t *testing.T) {
	ca := authority(t)
	if _, renew := issue(t, ca, now); !renew.Equal(now.Add(certificates.Life * 2 / 3)) {
		t.Errorf("renewed at %s", renew)
	}
	late := now.Add(certificates.AuthorityLife - 3*time.Hour)
	if _, renew := issue(t, ca, late); !renew.Equal(late.Add(2 * time.Hour)) {
		t.Errorf("renewed at %s, the authority ends at %s", renew, now.Add(certificates.AuthorityLife))
	}
}

func TestAnAuthorityThatIsNoneIsAnError(t *testing.T) {
	ca, other := authority(t), authority(t)
	for name, broken := range map[string]certificates.Pair{
		"empty":                        {},
		"a key of another certificate": {Certificate: ca.Certificate, Key: other.Key},
	} {
		if _, _, err := certificates.Issue(broken, "db", []string{"a"}, now); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
