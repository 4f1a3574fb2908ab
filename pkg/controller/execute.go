package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// kindByResource maps the resources of actions to kinds.
var kindByResource = map[string]string{
	engine.Budgets:      "PodDisruptionBudget",
	engine.Claims:       "PersistentVolumeClaim",
	engine.Instances:    "DatabaseInstance",
	engine.Leases:       "Lease",
	engine.Pods:         "Pod",
	engine.Secrets:      "Secret",
	engine.StatefulSets: "StatefulSet",
}

// execute carries out the actions in order. After a failure, of the sync before them too, only those go on that
// depend on nothing else; that a volume cannot grow is none, and is returned beside, and one of certificates, which
// come first, holds nothing up. It returns the Database as the last write left it.
func (c *Controller) execute(ctx context.Context, db *dbv1.Database, actions []engine.Action, failure error) (*dbv1.Database, growth, error) {
	var grown growth
	held := failure != nil
	for _, action := range actions {
		if held && !isIndependent(action) {
			continue
		}
		klog.FromContext(ctx).V(2).Info("Executing", "action", action.String())
		var err error
		switch a := action.(type) {
		case engine.GrowClaim:
			err = grown.add(c.growClaim(ctx, db, a))
		case engine.AddFinalizer:
			db, err = c.setFinalizers(ctx, db, append(slices.Clone(db.Finalizers), naming.Finalizer))
		case engine.RemoveFinalizer:
			db, err = c.setFinalizers(ctx, db, slices.DeleteFunc(slices.Clone(db.Finalizers), func(f string) bool { return f == naming.Finalizer }))
		default:
			err = c.executeOne(ctx, db, action)
		}
		if err != nil {
			failure = errors.Join(failure, fmt.Errorf("%s: %w", action, err))
			held = held || !isOfCertificates(action)
		}
	}
	return db, grown, failure
}

// isIndependent is true for actions that need nothing which another may have failed to make, and that a
// database may die of when they wait: its disk fills, its certificates expire, its clients have no password.
func isIndependent(action engine.Action) bool {
	switch action.(type) {
	case engine.GrowClaim, engine.CreateAccounts, engine.AddReplicationPassword, engine.PublishCredentials:
		return true
	default:
		return isOfCertificates(action)
	}
}

func isOfCertificates(action engine.Action) bool {
	switch action.(type) {
	case engine.CreateAuthority, engine.IssueCertificate:
		return true
	default:
		return false
	}
}

// executeOne carries out an action that leaves the Database itself as it is.
func (c *Controller) executeOne(ctx context.Context, db *dbv1.Database, action engine.Action) error {
	switch a := action.(type) {
	case engine.CreateAccounts:
		return c.createAccounts(ctx, db, a)
	case engine.PublishCredentials:
		return c.publishCredentials(ctx, db, a)
	case engine.AddReplicationPassword:
		return c.addReplicationPassword(ctx, db)
	case engine.CreateLease:
		return c.createLease(ctx, db)
	case engine.CreateAuthority:
		return c.createAuthority(ctx, db)
	case engine.IssueCertificate:
		return c.issueCertificate(ctx, db, a)
	case engine.Annotate:
		return c.annotate(ctx, db, a)
	case engine.Delete:
		return c.delete(ctx, db, a)
	default:
		return fmt.Errorf("no executor for %T", action)
	}
}

// patchOperation is one operation of a JSON patch (RFC 6902).
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// setFinalizers replaces the finalizers of the very Database that was planned for, unless
// somebody else changed it meanwhile.
func (c *Controller) setFinalizers(ctx context.Context, db *dbv1.Database, finalizers []string) (*dbv1.Database, error) {
	data, err := json.Marshal([]patchOperation{
		{Op: "test", Path: "/metadata/uid", Value: db.UID},
		{Op: "test", Path: "/metadata/resourceVersion", Value: db.ResourceVersion},
		{Op: "add", Path: "/metadata/finalizers", Value: finalizers},
	})
	if err != nil {
		return db, err
	}
	written, err := c.clients.Databases.DatabaseV1().Databases(db.Namespace).
		Patch(ctx, db.Name, types.JSONPatchType, data, metav1.PatchOptions{FieldManager: naming.FieldManager})
	if err != nil {
		return db, err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Database"].resource, written)
	return written, nil
}

// annotate sets annotations and labels of an object of one UID. A merge patch that carries the UID
// fails on any other.
func (c *Controller) annotate(ctx context.Context, db *dbv1.Database, a engine.Annotate) error {
	k := c.kinds[kindByResource[a.Resource]]
	metadata := map[string]any{"uid": a.UID}
	if len(a.Annotations) > 0 {
		metadata["annotations"] = a.Annotations
	}
	if len(a.Labels) > 0 {
		metadata["labels"] = a.Labels
	}
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	written, err := k.client(db.Namespace).patch(ctx, a.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: naming.AnnotationFieldManager})
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), k.resource, written)
	return nil
}

// delete deletes an object of one UID, or of one version. That it is gone already is success.
func (c *Controller) delete(ctx context.Context, db *dbv1.Database, d engine.Delete) error {
	k := c.kinds[kindByResource[d.Resource]]
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &d.UID}, PropagationPolicy: new(metav1.DeletePropagationBackground)}
	if d.Orphan {
		options.PropagationPolicy = new(metav1.DeletePropagationOrphan)
	}
	if d.ResourceVersion != "" {
		options.Preconditions.ResourceVersion = &d.ResourceVersion
	}
	err := k.client(db.Namespace).delete(ctx, d.Name, options)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	klog.FromContext(ctx).Info("Deleted", "resource", k.resource.String(), "object", d.Name, "reason", d.Reason)
	c.consistency.Deleted(cache.MetaObjectToName(db), k.resource, d.Name, d.UID)
	return nil
}
