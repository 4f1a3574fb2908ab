package elector

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/naming"
)

func testRecord() election.Record {
	return election.Record{
		Holder: "orders-1/u1", Epoch: 4, Name: "d1", W: 1, Durations: election.DefaultDurations, Stamp: 1700000000123456,
		Chain:      election.Chain{{Number: 3, Name: "d0"}, {Number: 4, Name: "d1", Begin: 1 << 63}},
		Candidates: []election.Candidate{{Name: "d0", Instance: "orders-0"}, {Name: "d1", Instance: "orders-1"}},
	}
}

func TestARecordSurvivesTheLease(t *testing.T) {
	released := testRecord()
	released.Holder, released.Handover = "", "d0"
	for name, r := range map[string]election.Record{"held": testRecord(), "released": released, "never held": {}} {
		base := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: testLease, ResourceVersion: "5", UID: "u", Labels: map[string]string{"a": "b"},
			OwnerReferences: []metav1.OwnerReference{{Name: "orders"}}, Annotations: map[string]string{"other": "kept"},
		}}
		lease, err := leaseWith(base, &r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := recordOf(lease)
		if err != nil || !cmp.Equal(got, r) {
			t.Errorf("%s: %v %s", name, err, cmp.Diff(r, got))
		}
		lease.Annotations = map[string]string{"other": lease.Annotations["other"]}
		if diff := cmp.Diff(base.ObjectMeta, lease.ObjectMeta); diff != "" {
			t.Errorf("%s: the rest changed: %s", name, diff)
		}
	}
}

func TestTheLeaseSaysItInItsOwnFieldsToo(t *testing.T) {
	r := testRecord()
	first, err := leaseWith(&coordinationv1.Lease{}, &r)
	if err != nil {
		t.Fatal(err)
	}
	spec := first.Spec
	if *spec.HolderIdentity != "orders-1/u1" || *spec.LeaseTransitions != 4 || *spec.LeaseDurationSeconds != 15 || spec.RenewTime.UnixMicro() != r.Stamp {
		t.Errorf("it says %+v", spec)
	}
	acquired := spec.AcquireTime.UnixMicro()
	r.Stamp++
	renewed, err := leaseWith(first, &r)
	if err != nil {
		t.Fatal(err)
	}
	if acquired != r.Stamp-1 || renewed.Spec.AcquireTime.UnixMicro() != acquired || renewed.Spec.RenewTime.UnixMicro() != r.Stamp {
		t.Errorf("claimed at %d; renewed it says %+v", acquired, renewed.Spec)
	}
}

func TestFieldsOfLaterReleasesAreKept(t *testing.T) {
	base := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{naming.AnnotationRecord: `{"name":"d0","w":0,"colour":"red",
		"chain":[{"number":3,"name":"d0","begin":0,"why":"x"}],"candidates":[{"name":"d0","instance":"orders-0","zone":"a"}]}`}}}
	r := testRecord()
	lease, err := leaseWith(base, &r)
	if err != nil {
		t.Fatal(err)
	}
	text := lease.Annotations[naming.AnnotationRecord]
	for _, want := range []string{`"colour":"red"`, `"number":3,"name":"d0","begin":0,"why":"x"`, `"zone":"a"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is lost: %s", want, text)
		}
	}
	if strings.Count(text, "zone") != 1 || strings.Count(text, "why") != 1 {
		t.Errorf("it was given to others: %s", text)
	}
}

func TestALeaseWithoutRecordWasNeverHeldOrIsBroken(t *testing.T) {
	holder, epoch := "orders-0/u", int32(2)
	for name, c := range map[string]struct {
		lease coordinationv1.Lease
		ok    bool
	}{
		"empty":     {coordinationv1.Lease{}, true},
		"held":      {coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}, false},
		"once held": {coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{LeaseTransitions: &epoch}}, false},
		"with something else": {coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{naming.AnnotationRecord: "[]"},
		}}, false},
	} {
		got, err := recordOf(&c.lease)
		if (err == nil) != c.ok || !cmp.Equal(got, election.Record{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestADurationOfTheLeaseHasWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{0: 0, 1: time.Second, time.Second: time.Second, 1500 * time.Millisecond: 2 * time.Second} {
		if got := wholeSeconds(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}
