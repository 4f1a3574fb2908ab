package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Volumes grow, and never shrink. It does not matter for that whether the database is well: a full disk
// must be grown out of.
//
//  1. All volumes of a group are to have one size: what the spec says, or what the largest has; and one
//     step more when one of them is fuller than autoGrow allows. A step is decided once: the first claim that
//     asks for it makes it the largest size, whatever happens in between.
//  2. Each claim is told, with the capacity that its file system had then. Until the agent reports
//     more, nothing of how full it is counts for another step.
//  3. When all claims ask for that size, the StatefulSet, whose claim templates cannot change, is deleted
//     without its pods. It is made anew when it is gone, and takes the pods over.

// How full a volume may be, in percent. What was said of a volume is taken back when it is relief below that:
// logs come and go, and who is warned must not be told the contrary a moment later.
const (
	fillingPercent  = 80
	criticalPercent = 90
	reliefPercent   = 5
)

// planStorage makes volumes as large as they are to be.
func (p *planner) planStorage() {
	want := p.shape.VolumeSize
	if want == nil {
		return
	}
	for _, name := range p.existing {
		claim := p.Claims[naming.Claim(name)]
		if !p.ownsClaim(claim) || claim.DeletionTimestamp != nil || claim.Status.Phase != corev1.ClaimBound {
			continue
		}
		if have := claim.Spec.Resources.Requests[corev1.ResourceStorage]; have.Cmp(*want) < 0 {
			p.do(GrowClaim{
				Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion, Size: *want,
				Annotations: map[string]string{
					naming.AnnotationSize:      dbv1.StorageSize(p.Database).String(),
					naming.AnnotationGrownFrom: strconv.FormatInt(p.capacity(name), 10),
				},
			})
		}
	}
	p.planTemplates(*want)
}

// planTemplates deletes StatefulSets whose claim templates say another size, without their pods.
func (p *planner) planTemplates(want resource.Quantity) {
	if len(p.leaving()) > 0 || p.runningOperation() != nil {
		return
	}
	for _, name := range p.existing {
		claim := p.Claims[naming.Claim(name)]
		if claim != nil && claim.Spec.Resources.Requests.Storage().Cmp(want) != 0 {
			return
		}
	}
	for _, group := range p.shape.Groups {
		set := p.StatefulSets[group.Name]
		if set == nil || set.DeletionTimestamp != nil || !IsOurs(p.Database, set) {
			continue
		}
		if slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(template corev1.PersistentVolumeClaim) bool {
			return template.Name == naming.ClaimTemplate && template.Spec.Resources.Requests.Storage().Cmp(want) != 0
		}) {
			p.do(Delete{Resource: StatefulSets, Name: set.Name, UID: set.UID, Orphan: true, Reason: "its claim templates have another size; it is made anew, and its pods run on"})
		}
	}
}

func (p *planner) ownsClaim(claim *corev1.PersistentVolumeClaim) bool {
	return claim != nil && claim.Annotations[naming.AnnotationDatabaseUID] == string(p.Database.UID)
}

// volumeSize is the size that all volumes are to have, nil when there are none.
func (p *planner) volumeSize() *resource.Quantity {
	size := dbv1.StorageSize(p.Database)
	if size == nil {
		return nil
	}
	largest := size.DeepCopy()
	for _, name := range p.existing {
		if claim := p.Claims[naming.Claim(name)]; p.ownsClaim(claim) {
			if have := claim.Spec.Resources.Requests[corev1.ResourceStorage]; have.Cmp(largest) > 0 {
				largest = have.DeepCopy()
			}
		}
	}
	grow := dbv1.AutoGrow(p.Database, largest)
	if grow == nil || !p.wantsStep(grow.ThresholdPercent, largest) {
		return &largest
	}
	next := largest.DeepCopy()
	next.Add(*grow.Step)
	if next.Cmp(*grow.MaxSize) > 0 {
		next = grow.MaxSize.DeepCopy()
	}
	if next.Cmp(largest) > 0 {
		return &next
	}
	return &largest
}

// wantsStep is true when a volume that has the size of the largest is fuller than it may be, and its last
// growth has arrived.
func (p *planner) wantsStep(threshold int32, size resource.Quantity) bool {
	for _, name := range p.existing {
		claim := p.Claims[naming.Claim(name)]
		if !p.ownsClaim(claim) || p.fullness(name) < int64(threshold) {
			continue
		}
		have := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		before, err := strconv.ParseInt(claim.Annotations[naming.AnnotationGrownFrom], 10, 64)
		if have.Cmp(size) == 0 && (err != nil || p.capacity(name) > before) {
			return true
		}
	}
	return false
}

// capacity is the size of the file system of an instance, 0 when it is not known.
func (p *planner) capacity(name string) int64 {
	if report := p.report(name); report != nil && report.Storage != nil {
		return report.Storage.CapacityBytes
	}
	return 0
}

func (p *planner) fullness(name string) int64 {
	report := p.report(name)
	if report == nil || report.Storage == nil || report.Storage.CapacityBytes == 0 {
		return 0
	}
	return 100 * report.Storage.UsedBytes / report.Storage.CapacityBytes
}

// requestedSize is the largest size that the spec ever asked for, as far as the claims tell: one that
// grew by itself may be larger, and does not make the spec too small.
func (o *Observation) requestedSize() *resource.Quantity {
	var largest *resource.Quantity
	for _, claim := range o.Claims {
		if claim.Annotations[naming.AnnotationDatabaseUID] != string(o.Database.UID) {
			continue
		}
		size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if asked, err := resource.ParseQuantity(claim.Annotations[naming.AnnotationSize]); err == nil {
			size = asked
		}
		if largest == nil || size.Cmp(*largest) > 0 {
			largest = &size
		}
	}
	return largest
}

