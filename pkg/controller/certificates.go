package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/certificates"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// The Secrets with certificates are owned by the Database and end with it: a Database that takes
// its volumes over makes new ones.

// createAuthority makes the authority. It creates and never overwrites: two operators end with one.
func (c *Controller) createAuthority(ctx context.Context, db *dbv1.Database) error {
	pair, err := certificates.NewAuthority(db.Name, c.clock.Now())
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: naming.CA(db.Name), Namespace: db.Namespace, Labels: resources.Labels(db), OwnerReferences: []metav1.OwnerReference{controllerReference(db)},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{engine.CertificateKey: pair.Certificate, engine.PrivateKeyKey: pair.Key},
	}
	secrets := c.clients.Kube.CoreV1().Secrets(db.Namespace)
	written, err := secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: naming.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		live, err := secrets.Get(ctx, secret.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := checkOwner(db, c.kinds["Secret"], live); err != nil {
			return err
		}
		return c.annotate(ctx, db, engine.Annotate{Resource: engine.Secrets, Name: live.Name, UID: live.UID, Labels: naming.SelectorLabels(db.Name)})
	}
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return nil
}

// issueCertificate makes what the agents have next, in one atomic write with the authorities that they trust.
func (c *Controller) issueCertificate(ctx context.Context, db *dbv1.Database, a engine.IssueCertificate) error {
	ca, err := c.renewAuthority(ctx, db)
	if err != nil {
		return err
	}
	secrets, name := c.clients.Kube.CoreV1().Secrets(db.Namespace), naming.AgentTLS(db.Name)
	live, err := secrets.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		live = &corev1.Secret{}
	case err != nil:
		return err
	default:
		if err := checkOwner(db, c.kinds["Secret"], live); err != nil {
			return err
		}
	}
	bundle, renew, err := certificates.Issue(ca, bundleOf(live), db.Name, a.Hosts, c.clock.Now())
	if err != nil {
		return unreadable(db, err)
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{
			"name": name, "labels": resources.Labels(db), "ownerReferences": []metav1.OwnerReference{controllerReference(db)},
			"annotations": map[string]string{naming.AnnotationSource: a.Source, naming.AnnotationRenewAfter: renew.UTC().Format(time.RFC3339)},
		},
		"data": map[string][]byte{engine.CertificateKey: bundle.Certificate, engine.PrivateKeyKey: bundle.Key, engine.CACertificateKey: bundle.Authorities},
	})
	if err != nil {
		return err
	}
	written, err := secrets.Patch(ctx, name, types.ApplyPatchType, patch, metav1.PatchOptions{FieldManager: naming.FieldManager, Force: new(true)})
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return nil
}

// renewAuthority is the authority, which is renewed first when its end is near.
func (c *Controller) renewAuthority(ctx context.Context, db *dbv1.Database) (certificates.Pair, error) {
	secrets := c.clients.Kube.CoreV1().Secrets(db.Namespace)
	live, err := secrets.Get(ctx, naming.CA(db.Name), metav1.GetOptions{})
	if err != nil {
		return certificates.Pair{}, err
	}
	if err := checkOwner(db, c.kinds["Secret"], live); err != nil {
		return certificates.Pair{}, err
	}
	ca, isNew, err := certificates.RenewAuthority(pairOf(live), c.clock.Now())
	switch {
	case err != nil:
		return certificates.Pair{}, unreadable(db, err)
	case !isNew:
		return ca, nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": live.UID, "resourceVersion": live.ResourceVersion},
		"data":     map[string][]byte{engine.CertificateKey: ca.Certificate},
	})
	if err != nil {
		return certificates.Pair{}, err
	}
	written, err := secrets.Patch(ctx, live.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: naming.FieldManager})
	if err != nil {
		return certificates.Pair{}, err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return ca, nil
}

// unreadable: the operator made an authority that can be read; this one is another's.
func unreadable(db *dbv1.Database, err error) error {
	return &conflictError{resource: "secrets", name: naming.CA(db.Name), owner: fmt.Sprintf("somebody else (%v)", err)}
}

// bundleOf is what the agents have now, nothing when somebody edited it: that is put back, and not trusted.
func bundleOf(live *corev1.Secret) certificates.Bundle {
	keys := []string{engine.CertificateKey, engine.PrivateKeyKey, engine.CACertificateKey}
	if !engine.OwnsKeys(&metav1.PartialObjectMetadata{ObjectMeta: live.ObjectMeta}, keys...) {
		return certificates.Bundle{}
	}
	return certificates.Bundle{Pair: pairOf(live), Authorities: live.Data[engine.CACertificateKey]}
}

func pairOf(secret *corev1.Secret) certificates.Pair {
	return certificates.Pair{Certificate: secret.Data[engine.CertificateKey], Key: secret.Data[engine.PrivateKeyKey]}
}

func controllerReference(db *dbv1.Database) metav1.OwnerReference {
	return *metav1.NewControllerRef(db, dbv1.SchemeGroupVersion.WithKind("Database"))
}
