package engine

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// What is the Database's to touch.
//
// An object is, when the Database is its controller; a pod is, when a StatefulSet of the Database is.
// What another controller has is never touched, whatever else it says.
//
// Somebody may have taken the reference away, so that there is no controller: a StatefulSet does so
// itself with a pod that lost its labels, and cannot make another one of that name. Then it must be
// known that the object was made for this very Database, by its UID: from the annotation that the
// operator wrote and nobody changed since; of a pod, which the operator did not write, from the
// template's annotation, or because the agent in it reported as this instance.

// IsOurs is true for an object that the Database controls, or that was made for it and has no controller.
func IsOurs(db *dbv1.Database, object metav1.Object) bool {
	if ref := metav1.GetControllerOf(object); ref != nil {
		return ref.UID == db.UID
	}
	_, wrote := ownedFields(object).Metadata.Annotations["f:"+naming.AnnotationDatabaseUID]
	return wrote && object.GetAnnotations()[naming.AnnotationDatabaseUID] == string(db.UID)
}

// OwnsPod is the same for a pod.
func (o *Observation) OwnsPod(pod *corev1.Pod) bool {
	if ref := metav1.GetControllerOf(pod); ref != nil {
		for _, set := range o.StatefulSets {
			if set.UID == ref.UID {
				return IsOurs(o.Database, set)
			}
		}
		return false
	}
	if pod.Annotations[naming.AnnotationDatabaseUID] == string(o.Database.UID) {
		return true
	}
	dbi := o.Instances[pod.Name]
	return dbi != nil && IsOurs(o.Database, dbi) && dbi.Status.PodUID == string(pod.UID)
}

// isInstance is true for a pod that is an instance of the Database, or was one: its StatefulSet may be gone before it.
// Others only carry the labels, as a copy does that somebody made to look into one, whatever else it copied.
func (o *Observation) isInstance(pod *corev1.Pod) bool {
	group := resources.Group{Name: pod.Labels[naming.LabelGroup]}
	if _, ok := ordinalIn(group, pod.Name); !ok && o.Instances[pod.Name] == nil {
		return false
	}
	ref := metav1.GetControllerOf(pod)
	isOrphan := ref != nil && ref.Kind == "StatefulSet" && ref.Name == group.Name && o.StatefulSets[group.Name] == nil
	return isOrphan || o.OwnsPod(pod)
}

// instancePods are the pods that are instances, by name; strangers are the names of the others.
func (o *Observation) instancePods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, name := range slices.Sorted(maps.Keys(o.Pods)) {
		if pod := o.Pods[name]; o.isInstance(pod) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func (o *Observation) strangers() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.Pods)) {
		if !o.isInstance(o.Pods[name]) {
			names = append(names, name)
		}
	}
	return names
}

// planPodLabels puts back the labels by which the StatefulSet finds its pods; it then adopts a pod
// that it had let go.
func (p *planner) planPodLabels() {
	for _, group := range p.existingShape().Groups {
		selector := labels.SelectorFromSet(resources.Selector(p.Database, group.Name))
		for _, name := range group.Instances() {
			pod := p.Pods[name]
			if pod == nil || pod.DeletionTimestamp != nil || selector.Matches(labels.Set(pod.Labels)) || !p.OwnsPod(pod) {
				continue
			}
			p.do(Annotate{Resource: Pods, Name: name, UID: pod.UID, Labels: resources.PodLabels(p.Database, group.Name)})
		}
	}
}

// fieldSet is the part of managed fields that is asked about.
type fieldSet struct {
	Data     map[string]any `json:"f:data"`
	Metadata struct {
		Annotations map[string]any `json:"f:annotations"`
	} `json:"f:metadata"`
}

// ownedFields are the fields that the operator wrote. Whoever changes a value takes it over.
func ownedFields(object metav1.Object) fieldSet {
	var all fieldSet
	for _, entry := range object.GetManagedFields() {
		if entry.Manager != naming.FieldManager || entry.FieldsV1 == nil {
			continue
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &all); err != nil {
			return fieldSet{}
		}
	}
	return all
}

// OwnsKeys is true when the operator is still the owner of every one of these keys of a Secret: this
// sees an edit without reading the Secret.
func OwnsKeys(secret *metav1.PartialObjectMetadata, keys ...string) bool {
	owned := ownedFields(secret).Data
	for _, key := range keys {
		if _, ok := owned["f:"+key]; !ok {
			return false
		}
	}
	return true
}
