package simulation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// Elections, as simple as they can be while the Lease and its record look as real agents leave them.
//
//  1. The Lease belongs to whoever writes it first while it is free: never held, released (to the one
//     named in handover, if any), or held by a pod that has been gone for a while.
//  2. The holder is the primary. It records as candidates itself and the members that follow it.
//  3. It releases when its pod is stopped, when it is fenced, and when it is asked to hand over.
//
// Nothing is renewed, and no data is compared: replicas here are always whole.

// leaseTurn is the Lease as an agent sees it in one turn.
type leaseTurn struct {
	lease  *coordinationv1.Lease
	holder record.Identity
	epoch  int64
	record record.Record
}

// readLease is nil when there is none, or the cache is behind the agent's own write.
func (t *turn) readLease() (*leaseTurn, error) {
	name := cache.NewObjectName(t.instance.Namespace, t.instance.Spec.Replication.LeaseName)
	lease := find[coordinationv1.Lease](t.leases, name)
	if lease == nil || older(lease.ResourceVersion, t.agent.leaseWritten) {
		return nil, nil
	}
	l := &leaseTurn{lease: lease}
	if id := lease.Spec.HolderIdentity; id != nil {
		l.holder, _ = record.ParseIdentity(*id)
	}
	if n := lease.Spec.LeaseTransitions; n != nil {
		l.epoch = int64(*n)
	}
	var err error
	l.record, err = record.Parse(lease.Annotations[naming.AnnotationRecord])
	return l, err
}

func (t *turn) identity() record.Identity {
	return record.Identity{Pod: t.pod.Name, UID: string(t.pod.UID)}
}

// elect takes part in the election, and says what role comes out of it. The agent's engine runs.
func (t *turn) elect(ctx context.Context) (dbv1.InstanceRole, error) {
	if t.instance.Spec.Replication == nil {
		if t.instance.Spec.Ordinal == 0 {
			return dbv1.RolePrimary, nil
		}
		return dbv1.RoleReplica, nil
	}
	l, err := t.readLease()
	if err != nil || l == nil {
		return t.agent.role, err // the Lease's event wakes us
	}
	role := dbv1.RoleReplica
	switch {
	case l.holder == t.identity():
		role = dbv1.RolePrimary
		if err := t.reign(ctx, l); err != nil {
			return role, err
		}
	case t.mayClaim(l):
		return dbv1.RoleReplica, t.claim(ctx, l)
	}
	t.agent.role, t.agent.epoch, t.agent.source = role, l.epoch, l.holder.Pod
	t.endHandover(l)
	return role, nil
}

// mayClaim is true when the Lease is free, and this agent's data is whole as far as is recorded. One
// that was handed over is free for others only after a while.
func (t *turn) mayClaim(l *leaseTurn) bool {
	forced := t.asked(dbv1.OperationFailover)
	_, isCandidate := l.record.Candidate(t.volume.dataID)
	switch {
	case l.epoch > 0 && !isCandidate && !forced:
		return false
	case l.epoch == 0 && t.instance.Spec.Ordinal != 0:
		return false
	case l.holder == record.Identity{} && (l.record.Handover == "" || l.record.Handover == t.volume.dataID || forced):
		return true
	}
	return t.hasBeenGone(l.holder)
}

// hasBeenGone is true when the holder's pod is not there since leaseDuration.
func (t *turn) hasBeenGone(holder record.Identity) bool {
	pod := find[corev1.Pod](t.pods, cache.NewObjectName(t.pod.Namespace, holder.Pod))
	if pod != nil && string(pod.UID) == holder.UID {
		t.agent.goneSince = time.Time{}
		return false
	}
	if t.agent.goneSince.IsZero() {
		t.agent.goneSince = time.Now()
	}
	if wait := time.Until(t.agent.goneSince.Add(t.options.LeaseDuration)); wait > 0 {
		t.after(wait)
		return false
	}
	return true
}

func (t *turn) claim(ctx context.Context, l *leaseTurn) error {
	r := l.record
	r.Chain = append(slices.Clone(r.Chain), record.Epoch{Number: l.epoch + 1, Name: t.volume.dataID, Begin: uint64(l.epoch+1) << 24})
	if len(r.Candidates) == 0 {
		r.Candidates = []record.Candidate{{Name: t.volume.dataID, Instance: t.pod.Name}}
	}
	r.Name, r.Handover, r.W = t.volume.dataID, "", int(t.instance.Spec.Replication.SynchronousReplicas)
	t.agent.goneSince = time.Time{}
	return t.writeLease(ctx, l.lease, new(t.identity().String()), l.epoch+1, r)
}

