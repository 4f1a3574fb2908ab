package engine_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

// mute is a scene in which the agents' ServiceAccount was deleted and put back a minute ago.
func mute(change ...func(*dbv1.Database)) scene {
	s := settled(change...)
	s.Database.Status = s.plan().Status
	s.Instances["db-0"].Status.ServiceAccountUID = "deleted"
	s.ServiceAccount = &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: "db-agent", UID: "put-back", CreationTimestamp: metav1.NewTime(now.Add(-time.Minute)),
	}}
	return s
}

func (s scene) podReady(status corev1.ConditionStatus) {
	s.Pods["db-0"].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
}

func TestWhatAMuteAgentSaidLastIsNotClaimed(t *testing.T) {
	s := mute()
	p := s.plan()
	for _, kind := range []string{dbv1.ConditionReady, dbv1.ConditionPrimaryAvailable, dbv1.ConditionUpToDate} {
		if got := condition(p, kind); got != "Unknown AgentUnauthorized" {
			t.Errorf("%s is %s", kind, got)
		}
	}
	c := meta.FindStatusCondition(p.Status.Conditions, dbv1.ConditionReady)
	if !strings.Contains(c.Message, "ServiceAccount db-agent") || !strings.Contains(c.Message, "pod db-0") {
		t.Errorf("the condition does not say what to do: %s", c.Message)
	}
	if p.Status.Phase != dbv1.PhaseDegraded || p.Status.Health.Status != "Unknown" || p.Status.Ready != "0/1" {
		t.Errorf("phase %s, health %s, ready %s", p.Status.Phase, p.Status.Health.Status, p.Status.Ready)
	}
	if got := condition(p, dbv1.ConditionCredentialsSynced); got != "True AsExpected" {
		t.Errorf("the password that logged in is the published one still, and CredentialsSynced is %s", got)
	}
	s.Secrets["db-accounts"].UID = "changed"
	if got := condition(s.plan(), dbv1.ConditionCredentialsSynced); strings.HasPrefix(got, "True") {
		t.Errorf("nobody tried another password, and CredentialsSynced is %s", got)
	}
	s = mute()
	s.podReady(corev1.ConditionFalse)
	if got := condition(s.plan(), dbv1.ConditionReady); got != "False InstanceNotReady" {
		t.Errorf("the kubelet knows that it does not serve, and Ready is %s", got)
	}
}

func TestAnAgentIsBelievedWithoutATokenOfAServiceAccount(t *testing.T) {
	s := mute()
	s.Instances["db-0"].Status.ServiceAccountUID = ""
	if got := condition(s.plan(), dbv1.ConditionReady); got != "True AsExpected" {
		t.Errorf("Ready is %s", got)
	}
	s.Instances["db-0"].Status.ServiceAccountUID = "put-back"
	if got := condition(s.plan(), dbv1.ConditionReady); got != "True AsExpected" {
		t.Errorf("with the token renewed, Ready is %s", got)
	}
	s.ServiceAccount = nil
	if got := condition(s.plan(), dbv1.ConditionReady); got != "Unknown AgentUnauthorized" {
		t.Errorf("without a ServiceAccount, Ready is %s", got)
	}
}

func TestAPodIsRestartedForItsTokenOnlyWhenTheKubeletDoesNotRenewIt(t *testing.T) {
	window := func(from string) func(*dbv1.Database) {
		return func(db *dbv1.Database) {
			db.Spec.Maintenance = &dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{{DayOfWeek: 1, StartTime: from, Duration: metav1.Duration{Duration: time.Hour}}}}
		}
	}
	for name, test := range map[string]struct {
		scene scene
		edit  func(scene)
		held  string
	}{
		"the kubelet has time":                  {mute(), func(scene) {}, engine.GuardTokenRenewal},
		"the kubelet had time":                  {mute(), func(s scene) { s.Now = now.Add(time.Hour) }, ""},
		"the pod does not serve":                {mute(), func(s scene) { s.podReady(corev1.ConditionFalse) }, ""},
		"a maintenance window is open":          {mute(window("11:30")), func(scene) {}, ""},
		"a maintenance window is closed":        {mute(window("13:30")), func(scene) {}, engine.GuardTokenRenewal},
		"the kubelet had time, window closed":   {mute(window("13:30")), func(s scene) { s.Now = now.Add(time.Hour) }, engine.GuardMaintenanceWindow},
		"the Database is paused":                {mute(), func(s scene) { s.Now = now.Add(time.Hour); s.Database.Spec.Lifecycle.Paused = true }, engine.GuardPaused},
		"a setting of the pod changed, besides": {mute(window("13:30")), func(s scene) { changePods(s) }, engine.GuardMaintenanceWindow},
	} {
		t.Run(name, func(t *testing.T) {
			test.edit(test.scene)
			p := test.scene.plan()
			if len(p.Status.Plan) != 1 || p.Status.Plan[0].HeldBy != test.held {
				t.Fatalf("plan %+v, want one step held by %q", p.Status.Plan, test.held)
			}
			deleted := false
			for _, a := range p.Actions {
				deleted = deleted || a.String() == "delete pods db-0"
			}
			if deleted != (test.held == "") {
				t.Errorf("actions %v", actions(p))
			}
			if test.held == engine.GuardTokenRenewal && (p.RequeueAfter == 0 || p.RequeueAfter > 59*time.Minute) {
				t.Errorf("looked at again after %s", p.RequeueAfter)
			}
		})
	}
	s := mute()
	s.ServiceAccount = nil
	if p := s.plan(); len(p.Status.Plan) != 0 {
		t.Errorf("without a ServiceAccount no pod starts, and the plan is %+v", p.Status.Plan)
	}
}

// changePods is an edit of what pods are made of.
func changePods(s scene) {
	s.Database.Spec.PodMetadata = &dbv1.PodMetadata{Labels: map[string]dbv1.LabelValue{"a": "b"}}
}

func TestAFillingVolumeStaysOneWhileNobodyKnowsBetter(t *testing.T) {
	s := settled()
	s.Instances["db-0"].Status.Storage = &dbv1.InstanceStorageStatus{UsedBytes: 95, CapacityBytes: 100}
	s.Database.Status = s.plan().Status
	s.Instances["db-0"].Status.ServiceAccountUID = "deleted"
	if got := condition(s.plan(), dbv1.ConditionStorageReady); got != "False VolumeNearlyFull" {
		t.Errorf("StorageReady is %s", got)
	}
}
