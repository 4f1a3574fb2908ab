//go:build e2e

package e2e

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/platform-io/database-operator/hack/audit"
	"github.com/platform-io/database-operator/pkg/naming"
)

var settledFor = flag.Duration("settled-for", time.Minute, "how long a settled database's requests are counted")

// TestASettledReplicatedDatabaseOnlyRenewsItsLease reads what the agents and the operator ask of the API server in the audit log: no writes but
// the renewals, and nothing for probes. It runs alone: beside others, agents hear of renewals late, and ask.
func TestASettledReplicatedDatabaseOnlyRenewsItsLease(t *testing.T) {
	log := cluster.ClusterFile("logs", "audit.log")
	if _, err := os.Stat(log); !cluster.Local || err != nil {
		t.Skip("it reads the API server's audit log: unset KUBECONFIG, and bring the local cluster up with --audit, or let the tests do it")
	}
	s := newScope(t)
	g := s.provisionReplicated(replicated("ha", 1))
	s.writeRow("ha", "hello")
	requests := func() []audit.Request {
		all, err := audit.ReadFile(log, func(r audit.Request) bool { return s.isOurs(&r) })
		s.ok(err)
		return all
	}
	s.wait(changeTimeout, "nothing but renewals to be written", func() (string, error) {
		for _, r := range requests() {
			if time.Since(r.At) < quiet && audit.IsWrite(r.Verb) && !isRenewal(&r) {
				return r.Verb + " " + r.Resource + " " + r.Name, nil
			}
		}
		return "", nil
	})
	from := time.Now()
	time.Sleep(*settledFor)
	to := time.Now()
	time.Sleep(2 * time.Second) // until what was asked last is in the log
	ours := requests()
	for _, count := range audit.Tally(ours, from, to) {
		t.Logf("%6.1f a minute: %s %s", float64(count.N)/settledFor.Minutes(), count.Verb, count.Resource)
	}
	renewals, looks, asked := 0, 0, 0
	for _, r := range ours {
		switch {
		case r.At.Before(from) || r.At.After(to):
		case isRenewal(&r):
			renewals++
		case r.User == agentsOf(s.namespace) && r.Verb == "get" && r.Resource == "pods":
			looks++
		case r.User == agentsOf(s.namespace) && r.Verb == "get" && r.Resource == "leases":
			asked++
		case r.Verb != "watch":
			t.Errorf("%s asked for %s %s %s", r.User, r.Verb, r.Resource, r.Name)
		}
	}
	if want := int(*settledFor / g.record.RenewPeriod); renewals < want-1 || renewals > want+1 {
		t.Errorf("the Lease was written %d times in %s, and is to be renewed every %s", renewals, *settledFor, g.record.RenewPeriod)
	}
	// A replica that hears of a renewal late asks for it, which depends on the machine, but once.
	if most := 2 * renewals; asked > most {
		t.Errorf("the Lease was read %d times in %s", asked, *settledFor)
	}
	// Each looks after its own label twice a minute, and the primary after those of the others.
	if most := int(10 * settledFor.Minutes()); looks > most+3 {
		t.Errorf("pods were read %d times in %s", looks, *settledFor)
	}
}

// isOurs selects what the operator and the agents ask for that concerns the test's namespace.
func (s *scope) isOurs(r *audit.Request) bool {
	return r.User == agentsOf(s.namespace) || strings.HasPrefix(r.UserAgent, "database-operator/") && r.Namespace == s.namespace
}

func agentsOf(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + naming.Agent("ha")
}

func isRenewal(r *audit.Request) bool {
	return r.Verb == "update" && r.Resource == "leases" && r.Name == naming.Lease("ha")
}
