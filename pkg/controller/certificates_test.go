package controller

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/certificates"
	"github.com/platform-io/database-operator/pkg/consistency"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// certifying is a controller that makes the certificates of one Database.
type certifying struct {
	*testing.T
	*Controller
	now *clocktesting.FakeClock
	db  *dbv1.Database
}

func newCertifying(t *testing.T) certifying {
	now := clocktesting.NewFakeClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	return certifying{t, &Controller{
		clients: Clients{Kube: kubefake.NewClientset()}, clock: now,
		consistency: consistency.NewStore(map[schema.GroupResource]consistency.Cache{}),
		kinds:       map[string]*kind{"Secret": {resource: schema.GroupResource{Resource: "secrets"}}},
	}, now, &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns", UID: "db-uid"}}}
}

// next makes an authority if there is none, and what the agents have next.
func (c certifying) next() *corev1.Secret {
	c.Helper()
	if _, err := c.clients.Kube.CoreV1().Secrets("ns").Get(c.Context(), "db-ca", metav1.GetOptions{}); err != nil {
		if err := c.createAuthority(c.Context(), c.db); err != nil {
			c.Fatal(err)
		}
	}
	if err := c.issueCertificate(c.Context(), c.db, engine.IssueCertificate{Hosts: []string{"*.db-headless.ns.svc"}, Source: "s"}); err != nil {
		c.Fatal(err)
	}
	return c.secret("db-agent-tls")
}

func (c certifying) secret(name string) *corev1.Secret {
	c.Helper()
	secret, err := c.clients.Kube.CoreV1().Secrets("ns").Get(c.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return secret
}

// untilNext is how long what the agents have is good for.
func (c certifying) untilNext(secret *corev1.Secret) time.Duration {
	c.Helper()
	at, err := time.Parse(time.RFC3339, secret.Annotations[naming.AnnotationRenewAfter])
	if err != nil {
		c.Fatal(err)
	}
	return at.Sub(c.now.Now())
}

func TestAnAuthorityThatEndsIsRenewedInPlace(t *testing.T) {
	c := newCertifying(t)
	first := c.next()
	before := c.secret("db-ca")
	c.now.Step(certificates.AuthorityLife - certificates.Life)
	last := c.next()
	after := c.secret("db-ca")
	if bytes.Equal(before.Data["tls.crt"], after.Data["tls.crt"]) || !bytes.Equal(before.Data["tls.key"], after.Data["tls.key"]) {
		t.Error("the authority is not renewed with the key that it has")
	}
	if bytes.Equal(first.Data["tls.crt"], last.Data["tls.crt"]) || !bytes.Equal(last.Data["ca.crt"], after.Data["tls.crt"]) {
		t.Error("what the agents have is not by the renewed authority")
	}
	if until := c.untilNext(last); until != certificates.Life*2/3 {
		t.Errorf("the next is due in %s", until)
	}
	if !engine.OwnsKeys(&metav1.PartialObjectMetadata{ObjectMeta: after.ObjectMeta}, engine.CertificateKey, engine.PrivateKeyKey) {
		t.Error("the renewal counts as an edit of somebody else")
	}
	c.next()
	if again := c.secret("db-ca"); !bytes.Equal(again.Data["tls.crt"], after.Data["tls.crt"]) {
		t.Error("it is renewed again")
	}
}

func TestAnotherAuthorityIsTrustedBesideTheOneBefore(t *testing.T) {
	c := newCertifying(t)
	first := c.next()
	if err := c.clients.Kube.CoreV1().Secrets("ns").Delete(t.Context(), "db-ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	both := c.next()
	if want := append(bytes.Clone(c.secret("db-ca").Data["tls.crt"]), first.Data["ca.crt"]...); !bytes.Equal(both.Data["ca.crt"], want) ||
		!bytes.Equal(both.Data["tls.crt"], first.Data["tls.crt"]) || c.untilNext(both) != 24*time.Hour {
		t.Errorf("trusted are %s, and the next step is in %s", both.Data["ca.crt"], c.untilNext(both))
	}
	c.now.Step(c.untilNext(both))
	if signed := c.next(); !bytes.Equal(signed.Data["ca.crt"], both.Data["ca.crt"]) || bytes.Equal(signed.Data["tls.crt"], first.Data["tls.crt"]) {
		t.Error("it does not sign yet")
	}
}

// What somebody put there is neither trusted nor waited for.
func TestAnEditedCertificateIsNotTrusted(t *testing.T) {
	c := newCertifying(t)
	c.next()
	foreign, err := certificates.NewAuthority("foreign", c.now.Now())
	if err != nil {
		t.Fatal(err)
	}
	bundle, _, err := certificates.Issue(foreign, certificates.Bundle{}, "foreign", []string{"a"}, c.now.Now())
	if err != nil {
		t.Fatal(err)
	}
	edit, err := json.Marshal(map[string]any{"data": map[string][]byte{"tls.crt": bundle.Certificate, "tls.key": bundle.Key, "ca.crt": bundle.Authorities}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.clients.Kube.CoreV1().Secrets("ns").Patch(t.Context(), "db-agent-tls", types.MergePatchType, edit, metav1.PatchOptions{FieldManager: "a person"}); err != nil {
		t.Fatal(err)
	}
	if after := c.next(); !bytes.Equal(after.Data["ca.crt"], c.secret("db-ca").Data["tls.crt"]) || bytes.Equal(after.Data["tls.crt"], bundle.Certificate) {
		t.Error("what was edited stays")
	}
}
