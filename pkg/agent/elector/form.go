package elector

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// The forms of a record: as the machine knows it, and as it stands on the Lease (package record says
// how). Beside what that describes, spec.renewTime is the record's stamp, in microseconds, by which a
// holder finds its own renewals again, and spec.acquireTime that of the claim.
//
// What is on the Lease and is not ours stays as it is: labels, owner references, fields that a later
// release added.

var errNoRecord = errors.New("the Lease was held, and has no record")

// recordOf is what a Lease says.
func recordOf(lease *coordinationv1.Lease) (election.Record, error) {
	spec := &lease.Spec
	text := lease.Annotations[naming.AnnotationRecord]
	if text == "" && (value(spec.HolderIdentity) != "" || value(spec.LeaseTransitions) != 0) {
		return election.Record{}, errNoRecord
	}
	said, err := record.Parse(text)
	if err != nil {
		return election.Record{}, err
	}
	r := election.Record{
		Holder: value(spec.HolderIdentity), Epoch: int64(value(spec.LeaseTransitions)),
		Name: said.Name, W: said.W, Handover: said.Handover,
		Durations: election.Durations{
			Lease:         time.Duration(value(spec.LeaseDurationSeconds)) * time.Second,
			RenewDeadline: said.RenewDeadline, RenewPeriod: said.RenewPeriod, RetryPeriod: said.RetryPeriod,
		},
	}
	for _, e := range said.Chain {
		r.Chain = append(r.Chain, election.Epoch{Number: e.Number, Name: e.Name, Begin: election.Position(e.Begin)})
	}
	for _, c := range said.Candidates {
		r.Candidates = append(r.Candidates, election.Candidate{Name: c.Name, Instance: c.Instance})
	}
	if spec.RenewTime != nil {
		r.Stamp = spec.RenewTime.UnixMicro()
	}
	return r, nil
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// leaseWith is a Lease like base that says r.
func leaseWith(base *coordinationv1.Lease, r *election.Record) (*coordinationv1.Lease, error) {
	lease := base.DeepCopy()
	text, err := render(r, base)
	if err != nil {
		return nil, err
	}
	metav1.SetMetaDataAnnotation(&lease.ObjectMeta, naming.AnnotationRecord, text)
	spec := &lease.Spec
	stamp := &metav1.MicroTime{Time: time.UnixMicro(r.Stamp).UTC()}
	epoch, seconds := int32(r.Epoch), int32(r.Durations.Lease/time.Second)
	if r.Epoch != int64(value(spec.LeaseTransitions)) {
		spec.AcquireTime = stamp
	}
	spec.RenewTime, spec.LeaseTransitions = stamp, &epoch
	// The API refuses zero.
	spec.LeaseDurationSeconds, spec.HolderIdentity = nil, nil
	if seconds > 0 {
		spec.LeaseDurationSeconds = &seconds
	}
	if r.Holder != "" {
		spec.HolderIdentity = &r.Holder
	}
	return lease, nil
}

// render is the annotation, with what was there and is not known here.
func render(r *election.Record, base *coordinationv1.Lease) (string, error) {
	// What cannot be read has nothing that could be kept.
	before, _ := record.Parse(base.Annotations[naming.AnnotationRecord])
	epochs, candidates := map[string]record.Fields{}, map[string]record.Fields{}
	for _, e := range before.Chain {
		epochs[e.Name+"/"+strconv.FormatInt(e.Number, 10)] = e.Unknown
	}
	for _, c := range before.Candidates {
		candidates[c.Name] = c.Unknown
	}
	says := record.Record{
		Name: r.Name, W: r.W, Handover: r.Handover, Unknown: before.Unknown,
		RenewDeadline: r.Durations.RenewDeadline, RenewPeriod: r.Durations.RenewPeriod, RetryPeriod: r.Durations.RetryPeriod,
	}
	for _, e := range r.Chain {
		says.Chain = append(says.Chain, record.Epoch{
			Number: e.Number, Name: e.Name, Begin: uint64(e.Begin), Unknown: epochs[e.Name+"/"+strconv.FormatInt(e.Number, 10)],
		})
	}
	for _, c := range r.Candidates {
		says.Candidates = append(says.Candidates, record.Candidate{Name: c.Name, Instance: c.Instance, Unknown: candidates[c.Name]})
	}
	text, err := says.Render()
	if err != nil {
		return "", fmt.Errorf("write the record: %w", err)
	}
	return text, nil
}

// wholeSeconds is a duration that the Lease can carry: it has whole seconds, and a longer Lease is the
// safe one.
func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}
