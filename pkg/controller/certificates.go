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

// issueCertificate makes the agents' certificate, in one atomic write with the authority that
// signed it.
func (c *Controller) issueCertificate(ctx context.Context, db *dbv1.Database, a engine.IssueCertificate) error {
	secrets, name := c.clients.Kube.CoreV1().Secrets(db.Namespace), naming.AgentTLS(db.Name)
	authority, err := secrets.Get(ctx, naming.CA(db.Name), metav1.GetOptions{})
	if err != nil {
		return err
	}
	live, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		if err := checkOwner(db, c.kinds["Secret"], live); err != nil {
			return err
		}
	}
	ca := certificates.Pair{Certificate: authority.Data[engine.CertificateKey], Key: authority.Data[engine.PrivateKeyKey]}
	pair, renew, err := certificates.Issue(ca, db.Name, a.Hosts, c.clock.Now())
	if err != nil {
		return &conflictError{resource: "secrets", name: authority.Name, owner: fmt.Sprintf("somebody else (%v)", err)}
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{
			"name": name, "labels": resources.Labels(db), "ownerReferences": []metav1.OwnerReference{controllerReference(db)},
			"annotations": map[string]string{naming.AnnotationSource: a.Source, naming.AnnotationRenewAfter: renew.UTC().Format(time.RFC3339)},
		},
		"data": map[string][]byte{engine.CertificateKey: pair.Certificate, engine.PrivateKeyKey: pair.Key, engine.CACertificateKey: ca.Certificate},
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

func controllerReference(db *dbv1.Database) metav1.OwnerReference {
	return *metav1.NewControllerRef(db, dbv1.SchemeGroupVersion.WithKind("Database"))
}
