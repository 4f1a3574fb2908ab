package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// renewal is when the agents' certificate of a settled Database is due.
const renewal = 200 * 24 * time.Hour

// certify adds the Secrets with certificates, as a sync before would have made them.
func (s scene) certify() {
	s.Secrets["db-ca"] = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "db-ca", UID: "ca-uid", ResourceVersion: "1", ManagedFields: ownedData(engine.CertificateKey, engine.PrivateKeyKey),
	}}
	s.Secrets["db-agent-tls"] = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "db-agent-tls", UID: "tls-uid", ManagedFields: ownedData(engine.CertificateKey, engine.PrivateKeyKey, engine.CACertificateKey),
		Annotations: map[string]string{naming.AnnotationRenewAfter: now.Add(renewal).Format(time.RFC3339)},
	}}
}

func TestTheCertificateOfTheAgents(t *testing.T) {
	const create, issue = "create the agents' authority", "issue the agents' certificate"
	for name, c := range map[string]struct {
		disturb func(scene)
		want    []string
	}{
		"all is well":                      {func(scene) {}, nil},
		"there is no authority":            {func(s scene) { delete(s.Secrets, "db-ca") }, []string{create}},
		"there is no certificate":          {func(s scene) { delete(s.Secrets, "db-agent-tls") }, []string{issue}},
		"its time has come":                {func(s scene) { s.Now = now.Add(renewal) }, []string{issue}},
		"just before":                      {func(s scene) { s.Now = now.Add(renewal - time.Second) }, nil},
		"somebody edited it":               {func(s scene) { s.Secrets["db-agent-tls"].ManagedFields = nil }, []string{issue}},
		"somebody edited the authority":    {func(s scene) { s.Secrets["db-ca"].ManagedFields = nil }, []string{issue}},
		"the authority is another":         {func(s scene) { s.Secrets["db-ca"].UID = "another" }, []string{issue}},
		"the authority got a label":        {func(s scene) { s.Secrets["db-ca"].ResourceVersion = "2" }, nil},
		"nobody knows when it is to renew": {func(s scene) { delete(s.Secrets["db-agent-tls"].Annotations, naming.AnnotationRenewAfter) }, []string{issue}},
	} {
		s := settled()
		c.disturb(s)
		if diff := cmp.Diff(c.want, actions(s.plan())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTheFirstPodsWaitForTheirCertificate(t *testing.T) {
	s := settled()
	delete(s.Secrets, "db-agent-tls")
	if !slices.Contains(kinds(s.plan()), "StatefulSet") {
		t.Error("what runs must not wait for a certificate that is lost")
	}
	s.StatefulSets = nil
	if slices.Contains(kinds(s.plan()), "StatefulSet") {
		t.Error("a pod would start without a certificate")
	}
}

// Whatever holds everything else up: failover goes on, and ends with the certificate.
func TestNothingHoldsUpTheCertificateOfWhatRuns(t *testing.T) {
	const create, issue = "create the agents' authority", "issue the agents' certificate"
	due := func(s scene) { s.Now = now.Add(renewal) }
	withoutAuthority := func(s scene) { delete(s.Secrets, "db-ca") }
	for name, disturb := range map[string]func(scene){
		"nothing does":           func(scene) {},
		"it is paused":           func(s scene) { s.Database.Spec.Lifecycle.Paused = true },
		"its spec breaks a rule": func(s scene) { s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{"port": "1"} },
		"a volume is another's": func(s scene) {
			s.Claims["data-db-1"], s.Instances["db-1"].Status = claim("another", ""), dbv1.DatabaseInstanceStatus{}
		},
		"it asks for what cannot be": func(s scene) { s.Database.Spec.Version = "16.1" },
		"its finalizer is gone":      func(s scene) { s.Database.Finalizers = nil },
	} {
		for want, why := range map[string]func(scene){issue: due, create: withoutAuthority} {
			s := settled(replicated(2))
			disturb(s)
			why(s)
			p := s.plan()
			if got := actions(p); len(got) == 0 || got[0] != want {
				t.Errorf("%s: %v, want first to %s", name, got, want)
			}
			if holds := len(p.Objects) == 0; holds != (name != "nothing does") {
				t.Errorf("%s: that holds the rest up: %v", name, holds)
			}
		}
	}
}

func TestNoCertificateIsMadeForNothing(t *testing.T) {
	for name, disturb := range map[string]func(scene){
		"it is paused":           func(s scene) { s.Database.Spec.Lifecycle.Paused = true },
		"its spec breaks a rule": func(s scene) { s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{"port": "1"} },
	} {
		s := settled(replicated(2))
		s.StatefulSets, s.Pods, s.Secrets = nil, nil, nil
		disturb(s)
		if got := actions(s.plan()); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestACertificateThatIsNotRenewedIsSaid(t *testing.T) {
	const late = "False CertificateOverdue"
	for name, c := range map[string]struct {
		after   time.Duration
		disturb func(scene)
		want    string
		says    string
	}{
		"it is due":                    {59 * time.Minute, func(scene) {}, "True AsExpected", ""},
		"it is overdue":                {time.Hour, func(scene) {}, late, "Secret db-agent-tls, was to be renewed at 2027-06-11T12:00:00Z"},
		"while paused":                 {time.Hour, func(s scene) { s.Database.Spec.Lifecycle.Paused = true }, late, "renewed at"},
		"while the spec breaks a rule": {time.Hour, func(s scene) { s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{"port": "1"} }, late, "renewed at"},
		"while nobody is the primary":  {time.Hour, func(s scene) { s.releaseLease() }, late, "renewed at"},
		"while a replica is away":      {time.Hour, func(s scene) { s.stopped("db-1") }, late, "pod db-1 does not exist yet"},
		"while writes wait":            {time.Hour, func(s scene) { s.stopped("db-1").stopped("db-2") }, "False WritesWait", "renewed at"},
	} {
		s := settled(synchronous(3, 1))
		s.Now = now.Add(renewal + c.after)
		c.disturb(s)
		p := s.plan()
		if got := condition(p, dbv1.ConditionReplicationHealthy); got != c.want || !strings.Contains(message(p, dbv1.ConditionReplicationHealthy), c.says) {
			t.Errorf("%s: ReplicationHealthy is %s: %s; want %s: %s", name, got, message(p, dbv1.ConditionReplicationHealthy), c.want, c.says)
		}
	}
}
