// Package resources builds the Kubernetes objects that every engine shares, as apply
// configurations. Builders are pure: the same Database and Shape give the same objects.
package resources

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Shape is what an engine says about the pods of one Database; everything else about them is the
// same for all engines.
type Shape struct {
	// Image of the database container.
	Image string
	// User is the user and group that the engine's image runs as.
	User int64
	// ClientPort is the port that clients connect to.
	ClientPort int32
	// GracePeriod is how long a pod may take to stop.
	GracePeriod time.Duration
	// Config has the files of the ConfigMap, by name.
	Config map[string]string
	// Groups are the StatefulSets, each with its number of instances.
	Groups []Group
	// Elects is true when the instances of the one group elect their primary through a Lease.
	Elects bool
	// VolumeSize is the size of new volumes; nil for what the spec says.
	VolumeSize *resource.Quantity
	// Recorded are the facts that the claims outlive their Database with, beside the system
	// identifier.
	Recorded map[string]string
}

// Group is one StatefulSet and the instances in it.
type Group struct {
	// Name of the StatefulSet.
	Name string
	// Replicas is the number of instances.
	Replicas int32
}

// Instances are the names of the instances of a group, by ordinal.
func (g Group) Instances() []string {
	names := make([]string, g.Replicas)
	for i := range names {
		names[i] = naming.Instance(g.Name, int32(i))
	}
	return names
}

// InstanceNames are the names of all instances, group by group.
func (s Shape) InstanceNames() []string {
	var names []string
	for _, g := range s.Groups {
		names = append(names, g.Instances()...)
	}
	return names
}

// Labels are the labels of every object of a Database.
func Labels(db *dbv1.Database) map[string]string {
	labels := naming.SelectorLabels(db.Name)
	labels[naming.LabelName] = naming.EngineLabel(string(db.Spec.Engine))
	labels[naming.LabelInstance] = db.Name
	labels[naming.LabelPartOf] = "database"
	return labels
}

// madeFor marks every object with the Database that it was made for.
func madeFor(db *dbv1.Database) map[string]string {
	return map[string]string{naming.AnnotationDatabaseUID: string(db.UID)}
}

// PodLabels are those of a group's pods and claims.
func PodLabels(db *dbv1.Database, group string) map[string]string {
	labels := Labels(db)
	labels[naming.LabelGroup] = group
	labels[naming.LabelComponent] = "database"
	return labels
}

// Selector finds the pods of a group. It cannot change, so it holds nothing that may.
func Selector(db *dbv1.Database, group string) map[string]string {
	s := naming.SelectorLabels(db.Name)
	s[naming.LabelGroup] = group
	return s
}

// ownerReference makes the Database the controller of an object.
func ownerReference(db *dbv1.Database) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(dbv1.SchemeGroupVersion.String()).WithKind("Database").
		WithName(db.Name).WithUID(db.UID).
		WithController(true).WithBlockOwnerDeletion(true)
}

// merged is base with over on top.
func merged(base, over map[string]string) map[string]string {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, over)
	return out
}

// emptyDir is a volume that lives as long as its pod.
func emptyDir(name string) *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(name).WithEmptyDir(corev1ac.EmptyDirVolumeSource())
}
