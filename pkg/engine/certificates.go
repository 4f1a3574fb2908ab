package engine

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// The certificates by which agents know each other. An authority is made once for each Database, and
// its Secret is the operator's alone. The certificate that all instances share is made from it, and
// again when its time comes, when somebody edited it, or when the authority is another. Pods see the
// new one without a restart.

// Keys of the Secrets with certificates.
const (
	CertificateKey   = "tls.crt"
	PrivateKeyKey    = "tls.key"
	CACertificateKey = "ca.crt"
)

// planCertificates keeps the certificates of the agents.
func (p *planner) planCertificates() {
	if !p.shape.Elects {
		return
	}
	authority, leaf := p.Secrets[naming.CA(p.Database.Name)], p.Secrets[naming.AgentTLS(p.Database.Name)]
	if authority == nil {
		// Its watch event brings the next sync.
		p.do(CreateAuthority{})
		return
	}
	// One name for all: a new instance needs no new certificate.
	hosts := []string{"*." + naming.Host(naming.HeadlessService(p.Database.Name), p.Database.Namespace)}
	source := resources.Hash([]any{contentVersion(authority, CertificateKey, PrivateKeyKey), hosts})
	if leaf != nil && leaf.Annotations[naming.AnnotationSource] == source && OwnsKeys(leaf, CertificateKey, PrivateKeyKey, CACertificateKey) {
		if renew, err := time.Parse(time.RFC3339, leaf.Annotations[naming.AnnotationRenewAfter]); err == nil && p.Now.Before(renew) {
			p.requeueAt(renew)
			return
		}
	}
	p.do(IssueCertificate{Hosts: hosts, Source: source})
}

// overdue is how long a certificate is due before that is said: a write may fail, and is tried again.
const overdue = time.Hour

// certificateTrouble says that the certificate of the agents is not renewed in time, "" when that is not known.
func (p *planner) certificateTrouble() string {
	leaf := p.Secrets[naming.AgentTLS(p.Database.Name)]
	if leaf == nil {
		return ""
	}
	due, err := time.Parse(time.RFC3339, leaf.Annotations[naming.AnnotationRenewAfter])
	if err != nil || p.Now.Before(due.Add(overdue)) {
		return ""
	}
	return fmt.Sprintf("the certificate by which instances know each other, in Secret %s, was to be renewed at %s and is not yet. When it ends, they do not answer "+
		"each other any more, and failover fails. Condition %s, or else the operator's log, says what keeps it",
		leaf.Name, leaf.Annotations[naming.AnnotationRenewAfter], dbv1.ConditionProvisioned)
}

// hasSecrets is true when a new pod finds what it mounts.
func (p *planner) hasSecrets() bool {
	return !p.shape.Elects || p.Secrets[naming.AgentTLS(p.Database.Name)] != nil && p.replicationVersion() != ""
}

// contentVersion identifies the content of a Secret without reading it: the Secret, and once
// somebody edited one of the keys, the state that it is in.
func contentVersion(secret *metav1.PartialObjectMetadata, keys ...string) string {
	version := []string{string(secret.UID)}
	if !OwnsKeys(secret, keys...) {
		version = append(version, secret.ResourceVersion)
	}
	return resources.Hash(version)
}
