package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// growError: the API server does not let a claim grow, mostly because its StorageClass does not allow it.
type growError struct {
	claim string
	size  resource.Quantity
	err   error
}

func (e *growError) Error() string {
	return fmt.Sprintf("volume %s cannot grow to %s: %v", e.claim, e.size.String(), e.err)
}

func (e *growError) Unwrap() error { return e.err }

// remedy says what a person can do.
func (e *growError) remedy(canSetBack bool) string {
	text := "Set allowVolumeExpansion of its StorageClass to true"
	switch {
	case strings.Contains(e.err.Error(), "exceeded quota"):
		text = "Raise the quota"
	case lacksPermission(e.err):
		text = applyRole
	}
	if canSetBack {
		text += ", or set spec.storage.size back"
	}
	return text
}

// growth is what came of the volumes that were to grow.
type growth struct {
	// refused is the first that could not: all have one class.
	refused *growError
	// done is true when one was told its size.
	done bool
}

// add notes how one ended, and returns what is another error.
func (g *growth) add(err error) error {
	var refused *growError
	switch {
	case errors.As(err, &refused):
		g.refused = cmp.Or(g.refused, refused)
		return nil
	case err == nil:
		g.done = true
	}
	return err
}

// growClaim makes a claim ask for more, as it was seen: nobody's larger wish is made smaller.
func (c *Controller) growClaim(ctx context.Context, db *dbv1.Database, a engine.GrowClaim) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": a.UID, "resourceVersion": a.ResourceVersion, "annotations": a.Annotations},
		"spec":     map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": a.Size}}},
	})
	if err != nil {
		return err
	}
	k := c.kinds["PersistentVolumeClaim"]
	written, err := k.client(db.Namespace).patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: naming.AnnotationFieldManager})
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return &growError{claim: a.Name, size: a.Size, err: err}
	}
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), k.resource, written)
	return nil
}

// reportGrowth says which volume cannot grow, and what to do. A size that one of them was told cannot be set back.
func (c *Controller) reportGrowth(o *engine.Observation, status *dbv1.DatabaseStatus, grown growth) {
	if grown.refused == nil {
		return
	}
	remedy := grown.refused.remedy(!grown.done && engine.CanSetSizeBack(o, grown.refused.size))
	engine.SetCondition(status, o.Database.Generation, metav1.Condition{
		Type: dbv1.ConditionStorageReady, Status: metav1.ConditionFalse, Reason: dbv1.ReasonResizeFailed,
		Message: grown.refused.Error() + ". " + remedy, LastTransitionTime: metav1.NewTime(c.clock.Now()),
	})
}
