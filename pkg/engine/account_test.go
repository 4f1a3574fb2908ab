package engine_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// madeWith makes the account of a scene, and its database, those that were made, whatever the spec asks for.
func (s scene) madeWith(username, database string, asks *dbv1.AuthSpec) scene {
	s.Database.Spec.Auth = asks
	accounts := s.Secrets["db-accounts"].Annotations
	accounts[naming.AnnotationUsername], accounts[naming.AnnotationDatabaseName] = username, database
	return s
}

// The application has the database that was made with its account. Whoever leaves the names out, or takes them out,
// is not sent to another one.
func TestTheApplicationKeepsItsDatabase(t *testing.T) {
	for name, c := range map[string]struct {
		asks               *dbv1.AuthSpec
		username, database string
	}{
		"by default":                         {nil, "app", "app"},
		"both are named":                     {&dbv1.AuthSpec{Username: "shop", Database: "orders"}, "shop", "orders"},
		"a person's Secret names the user":   {nil, "alice", "alice"},
		"the spec names one of the two":      {&dbv1.AuthSpec{Username: "alice"}, "alice", "orders"},
		"the spec does not name them longer": {nil, "shop", "orders"},
	} {
		s := settled().madeWith(c.username, c.database, c.asks)
		account := s.instanceSpec().Accounts[0]
		if *account.Username != c.username || *account.Database != c.database {
			t.Errorf("%s: account %s has database %s, want %s and %s", name, *account.Username, *account.Database, c.username, c.database)
		}
		delete(s.Secrets, "db-credentials")
		if i := slices.IndexFunc(s.plan().Actions, func(a engine.Action) bool {
			p, ok := a.(engine.PublishCredentials)
			return ok && p.Database == c.database
		}); i < 0 {
			t.Errorf("%s: %s is not published: %v", name, c.database, s.plan().Actions)
		}
	}
}

func TestAnotherAccountOrDatabaseIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		asks dbv1.AuthSpec
		says string
	}{
		"another account":            {dbv1.AuthSpec{Username: "bob"}, "leave it out, and it stays alice, or load"},
		"another database":           {dbv1.AuthSpec{Database: "bills"}, "leave it out, and it stays orders, or load"},
		"the account's, by its name": {dbv1.AuthSpec{Username: "alice", Database: "alice"}, "leave it out, and it stays orders, or load"},
	} {
		for state, disturb := range map[string]func(scene){
			"it runs": func(scene) {},
			"it was retained": func(s scene) {
				s.Database.Status = dbv1.DatabaseStatus{}
				s.StatefulSets, s.Pods, s.Instances = nil, nil, nil
			},
		} {
			s := settled().madeWith("alice", "orders", &c.asks)
			disturb(s)
			p := s.plan()
			if condition(p, dbv1.ConditionValidated) != "False InvalidSpec" || !strings.Contains(message(p, dbv1.ConditionValidated), c.says) {
				t.Errorf("%s, %s: Validated is %s: %s", name, state, condition(p, dbv1.ConditionValidated), message(p, dbv1.ConditionValidated))
			}
			if len(p.Objects)+len(p.Actions) > 0 {
				t.Errorf("%s, %s: objects %v, actions %v", name, state, kinds(p), actions(p))
			}
		}
	}
}

// A master copy whose annotations were taken away does not say whose it is: until it does again, no agent is told
// to make another account.
func TestAMasterCopyThatDoesNotSayWhoseItIsIsReadAgain(t *testing.T) {
	for _, key := range []string{naming.AnnotationUsername, naming.AnnotationDatabaseName} {
		s := settled().madeWith("alice", "orders", &dbv1.AuthSpec{Database: "orders"})
		delete(s.Secrets["db-accounts"].Annotations, key)
		p := s.plan()
		want := engine.CreateAccounts{Username: "app", Database: "orders"}
		if !slices.Contains(p.Actions, engine.Action(want)) || slices.Contains(kinds(p), "DatabaseInstance") {
			t.Errorf("without %s: objects %v, actions %v", key, kinds(p), actions(p))
		}
	}
}

// The operator owns what it put back as what it made: agents set the password again, and until they did, what is
// published is not said to log in.
func TestAPasswordThatWasPutBackIsSetAgain(t *testing.T) {
	s := settled()
	before := *s.instanceSpec().Accounts[0].PasswordVersion
	s.Secrets["db-accounts"].Annotations[naming.AnnotationPasswordVersion] = "first"
	s.deriveSecrets()
	first := *s.instanceSpec().Accounts[0].PasswordVersion
	if first == before || len(first) > 64 {
		t.Errorf("the version was %q, and is %q", before, first)
	}
	if got := condition(s.plan(), dbv1.ConditionCredentialsSynced); got != "False CredentialsPending" {
		t.Errorf("CredentialsSynced is %s", got)
	}
	s.Secrets["db-accounts"].Annotations[naming.AnnotationPasswordVersion] = "second"
	if second := *s.instanceSpec().Accounts[0].PasswordVersion; second == first || second == before {
		t.Errorf("put back once more, the version is %q", second)
	}
}

// Claims of devices were ignored before they were refused: a Database that runs with one is not left alone for it.
func TestADatabaseThatRunsWithAClaimOfADeviceIsMaintained(t *testing.T) {
	s := settled()
	s.Database.Spec.Resources = &corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}}
	delete(s.Secrets, "db-credentials")
	p := s.plan()
	if condition(p, dbv1.ConditionValidated) != "True AsExpected" || !slices.Contains(actions(p), "publish the credentials") {
		t.Errorf("Validated is %s; actions %v", condition(p, dbv1.ConditionValidated), actions(p))
	}
	s.Database.Status = dbv1.DatabaseStatus{}
	s.StatefulSets, s.Pods, s.Instances, s.Claims = nil, nil, nil, nil
	if p := s.plan(); condition(p, dbv1.ConditionValidated) != "False InvalidSpec" || len(p.Objects)+len(p.Actions) > 0 {
		t.Errorf("a new one: Validated is %s; objects %v, actions %v", condition(p, dbv1.ConditionValidated), kinds(p), actions(p))
	}
}
