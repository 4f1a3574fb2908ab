package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// conflictError: an object of a name that is needed belongs to somebody else. It is left alone.
type conflictError struct {
	resource, name, owner string
	// remedy comes before those that every object has, and ends with "; or ".
	remedy string
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("%s %s belongs to %s and is left alone; %sdelete or rename it, or choose another name for the Database", e.resource, e.name, e.owner, e.remedy)
}

// applyAll makes the objects be as they were rendered, in order. Conflicts are gathered, so that
// a person sees all of them at once; the StatefulSets, which come last, wait: their pods need all the rest.
func (c *Controller) applyAll(ctx context.Context, db *dbv1.Database, objects []runtime.ApplyConfiguration) error {
	var conflicts []error
	for _, config := range objects {
		if _, isSet := config.(*appsv1ac.StatefulSetApplyConfiguration); isSet && len(conflicts) > 0 {
			continue
		}
		var conflict *conflictError
		err := c.apply(ctx, db, config)
		switch {
		case errors.As(err, &conflict):
			conflicts = append(conflicts, err)
		case err != nil:
			return err
		}
	}
	return errors.Join(conflicts...)
}

// apply writes one object, only if it differs, and only if it is the Database's own.
func (c *Controller) apply(ctx context.Context, db *dbv1.Database, config runtime.ApplyConfiguration) error {
	k, name, err := c.kindOf(config)
	if err != nil {
		return err
	}
	rendered, err := toJSON(config)
	if err != nil {
		return fmt.Errorf("render %s %s: %w", k.resource, name, err)
	}
	live := k.cached(db.Namespace, name)
	if live == nil {
		return c.applyUnseen(ctx, db, k, name, rendered)
	}
	if err := checkOwner(db, k, live); err != nil {
		return err
	}
	where, err := difference(rendered, live)
	if err != nil || where == "" {
		return err
	}
	klog.FromContext(ctx).V(2).Info("Applying", "resource", k.resource.String(), "object", name, "difference", where)
	return c.applyPatch(ctx, db, k, rendered, live.GetUID())
}

// applyUnseen writes an object that the cache does not have. It may be there all the same: made
// by somebody else, or ours without its labels. So it is looked up, and what is new is applied
// without force.
func (c *Controller) applyUnseen(ctx context.Context, db *dbv1.Database, k *kind, name string, rendered map[string]any) error {
	live, err := k.client(db.Namespace).get(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		klog.FromContext(ctx).V(2).Info("Creating", "resource", k.resource.String(), "object", name)
		return c.applyPatch(ctx, db, k, rendered, "")
	case err != nil:
		return fmt.Errorf("get %s %s: %w", k.resource, name, err)
	}
	if err := checkOwner(db, k, live); err != nil {
		return err
	}
	return c.applyPatch(ctx, db, k, rendered, live.GetUID())
}

// checkOwner is an error unless the object is the Database's. One that lost its controller gets it
// back by the apply that follows.
func checkOwner(db *dbv1.Database, k *kind, live metav1.Object) error {
	if engine.IsOurs(db, live) {
		return nil
	}
	owner := "somebody else"
	if ref := metav1.GetControllerOf(live); ref != nil {
		owner = ref.Kind + " " + ref.Name
		if ref.Kind == "Database" && ref.Name == db.Name {
			owner = "an earlier Database " + ref.Name + ", and is still being deleted"
		}
	}
	return &conflictError{resource: k.resource.String(), name: live.GetName(), owner: owner}
}

// applyPatch sends one server-side apply. The UID, if any, makes it fail on another object of
// the same name.
func (c *Controller) applyPatch(ctx context.Context, db *dbv1.Database, k *kind, rendered map[string]any, uid types.UID) error {
	metadata, _ := rendered["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if uid != "" {
		metadata["uid"] = string(uid)
	}
	data, err := json.Marshal(rendered)
	if err != nil {
		return fmt.Errorf("render %s %s: %w", k.resource, name, err)
	}
	options := metav1.PatchOptions{FieldManager: naming.FieldManager, Force: new(uid != "")}
	written, err := k.client(db.Namespace).patch(ctx, name, types.ApplyPatchType, data, options)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", k.resource, name, err)
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), k.resource, written)
	return nil
}
