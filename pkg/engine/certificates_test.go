package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
