package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// growError: the API server does not let a claim grow, mostly because its StorageClass does not allow it.
type growError struct {
	claim, size string
	err         error
}

func (e *growError) Error() string {
	return fmt.Sprintf("volume %s cannot grow to %s: %v. Set allowVolumeExpansion of its StorageClass to true, or set spec.storage.size back", e.claim, e.size, e.err)
}

func (e *growError) Unwrap() error { return e.err }

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
		return &growError{claim: a.Name, size: a.Size.String(), err: err}
	}
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), k.resource, written)
	return nil
}

// reportGrowth says which volume cannot grow: the first of them, because all have one class.
func (c *Controller) reportGrowth(db *dbv1.Database, status *dbv1.DatabaseStatus, failure error) {
	var grow *growError
	if !errors.As(failure, &grow) {
		return
	}
	engine.SetCondition(status, db.Generation, metav1.Condition{
		Type: dbv1.ConditionStorageReady, Status: metav1.ConditionFalse, Reason: dbv1.ReasonResizeFailed,
		Message: grow.Error(), LastTransitionTime: metav1.NewTime(c.clock.Now()),
	})
}
