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

// issue makes what the agents have after what they have now.
func issue(t *testing.T, ca certificates.Pair, live certificates.Bundle, at time.Time) (certificates.Bundle, time.Time) {
	t.Helper()
	next, renew, err := certificates.Issue(ca, live, "db", []string{"*.db-headless.ns.svc"}, at)
	if err != nil {
		t.Fatal(err)
	}
	return next, renew
}

// accepts says what an agent says of another's certificate, as a server under a name and as a client.
func accepts(t *testing.T, agent, other certificates.Bundle, host string, at time.Time) error {
	t.Helper()
	parsed, err := tls.X509KeyPair(other.Certificate, other.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(agent.Authorities)
	_, server := parsed.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	_, client := parsed.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return errors.Join(server, client)
}

const host = "db-0.db-headless.ns.svc"

// knowEachOther fails unless one that has read what is new and one that has not accept each other.
func knowEachOther(t *testing.T, before, after certificates.Bundle, at time.Time) {
	t.Helper()
	if err := errors.Join(accepts(t, before, after, host, at), accepts(t, after, before, host, at), accepts(t, after, after, host, at)); err != nil {
		t.Errorf("at %s: %v", at, err)
	}
}

func TestAgentsOfOneDatabaseKnowEachOther(t *testing.T) {
	ca, other := authority(t), authority(t)
	old, renew := issue(t, ca, certificates.Bundle{}, now)
	renewed, _ := issue(t, ca, old, renew)
	foreign, _ := issue(t, other, certificates.Bundle{}, now)
	for name, c := range map[string]struct {
		pair certificates.Bundle
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
		if err := accepts(t, old, c.pair, c.host, c.at); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateIsRenewedAtTwoThirdsAndDoesNotOutliveItsAuthority(t *testing.T) {
	ca := authority(t)
	if _, renew := issue(t, ca, certificates.Bundle{}, now); !renew.Equal(now.Add(certificates.Life * 2 / 3)) {
		t.Errorf("renewed at %s", renew)
	}
	late := now.Add(certificates.AuthorityLife - 3*time.Hour)
	if _, renew := issue(t, ca, certificates.Bundle{}, late); !renew.Equal(late.Add(2 * time.Hour)) {
		t.Errorf("renewed at %s, the authority ends at %s", renew, now.Add(certificates.AuthorityLife))
	}
}

// For thirty years, agents that have read what is new and those that have not know each other.
func TestAnAuthorityIsRenewedLongBeforeItEnds(t *testing.T) {
	ca, renewals := authority(t), 0
	before, at := issue(t, ca, certificates.Bundle{}, now)
	for at.Before(now.Add(3 * certificates.AuthorityLife)) {
		next, isNew, err := certificates.RenewAuthority(ca, at)
		if err != nil {
			t.Fatal(err)
		}
		if isNew {
			ca, renewals = next, renewals+1
		}
		after, renew := issue(t, ca, before, at)
		if renew.Sub(at) != certificates.Life*2/3 {
			t.Fatalf("at %s it is to be renewed at %s", at, renew)
		}
		knowEachOther(t, before, after, at)
		before, at = after, renew
	}
	if renewals != 3 {
		t.Errorf("%d renewals", renewals)
	}
}

// Another authority is trusted before it signs, and the one before for a while after that.
func TestAnotherAuthorityComesInSteps(t *testing.T) {
	lost, ca := authority(t), authority(t)
	first, _ := issue(t, lost, certificates.Bundle{}, now)
	before, at := first, now.Add(time.Hour)
	for step, c := range []struct {
		isFirst bool
		accepts bool
		after   time.Duration
	}{
		{true, true, 24 * time.Hour},
		{false, true, 24 * time.Hour},
		{false, false, certificates.Life * 2 / 3},
		{false, false, certificates.Life * 2 / 3},
	} {
		after, renew := issue(t, ca, before, at)
		knowEachOther(t, before, after, at)
		if same := string(after.Certificate) == string(first.Certificate); same != c.isFirst || renew.Sub(at) != c.after {
			t.Errorf("step %d: the same certificate: %v; the next step is after %s", step, same, renew.Sub(at))
		}
		if err := accepts(t, after, first, host, at); (err == nil) != c.accepts {
			t.Errorf("step %d: the authority before: %v", step, err)
		}
		before, at = after, renew
	}
}

// What cannot be used is no reason to wait, and is not trusted.
func TestWithoutAGoodCertificateTheNextComesAtOnce(t *testing.T) {
	lost, ca := authority(t), authority(t)
	good, renew := issue(t, lost, certificates.Bundle{}, now)
	other, _ := issue(t, authority(t), certificates.Bundle{}, now)
	for name, c := range map[string]struct {
		live    certificates.Bundle
		at      time.Time
		accepts bool
		after   time.Duration
	}{
		"none":                          {certificates.Bundle{}, now, false, certificates.Life * 2 / 3},
		"not PEM":                       {certificates.Bundle{Pair: certificates.Pair{Certificate: []byte("?"), Key: good.Key}, Authorities: good.Authorities}, now, false, certificates.Life * 2 / 3},
		"of an authority that is not":   {certificates.Bundle{Pair: good.Pair, Authorities: other.Authorities}, now, false, certificates.Life * 2 / 3},
		"ended":                         {good, now.Add(certificates.Life + time.Hour), false, certificates.Life * 2 / 3},
		"good, and due":                 {good, renew, true, 24 * time.Hour},
		"good, and ends before it goes": {good, now.Add(certificates.Life - 47*time.Hour), true, 24 * time.Hour},
	} {
		next, renew := issue(t, ca, c.live, c.at)
		if err := accepts(t, next, good, host, now); (err == nil) != c.accepts || renew.Sub(c.at) != c.after {
			t.Errorf("%s: the authority before: %v; the next step is after %s", name, err, renew.Sub(c.at))
		}
		if same := string(next.Certificate) == string(good.Certificate); same != (name == "good, and due") {
			t.Errorf("%s: the same certificate: %v", name, same)
		}
	}
}

func TestAnAuthorityThatIsNoneIsAnError(t *testing.T) {
	ca, other := authority(t), authority(t)
	for name, broken := range map[string]certificates.Pair{
		"empty":                        {},
		"a key of another certificate": {Certificate: ca.Certificate, Key: other.Key},
	} {
		if _, _, err := certificates.Issue(broken, certificates.Bundle{}, "db", []string{"a"}, now); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, _, err := certificates.RenewAuthority(broken, now); err == nil {
			t.Errorf("%s: no error of the renewal", name)
		}
	}
}
