package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// events carries the status on from change to change, and lists the reasons of what is told.
func events(s scene, changes ...func(scene)) []string {
	var reasons []string
	for _, change := range changes {
		change(s)
		p := s.plan()
		for _, e := range engine.Transitions(&s.Database.Status, &p.Status) {
			reasons = append(reasons, e.Reason)
		}
		s.Database.Status = *p.Status.DeepCopy()
	}
	return reasons
}

func TestTheFirstInstancesAreNoScaling(t *testing.T) {
	fresh := func(name string) func(scene) {
		return func(s scene) { clones(name)(s); s.Instances[name].Status.AppliedConfigHash = "" }
	}
	starts := func(name string) func(scene) {
		return func(s scene) {
			copied(name)(s)
			serves(name)(s)
			s.Instances[name].Status.AppliedConfigHash = s.Instances["db-0"].Status.AppliedConfigHash
		}
	}
	isScaling := func(reason string) bool { return strings.HasPrefix(reason, "Scaling") }

	s := settled(replicated(3))
	s.Database.Status = dbv1.DatabaseStatus{EngineStatus: eng.Record(systemID)}
	got := events(s, func(s scene) { fresh("db-1")(s); fresh("db-2")(s) }, starts("db-1"), starts("db-2"))
	if slices.ContainsFunc(got, isScaling) || !slices.Contains(got, "Ready") {
		t.Errorf("at the first start: %v", got)
	}

	s = settled(replicated(3))
	s.Database.Status = settled().plan().Status
	got = events(s, func(s scene) { fresh("db-1")(s); fresh("db-2")(s) }, starts("db-1"), starts("db-2"))
	if want := []string{"ScalingStarted", "ScalingCompleted"}; !slices.Equal(slices.DeleteFunc(slices.Clone(got), func(r string) bool { return !isScaling(r) }), want) {
		t.Errorf("of a Database that was ready: %v, want %v of scaling", got, want)
	}
}

// A replica streams anew when the primary begins to keep the log for it.
func TestAReplicaThatHasJustBegunMayStopOnce(t *testing.T) {
	for after, want := range map[time.Duration]bool{2 * time.Second: false, time.Minute: true} {
		s := settled(replicated(3))
		s.Database.Status = s.plan().Status
		s.Now = s.Now.Add(after)
		if got := events(s, func(s scene) { s.Instances["db-1"].Status.Replication.Streaming = false }); slices.Contains(got, dbv1.ReasonReplicaNotReady) != want {
			t.Errorf("%s after it was healthy: %v", after, got)
		}
		if got := condition(s.plan(), dbv1.ConditionReplicationHealthy); got != "False ReplicaNotReady" {
			t.Errorf("ReplicationHealthy is %s", got)
		}
	}
}

func TestAnAdoptionIsTold(t *testing.T) {
	nothing := func(scene) {}
	if got := events(afterRetain(1, 1), nothing, nothing); !slices.Equal(got, []string{"Adopted", "Provisioned"}) {
		t.Errorf("with the volume of an earlier Database: %v", got)
	}
	s := settled()
	s.Database.Status = dbv1.DatabaseStatus{}
	s.Claims = map[string]*corev1.PersistentVolumeClaim{"data-db-0": claim("db-uid", "")}
	if got := events(s, nothing); slices.Contains(got, "Adopted") || s.Database.Status.EngineStatus == nil {
		t.Errorf("with a volume of its own: %v", got)
	}
}

// The Lease outlives its Database, and whoever had it may live for as long as it lasts.
func TestWhoWaitsForAFormerHolderSaysSo(t *testing.T) {
	s := settled()
	s.Lease.Spec.HolderIdentity = new("db-0/of-a-pod-before")
	s.Instances["db-0"].Status.Ready = false
	want := "instance db-0 is Running and waits until Lease db-primary, which a pod db-0 before it had, has not been renewed for 15s"
	for _, kind := range []string{dbv1.ConditionPrimaryAvailable, dbv1.ConditionReady} {
		if got := message(s.plan(), kind); got != want {
			t.Errorf("%s says %q", kind, got)
		}
	}
	s.elect("db-0", 5)
	s.Instances["db-0"].Status.Ready = false
	if got := message(s.plan(), dbv1.ConditionReady); got != "instance db-0 is Running" {
		t.Errorf("with the Lease it says %q", got)
	}
}
