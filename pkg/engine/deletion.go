package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/plural"
)

// Deletion, step by step; each is seen to be done before the next begins:
//
//  1. policy Snapshot: a last backup. Nothing is removed before it succeeded, unless a person
//     says so by an annotation.
//  2. the StatefulSets, and with them the pods, which stop their engines cleanly.
//  3. policy Delete: claims and Secrets, which have no owner and would otherwise stay.
//     Retain keeps them, with the facts by which a Database of the same name takes them over: the identity
//     of the data, or that nobody was ever let in. A claim that never had a volume retains nothing.
//  4. the finalizer. The garbage collector takes the rest.

// planDeletion carries out the deletion policy.
func (p *planner) planDeletion() {
	p.status.Phase = dbv1.PhaseDeleting
	if !slices.Contains(p.Database.Finalizers, naming.Finalizer) {
		return
	}
	if why := p.deletionHeld(); why != "" {
		p.condition(dbv1.ConditionReady, no, dbv1.ReasonDeleting, why)
		return
	}
	p.status.CurrentPrimary = ""
	remaining := p.deletePods()
	switch {
	case remaining != "":
	case dbv1.EffectiveDeletionPolicy(p.Database) == dbv1.DeletionDelete:
		remaining = p.deleteData()
	case !p.NamespaceTerminating:
		remaining = p.retainData()
	}
	if remaining == "" {
		p.do(RemoveFinalizer{})
		remaining = "done"
	}
	if others := p.strangers(); len(others) > 0 {
		remaining += fmt.Sprintf("; left alone: pods that have its labels and are not its own (%s); a volume that one of them uses goes when it does", strings.Join(others, ", "))
	}
	p.condition(dbv1.ConditionReady, no, dbv1.ReasonDeleting, "deletion: "+remaining)
}

// deletionHeld says why the deletion waits, "" when it does not. In a namespace that is being
// deleted nothing may hold it: no backup can be made there, and the volumes are going anyway.
func (p *planner) deletionHeld() string {
	switch {
	case p.NamespaceTerminating:
		return ""
	case p.Database.Spec.Lifecycle.Paused:
		return "deletion waits: the Database is paused. Set spec.lifecycle.paused to false to let it go on."
	case dbv1.EffectiveDeletionPolicy(p.Database) != dbv1.DeletionSnapshot,
		p.Database.Annotations[naming.AnnotationSkipFinalBackup] == "true":
		return ""
	}
	return fmt.Sprintf("not supported yet: the last backup that deletionPolicy Snapshot asks for; nothing was removed. "+
		"Annotate the Database with %s=true to delete it without one (volumes and credentials are kept), or set spec.lifecycle.deletionPolicy to Retain or Delete.",
		naming.AnnotationSkipFinalBackup)
}

// deletePods deletes the StatefulSets, and pods that they let go, and says what is still there.
func (p *planner) deletePods() string {
	const reason = "the Database is being deleted"
	sets := 0
	for _, name := range slices.Sorted(maps.Keys(p.StatefulSets)) {
		set := p.StatefulSets[name]
		if !IsOurs(p.Database, set) {
			continue
		}
		sets++
		if set.DeletionTimestamp == nil {
			p.do(Delete{Resource: StatefulSets, Name: name, UID: set.UID, Reason: reason})
		}
	}
	pods := p.instancePods()
	for _, pod := range pods {
		if metav1.GetControllerOf(pod) == nil && pod.DeletionTimestamp == nil {
			p.do(Delete{Resource: Pods, Name: pod.Name, UID: pod.UID, Reason: reason})
		}
	}
	if sets > 0 || len(pods) > 0 {
		return "stopping: " + plural.Of(len(pods), "pod")
	}
	return ""
}

// deleteData deletes the claims and Secrets that were made for this very Database, and says what
// is still there. What an earlier one of this name retained, and this one never took over, is not its to delete.
func (p *planner) deleteData() string {
	remaining := 0
	remove := func(resource string, object metav1.Object) {
		if object.GetAnnotations()[naming.AnnotationDatabaseUID] != string(p.Database.UID) {
			return
		}
		remaining++
		if object.GetDeletionTimestamp() == nil {
			p.do(Delete{Resource: resource, Name: object.GetName(), UID: object.GetUID(), Reason: "deletionPolicy is Delete"})
		}
		if object.GetLabels()[naming.LabelManagedBy] != naming.ManagedBy {
			// The informer does not see it go.
			p.requeueAt(p.Now.Add(time.Second))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Claims)) {
		remove(Claims, p.Claims[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Secrets)) {
		remove(Secrets, p.Secrets[name])
	}
	if remaining > 0 {
		return fmt.Sprintf("being deleted: %d volumes and Secrets", remaining)
	}
	return ""
}

// retainData completes the facts on what outlives the Database, and says what is still to be done.
//
// The status is that of the deletion's own version of the object or a later one, and no identity is
// recorded once it is being deleted. So one that is not in it was never relied on, and no agent was told
// to let anybody in.
func (p *planner) retainData() string {
	if p.engine == nil {
		// Nothing was ever made for it.
		return ""
	}
	p.shape = p.engine.Shape(p.Database)
	p.identity = judgeIdentity(p.Observation, p.engine, p.shape)
	remaining := 0
	for _, name := range slices.Sorted(maps.Keys(p.Claims)) {
		claim := p.Claims[name]
		if p.identity.recorded != "" || claim.Annotations[naming.AnnotationDatabaseUID] != string(p.Database.UID) || claim.Annotations[naming.AnnotationSystemID] != "" {
			continue
		}
		switch {
		case claim.Spec.VolumeName == "" && claim.Status.Phase == corev1.ClaimPending:
			remaining++
			if claim.DeletionTimestamp == nil {
				p.do(Delete{Resource: Claims, Name: name, UID: claim.UID, ResourceVersion: claim.ResourceVersion, Reason: "it never had a volume"})
			}
		case !isUnused(claim):
			remaining++
			p.do(Annotate{Resource: Claims, Name: name, UID: claim.UID, Annotations: map[string]string{naming.AnnotationUnused: string(p.Database.UID)}})
		}
	}
	if p.identity.recorded != "" {
		remaining += len(p.identity.annotate)
		p.do(p.identity.annotate...)
	}
	if remaining > 0 {
		return "what is retained is being marked"
	}
	return ""
}
