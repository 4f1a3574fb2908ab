package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// report writes the status once, if it changed, and says in events what changed. What the sync
// could not do is part of the status: a person reads conditions, not the operator's log.
func (c *Controller) report(ctx context.Context, db *dbv1.Database, status *dbv1.DatabaseStatus, failure error) error {
	if failure != nil {
		c.reportFailure(db, status, failure)
	}
	if equality.Semantic.DeepEqual(&db.Status, status) {
		return nil
	}
	patch, err := statusPatch(db, status)
	if err != nil {
		return err
	}
	written, err := c.clients.Databases.DatabaseV1().Databases(db.Namespace).
		Patch(ctx, db.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: naming.StatusFieldManager}, "status")
	if apierrors.IsNotFound(err) {
		// It is gone, with its status.
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Database"].resource, written)
	for _, e := range engine.Transitions(&db.Status, status, engine.FencedInstances(db)...) {
		c.recorder.Eventf(db, nil, e.Type, e.Reason, e.Action, "%s", shorten(e.Message))
	}
	return nil
}

// statusPatch is the merge patch from the status that was planned on to the next. It carries the
// resourceVersion: facts that name the data must not be written over by an operator that is behind.
func statusPatch(db *dbv1.Database, status *dbv1.DatabaseStatus) ([]byte, error) {
	before, err := toJSON(db.Status)
	if err != nil {
		return nil, err
	}
	after, err := toJSON(status)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": db.UID, "resourceVersion": db.ResourceVersion},
		"status":   mergePatch(before, after),
	})
}

// mergePatch is a JSON merge patch (RFC 7386) from before to after.
func mergePatch(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for key := range before {
		if _, kept := after[key]; !kept {
			patch[key] = nil
		}
	}
	for key, value := range after {
		old, had := before[key]
		if had && equality.Semantic.DeepEqual(old, value) {
			continue
		}
		oldMap, wasMap := old.(map[string]any)
		newMap, isMap := value.(map[string]any)
		if wasMap && isMap {
			patch[key] = mergePatch(oldMap, newMap)
			continue
		}
		patch[key] = value
	}
	return patch
}

// reportFailure turns what a sync could not do into conditions.
func (c *Controller) reportFailure(db *dbv1.Database, status *dbv1.DatabaseStatus, failure error) {
	reason, message := explain(failure)
	if reason == "" {
		return
	}
	kind := dbv1.ConditionProvisioned
	if db.DeletionTimestamp != nil {
		kind = dbv1.ConditionReady
	}
	set := func(kind string) {
		engine.SetCondition(status, db.Generation, metav1.Condition{
			Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(c.clock.Now()),
		})
	}
	set(kind)
	if reason == dbv1.ReasonResourceConflict || reason == dbv1.ReasonInvalidCredentials {
		set(dbv1.ConditionReady)
		if status.CurrentVersion == "" {
			status.Phase = dbv1.PhaseFailed
		} else {
			status.Phase = dbv1.PhaseDegraded
		}
	}
}

// explain is the reason and the sentence for a failure, "" for one that a retry will mend and
// nobody need know of.
func explain(failure error) (reason, message string) {
	var conflict *conflictError
	var credentials *credentialsError
	switch {
	case errors.As(failure, &conflict):
		return dbv1.ReasonResourceConflict, failure.Error()
	case errors.As(failure, &credentials):
		return dbv1.ReasonInvalidCredentials, credentials.Error()
	case apierrors.HasStatusCause(failure, corev1.NamespaceTerminatingCause):
		return dbv1.ReasonNamespaceTerminating, "the namespace is being deleted; nothing can be created in it"
	case lacksPermission(failure):
		return dbv1.ReasonForbidden, "the operator lacks a permission: " + failure.Error() + ". " + applyRole + "."
	case apierrors.IsForbidden(failure), apierrors.IsInvalid(failure), apierrors.IsBadRequest(failure):
		return dbv1.ReasonApplyFailed, failure.Error()
	}
	return "", ""
}

// applyRole is what to do when the operator lacks a permission.
const applyRole = "Apply the operator's ClusterRole again (manifests/rbac)"

// lacksPermission tells the refusals of authorization from those of quotas, limits, webhooks and policies, which
// have the same code: only the words differ.
func lacksPermission(failure error) bool {
	if !apierrors.IsForbidden(failure) {
		return false
	}
	text := failure.Error()
	for _, words := range []string{`User "`, "attempting to grant RBAC permissions", "cannot set blockOwnerDeletion"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// isSettled is true for failures that no retry will mend soon: a person or another controller
// must act first, for each of several.
func isSettled(failure error) bool {
	if all, ok := failure.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what wraps it is not one of several
		return !slices.ContainsFunc(all.Unwrap(), func(err error) bool { return !isSettled(err) })
	}
	var conflict *conflictError
	var credentials *credentialsError
	return errors.As(failure, &conflict) || errors.As(failure, &credentials) || apierrors.HasStatusCause(failure, corev1.NamespaceTerminatingCause)
}

// shorten keeps an event's note within the limit of the API (1,024 bytes).
func shorten(note string) string {
	const longest = 1024
	if len(note) <= longest {
		return note
	}
	return note[:longest-3] + "..."
}