// CanSetSizeBack is true when volumes are to have a size because the spec asks for it, and none was told so yet:
// the spec may ask for less again.
func CanSetSizeBack(o *Observation, wanted resource.Quantity) bool {
	size, told := dbv1.StorageSize(o.Database), o.requestedSize()
	return size != nil && size.Cmp(wanted) == 0 && (told == nil || told.Cmp(*size) < 0)
}

// reportStorage: the volumes are bound, have the wanted size, and are not filling up. Those of instances that are
// to go are among them, as they are among those that grow.
func (p *planner) reportStorage() {
	if dbv1.StorageSize(p.Database) == nil {
		p.condition(dbv1.ConditionStorageReady, yes, dbv1.ReasonNotRequested, "the spec asks for no volume")
		return
	}
	if p.isObstructed(dbv1.ConditionStorageReady) {
		return
	}
	for _, judge := range []func(name string) (reason, message string){p.unbound, p.resizing, p.filling} {
		for _, name := range p.existing {
			if reason, message := judge(name); reason != "" {
				p.condition(dbv1.ConditionStorageReady, no, reason, message)
				return
			}
		}
	}
	p.condition(dbv1.ConditionStorageReady, yes, dbv1.ReasonAsExpected, "")
}

func (p *planner) unbound(name string) (reason, message string) {
	claim := naming.Claim(name)
	if p.Claims[claim] == nil && p.Database.Spec.Lifecycle.Paused {
		return dbv1.ReasonVolumePending, "volume " + claim + " does not exist" + p.whilePaused()
	}
	if p.Claims[claim] == nil || p.Claims[claim].Status.Phase != corev1.ClaimBound {
		return dbv1.ReasonVolumePending, "volume " + claim + " is not bound; kubectl describe pvc " + claim + " says why"
	}
	return "", ""
}

// resizing says of a volume that it does not have the size that it is to have, in the words of who
// makes it grow.
func (p *planner) resizing(name string) (reason, message string) {
	claim := p.Claims[naming.Claim(name)]
	asked, has, want := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage], p.shape.VolumeSize
	if want == nil || asked.Cmp(*want) >= 0 && has.Cmp(asked) >= 0 {
		return "", ""
	}
	message = fmt.Sprintf("volume %s grows from %s to %s", claim.Name, has.String(), want.String())
	if asked.Cmp(*want) < 0 {
		message += p.whilePaused()
	}
	for i := range claim.Status.Conditions {
		c := &claim.Status.Conditions[i]
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type { //nolint:exhaustive // others say nothing that message does not
		case corev1.PersistentVolumeClaimFileSystemResizePending:
			message += "; its file system grows when the node has noticed, or when the pod is restarted"
		case corev1.PersistentVolumeClaimControllerResizeError, corev1.PersistentVolumeClaimNodeResizeError:
			return dbv1.ReasonResizeFailed, message + ", which fails: " + c.Message
		}
	}
	return dbv1.ReasonResizing, message
}

// filling says how full a volume is, and what to do. While nobody knows, what was known stays.
func (p *planner) filling(name string) (reason, message string) {
	claim := naming.Claim(name)
	before, said := p.wasFilling(claim)
	if report := p.report(name); report == nil || report.Storage == nil {
		return before, said
	}
	full, warnAt, criticalAt := p.fullness(name), int64(fillingPercent), int64(criticalPercent)
	if before != "" {
		warnAt -= reliefPercent
	}
	if before == dbv1.ReasonVolumeNearlyFull {
		criticalAt -= reliefPercent
	}
	if full < warnAt {
		return "", ""
	}
	message = fmt.Sprintf("volume %s is %d%% full; ", claim, full)
	size, grow := p.shape.VolumeSize, dbv1.AutoGrow(p.Database, *p.shape.VolumeSize)
	switch {
	case grow == nil:
		message += "raise spec.storage.size, which is done while it is in use, or delete data"
	case size.Cmp(*grow.MaxSize) >= 0:
		message += "it has the size of spec.storage.autoGrow.maxSize: raise that, or delete data"
	case full < int64(grow.ThresholdPercent):
		message += fmt.Sprintf("it grows by itself when it is %d%% full", grow.ThresholdPercent)
	default:
		message += "it grows by itself as soon as its last growth has arrived"
	}
	if full >= criticalAt {
		return dbv1.ReasonVolumeNearlyFull, message + ". When it is full, the database stops."
	}
	return dbv1.ReasonVolumeFilling, message
}

// wasFilling is what was last said of a volume that fills up, "" when nothing was.
func (p *planner) wasFilling(claim string) (reason, message string) {
	c := meta.FindStatusCondition(p.Database.Status.Conditions, dbv1.ConditionStorageReady)
	if c == nil || c.Reason != dbv1.ReasonVolumeFilling && c.Reason != dbv1.ReasonVolumeNearlyFull || !strings.Contains(c.Message, "volume "+claim+" ") {
		return "", ""
	}
	return c.Reason, c.Message
}

// isTerminating is true while the StatefulSet of a group is going: another of that name can only be made
// when it is gone.
func (p *planner) isTerminating(group resources.Group) bool {
	set := p.StatefulSets[group.Name]
	return set != nil && set.DeletionTimestamp != nil
}
