package elector

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// How the Lease comes to the loop, and from it: reads, one at a time; writes; and the watch, which only
// makes things faster.

func (e *Elector) requestLimit() time.Duration { return time.Duration(e.limit.Load()) }

// read reads the Lease, unless a read is under way.
func (e *Elector) read(ctx context.Context) {
	if !e.reading.CompareAndSwap(false, true) {
		return
	}
	go func() {
		// It is over when the loop has the answer: the next one cannot overtake it.
		defer e.reading.Store(false)
		sentAt := e.mono()
		lease, err := e.lease.read(ctx, e.requestLimit())
		e.Metrics.read(err)
		if err != nil {
			klog.FromContext(ctx).V(2).Info("The Lease cannot be read", "err", err)
			return
		}
		e.post(func(ctx context.Context) {
			if e.versions.read(lease, sentAt, e.mono()) {
				e.see(ctx, lease, sentAt)
			}
		})
	}()
}

// watched takes what the watch shows. That the Lease is gone, a read has to say.
func (e *Elector) watched(ctx context.Context, kind watch.EventType, lease *coordinationv1.Lease) {
	switch kind {
	case watch.Added, watch.Modified:
		e.post(func(ctx context.Context) {
			if e.versions.watched(lease, e.mono()) {
				e.see(ctx, lease, -1)
			}
		})
	case watch.Deleted:
		e.read(ctx)
	case watch.Bookmark, watch.Error:
	}
}

// see gives the machine a Lease, or that there is none. One whose record cannot be read is given as one
// that was never held: to the machine that is a Lease that somebody rolled back by hand. Whoever knows
// of an epoch does not take it for released, and the holder, who knows what was on it, writes it again.
func (e *Elector) see(ctx context.Context, lease *coordinationv1.Lease, sentAt time.Duration) {
	event := election.LeaseSeen{SentAt: sentAt}
	if lease != nil {
		r, err := recordOf(lease)
		if err != nil {
			klog.FromContext(ctx).Error(err, "The Lease has no record that can be read", "resourceVersion", lease.ResourceVersion)
		}
		event.Version, event.Record = lease.ResourceVersion, r
	}
	e.note(ctx, event.Record)
	e.step(ctx, event)
}

// note keeps for the status what stands on the Lease.
func (e *Elector) note(ctx context.Context, r election.Record) {
	if before := &e.known.Lease; r.Epoch != before.Epoch || r.Holder != before.Holder || !e.known.Seen {
		klog.FromContext(ctx).Info("The Lease says", "holder", r.Holder, "epoch", r.Epoch, "handover", r.Handover)
	}
	e.known.Seen, e.known.Lease = true, r
}

// base is the Lease that a write replaces; with the empty version, a new one that carries what the last
// one carried. It is nothing when the version is no longer known.
func (e *Elector) base(version string) *coordinationv1.Lease {
	if version != "" {
		return e.versions.object(version)
	}
	base := &coordinationv1.Lease{}
	base.Labels, base.OwnerReferences = e.like.Labels, e.like.OwnerReferences
	if last := e.versions.last(); last != nil {
		base = last.DeepCopy()
	}
	base.ObjectMeta = metav1.ObjectMeta{
		Namespace: e.Namespace, Name: e.LeaseName,
		Labels: base.Labels, Annotations: base.Annotations, OwnerReferences: base.OwnerReferences,
	}
	return base
}

// write sends a record.
func (e *Elector) write(ctx context.Context, a election.WriteLease, base *coordinationv1.Lease, kind string) {
	written, outcome := e.send(ctx, a, base)
	e.Metrics.wrote(kind, outcome)
	e.post(func(ctx context.Context) {
		event := election.LeaseWritten{ID: a.ID, Outcome: outcome}
		if outcome == election.Committed {
			event.Version = written.ResourceVersion
			e.versions.wrote(written, e.mono())
			e.note(ctx, a.Record)
		}
		e.step(ctx, event)
	})
}

func (e *Elector) send(ctx context.Context, a election.WriteLease, base *coordinationv1.Lease) (*coordinationv1.Lease, election.Outcome) {
	logger := klog.FromContext(ctx)
	if base == nil {
		// So many newer versions were seen that this one is forgotten.
		return nil, election.Conflict
	}
	lease, err := leaseWith(base, &a.Record)
	if err != nil {
		logger.Error(err, "The record cannot be written")
		return nil, election.Unknown
	}
	written, outcome, err := e.lease.write(ctx, lease, e.requestLimit())
	if err != nil {
		logger.Info("The Lease was not written", "outcome", outcome, "epoch", a.Record.Epoch, "err", err)
	}
	return written, outcome
}