// reign keeps the record of a primary, or hands over when that is asked.
func (t *turn) reign(ctx context.Context, l *leaseTurn) error {
	if t.asked(dbv1.OperationSwitchover) {
		return t.handOver(ctx, l)
	}
	r := l.record
	r.Candidates, r.W = []record.Candidate{{Name: t.volume.dataID, Instance: t.pod.Name}}, int(t.instance.Spec.Replication.SynchronousReplicas)
	for _, member := range t.instance.Spec.Members {
		other := find[dbv1.DatabaseInstance](t.objects, cache.NewObjectName(t.instance.Namespace, member.Name))
		if other == nil || member.Name == t.pod.Name || other.Status.DataID == "" {
			continue
		}
		_, before := l.record.Candidate(other.Status.DataID)
		if follows := other.Status.Replication; before || follows != nil && follows.Streaming && follows.Source == t.pod.Name {
			r.Candidates = append(r.Candidates, record.Candidate{Name: other.Status.DataID, Instance: member.Name})
		}
	}
	if same, err := equalJSON(r, l.record); err != nil || same {
		return err
	}
	return t.writeLease(ctx, l.lease, l.lease.Spec.HolderIdentity, l.epoch, r)
}

// handOver releases the Lease to the target, else to any other candidate.
func (t *turn) handOver(ctx context.Context, l *leaseTurn) error {
	target := t.instance.Spec.Operation.Target
	for _, c := range l.record.Candidates {
		other := find[dbv1.DatabaseInstance](t.objects, cache.NewObjectName(t.instance.Namespace, c.Instance))
		if c.Name == t.volume.dataID || other == nil || !other.Status.Ready || target != "" && c.Instance != target {
			continue
		}
		r := l.record
		r.Handover = c.Name
		t.agent.upAt = time.Time{} // it comes back as a replica
		return t.writeLease(ctx, l.lease, nil, l.epoch, r)
	}
	t.volume.operation.Phase, t.volume.operation.Message = dbv1.OperationFailed, "no candidate is ready to take over"
	return nil
}

// asked is true while an operation of a kind is to be carried out by this agent.
func (t *turn) asked(kind string) bool {
	op := t.instance.Spec.Operation
	return op != nil && op.Kind == kind && t.operating() && t.volume.operation.ID == op.ID
}

// endHandover ends an operation that changes the primary, when it has.
func (t *turn) endHandover(l *leaseTurn) {
	switch {
	case t.asked(dbv1.OperationSwitchover) && l.holder != (record.Identity{}) && l.holder != t.identity(),
		t.asked(dbv1.OperationFailover) && l.holder == t.identity():
		t.volume.operation.Phase = dbv1.OperationSucceeded
	}
}

// release lets the Lease of a pod that stops go.
func (s *Simulation) release(ctx context.Context, pod *corev1.Pod) error {
	instance := find[dbv1.DatabaseInstance](s.objects, cache.MetaObjectToName(pod))
	if instance == nil || instance.Spec.Replication == nil {
		return nil
	}
	t := &turn{Simulation: s, agent: &agent{}, instance: instance, pod: pod}
	l, err := t.readLease()
	if err != nil || l == nil || l.holder != t.identity() {
		return err
	}
	return t.writeLease(ctx, l.lease, nil, l.epoch, l.record)
}

func (t *turn) writeLease(ctx context.Context, seen *coordinationv1.Lease, holder *string, epoch int64, r record.Record) error {
	text, err := r.Render()
	if err != nil {
		return err
	}
	lease := seen.DeepCopy()
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[naming.AnnotationRecord] = text
	lease.Spec.HolderIdentity, lease.Spec.LeaseTransitions = holder, new(int32(epoch))
	lease.Spec.LeaseDurationSeconds = new(int32(t.instance.Spec.Replication.LeaseDuration.Seconds()))
	lease.Spec.RenewTime = new(metav1.NowMicro())
	written, err := t.kube.CoordinationV1().Leases(lease.Namespace).Update(ctx, lease, metav1.UpdateOptions{FieldManager: naming.AgentFieldManager})
	if apierrors.IsConflict(err) {
		return nil // somebody was faster; its event wakes us
	}
	if err != nil {
		return fmt.Errorf("write Lease %s: %w", lease.Name, err)
	}
	t.agent.leaseWritten = written.ResourceVersion
	return nil
}

// enqueueOfLease wakes all agents of a Database.
func (s *Simulation) enqueueOfLease(object any) {
	lease, ok := object.(*coordinationv1.Lease)
	if !ok {
		return
	}
	for _, object := range s.objects.GetStore().List() {
		if instance, ok := object.(*dbv1.DatabaseInstance); ok && instance.Namespace == lease.Namespace && instance.Spec.DatabaseName == lease.Labels[naming.LabelDatabase] {
			s.enqueue(kindInstance, instance)
		}
	}
}

// enqueuePrimary wakes the agent that an instance follows: it may be a candidate now.
func (s *Simulation) enqueuePrimary(object any) {
	instance, ok := object.(*dbv1.DatabaseInstance)
	if !ok || instance.Status.Replication == nil || instance.Status.Replication.Source == "" {
		return
	}
	s.queue.Add(key{kindInstance, cache.NewObjectName(instance.Namespace, instance.Status.Replication.Source)})
}

// hotStandby are the running values of the settings that a replica must not have lower.
func (c *configuration) hotStandby() map[string]int64 {
	values := map[string]int64{}
	for _, name := range []string{"max_connections", "max_locks_per_transaction", "max_prepared_transactions", "max_wal_senders", "max_worker_processes"} {
		if n, err := strconv.ParseInt(c.running[name], 10, 64); err == nil {
			values[name] = n
		}
	}
	return values
}
