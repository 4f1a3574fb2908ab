package engine_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// lastRenewed is a replica set whose Lease must be renewed, and was that long ago.
func lastRenewed(ago time.Duration) scene { return settled(replicated(3)).lastRenewed(ago) }

func (s scene) lastRenewed(ago time.Duration) scene {
	r, err := record.Parse(s.Lease.Annotations[naming.AnnotationRecord])
	if err != nil {
		panic(err)
	}
	r.RenewDeadline, r.RenewPeriod, r.RetryPeriod = 10*time.Second, 5*time.Second, time.Second
	s.setRecord(r)
	s.Lease.Spec.LeaseDurationSeconds = new(int32(15))
	// The clocks of other machines say nothing.
	s.Lease.Spec.RenewTime = new(metav1.NewMicroTime(now.Add(-time.Hour)))
	s.LeaseSince, s.LeaseMoved = now.Add(-ago), true
	return s
}

func receivesNothing(s scene, names ...string) {
	for _, name := range names {
		s.Instances[name].Status.Replication.Streaming = false
	}
}

func kubeletSaysNo(s scene, name string) {
	s.Pods[name].Status.Conditions[0].Status = corev1.ConditionFalse
}

// When a node dies, the kubelet's last word stands for forty seconds. The Lease tells earlier.
func TestAPrimaryIsKnownByItsLease(t *testing.T) {
	says := func(s scene, status metav1.ConditionStatus, reason string) {
		s.Database.Status.Conditions = []metav1.Condition{{Type: dbv1.ConditionPrimaryAvailable, Status: status, Reason: reason}}
	}
	for name, c := range map[string]struct {
		ago     time.Duration
		disturb func(scene)
		want    string
		says    string
	}{
		"renewed":                                      {4 * time.Second, nil, "True AsExpected", ""},
		"renewed, and the kubelet is away":             {4 * time.Second, func(s scene) { kubeletSaysNo(s, "db-0") }, "True AsExpected", ""},
		"renewed, and nobody receives":                 {4 * time.Second, func(s scene) { receivesNothing(s, "db-1", "db-2") }, "True AsExpected", ""},
		"renewed by one who says that it is not ready": {4 * time.Second, func(s scene) { s.isNotReady("db-0", "Recovering") }, "False InstanceNotReady", "Recovering"},
		"not renewed, and replicas receive":            {15 * time.Second, nil, "Unknown LeaseNotRenewed", "db-1 still receives"},
		"not renewed, and one replica receives":        {15 * time.Second, func(s scene) { receivesNothing(s, "db-1") }, "Unknown LeaseNotRenewed", "db-2 still receives"},
		"not renewed, and nobody receives":             {15 * time.Second, func(s scene) { receivesNothing(s, "db-1", "db-2") }, "False FailingOver", "one of db-0, db-1, db-2 will be"},
		"not renewed, and nobody else is there":        {15 * time.Second, func(s scene) { s.stopped("db-1").stopped("db-2") }, "Unknown LeaseNotRenewed", "no replica says"},
		"not renewed, and the kubelet says no": {15 * time.Second, func(s scene) {
			s.stopped("db-1").stopped("db-2")
			kubeletSaysNo(s, "db-0")
		}, "False InstanceNotReady", "has not renewed"},
		"not renewed by one who need not": {time.Hour, func(s scene) {
			s.setRecord(record.Record{Name: "data-id-db-0", Candidates: []record.Candidate{{Name: "data-id-db-0", Instance: "db-0"}}, RenewPeriod: 5 * time.Second})
		}, "True AsExpected", ""},
		"the operator has just started": {time.Second, func(s scene) { s.Observation.LeaseMoved = false }, "True AsExpected", ""},
		"the operator has just started, and said before that it is not renewed": {time.Second, func(s scene) {
			s.Observation.LeaseMoved = false
			says(s, metav1.ConditionUnknown, dbv1.ReasonLeaseNotRenewed)
		}, "Unknown LeaseNotRenewed", ""},
		"renewed again": {time.Second, func(s scene) { says(s, metav1.ConditionUnknown, dbv1.ReasonLeaseNotRenewed) }, "True AsExpected", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := lastRenewed(c.ago)
			if c.disturb != nil {
				c.disturb(s)
			}
			p := s.plan()
			if got := condition(p, dbv1.ConditionPrimaryAvailable); got != c.want || !strings.Contains(message(p, dbv1.ConditionPrimaryAvailable), c.says) {
				t.Errorf("PrimaryAvailable is %s: %s; want %s: %s", got, message(p, dbv1.ConditionPrimaryAvailable), c.want, c.says)
			}
		})
	}
}

// Nothing happens when a Lease is not renewed: the operator must look by itself.
func TestTheOperatorLooksAgainWhenALeaseWouldEnd(t *testing.T) {
	if p := lastRenewed(4 * time.Second).plan(); p.RequeueAfter != 11*time.Second {
		t.Errorf("requeue after %s", p.RequeueAfter)
	}
	if p := settled().plan(); p.RequeueAfter != renewal {
		t.Errorf("one that need not be renewed: requeue after %s", p.RequeueAfter)
	}
}

// A Service leads to pods that are ready, whoever is the primary.
func TestClientsAreNotServedByAPodThatIsNotReady(t *testing.T) {
	s := lastRenewed(time.Second)
	kubeletSaysNo(s, "db-0")
	p := s.plan()
	if got := condition(p, dbv1.ConditionReady); got != "False InstanceNotReady" || !strings.Contains(message(p, dbv1.ConditionReady), "kubelet") {
		t.Errorf("Ready is %s: %s", got, message(p, dbv1.ConditionReady))
	}
}
