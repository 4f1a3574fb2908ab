package engine_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// An empty Lease in the place of one that was held would make a primary of whoever comes first.
func TestTheLeaseIsMadeOnlyWhileNobodyCanHaveHeldIt(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(scene)
		want    []string
	}{
		"a new Database":                   {func(s scene) { s.Database.Status = dbv1.DatabaseStatus{} }, []string{"create the Lease of the primary"}},
		"no primary yet":                   {func(s scene) { s.Database.Status.Primary = nil }, []string{"create the Lease of the primary"}},
		"a primary of an earlier release":  {func(s scene) { s.Database.Status.Primary = &dbv1.PrimaryStatus{Name: "db-0"} }, []string{"create the Lease of the primary"}},
		"a primary that was elected":       {func(s scene) { s.Database.Status.Primary = &dbv1.PrimaryStatus{Name: "db-0", Epoch: 1} }, nil},
		"an elected one, and it is paused": {func(s scene) { s.Database.Spec.Lifecycle.Paused = true }, nil},
	} {
		s := settled()
		s.Observation.Lease = nil
		c.disturb(s)
		got := slices.DeleteFunc(actions(s.plan()), func(a string) bool { return a != "create the Lease of the primary" })
		if !slices.Equal(c.want, got) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestALeaseWithoutItsLabelsGetsThemBack(t *testing.T) {
	s := settled()
	s.Lease.Labels = nil
	if diff := cmp.Diff([]string{"annotate leases db-primary"}, actions(s.plan())); diff != "" {
		t.Error(diff)
	}
}

func TestABudgetThatIsNotNeededGoes(t *testing.T) {
	s := settled()
	s.Budgets = map[string]*policyv1.PodDisruptionBudget{"db-replica": {ObjectMeta: metav1.ObjectMeta{Name: "db-replica", UID: "budget-uid"}}}
	if diff := cmp.Diff([]string{"delete poddisruptionbudgets db-replica"}, actions(s.plan())); diff != "" {
		t.Error(diff)
	}
}

func TestInstancesAreToldHowThePrimaryIsElected(t *testing.T) {
	s := settled(func(db *dbv1.Database) {
		db.Spec.HighAvailability = &dbv1.HighAvailabilitySpec{LeaseDuration: &metav1.Duration{Duration: 30e9}}
	})
	r := s.instanceSpec().Replication
	if *r.LeaseName != "db-primary" || r.LeaseDuration.Duration != 30e9 || r.RenewDeadline.Duration != dbv1.DefaultRenewDeadline || *r.MaxLag != 16<<20 {
		t.Errorf("told %+v", r)
	}
}
