package engine_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// What does not come because the Database is paused is not put down to a StatefulSet, an agent or a volume.
func TestWhatWaitsForTheEndOfAPauseSaysSo(t *testing.T) {
	const pause = "; nothing is made or changed while spec.lifecycle.paused is true"
	for name, c := range map[string]struct {
		disturb func(scene)
		kind    string
		says    string
	}{
		"its pod is gone, and the StatefulSet has another coming": {
			func(s scene) { s.stopped("db-0") }, dbv1.ConditionReady, "kubectl describe statefulset db says why",
		},
		"more instances are asked for": {
			func(s scene) { replicated(2)(s.Database) }, dbv1.ConditionReplicationHealthy, "pod db-1 does not exist",
		},
		"their volumes": {
			func(s scene) { replicated(2)(s.Database) }, dbv1.ConditionStorageReady, "volume data-db-1 does not exist",
		},
		"larger volumes": {
			func(s scene) { s.Database.Spec.Storage.Size = new(resource.MustParse("2Gi")) }, dbv1.ConditionStorageReady, "volume data-db-0 grows from 1Gi to 2Gi",
		},
		"its pod lacks something, and does not start": {
			func(s scene) { s.Instances["db-0"].Status.PodUID = "an earlier one" }, dbv1.ConditionReady, "instance db-0 has not reported yet",
		},
		"a setting": {
			func(s scene) { s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{"work_mem": "8MB"} }, dbv1.ConditionUpToDate, "instance db-0 has not read the configuration yet",
		},
		"the Secret of clients": {
			func(s scene) { delete(s.Secrets, "db-credentials") }, dbv1.ConditionCredentialsSynced, "Secret db-credentials is being made",
		},
	} {
		s := settled()
		c.disturb(s)
		if got := message(s.plan(), c.kind); strings.Contains(got, "paused") {
			t.Errorf("%s, and it is not paused: %s", name, got)
		}
		s.Database.Spec.Lifecycle.Paused = true
		if got := message(s.plan(), c.kind); !strings.Contains(got, c.says+pause) {
			t.Errorf("%s: %s says: %s", name, c.kind, got)
		}
	}
}

// A Service that is deleted during a pause is not put back: clients reach nothing, whatever the instances say.
func TestAServiceThatIsMissedDuringAPauseIsNamed(t *testing.T) {
	s := settled(func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = true })
	if got := condition(s.plan(), dbv1.ConditionReady); got != "True AsExpected" {
		t.Errorf("with all of them, Ready is %s", got)
	}
	s.MissingServices = []string{"db", "db-ro"}
	p := s.plan()
	const want = "missing are the Services db, db-ro; nothing is made or changed while spec.lifecycle.paused is true"
	for _, kind := range []string{dbv1.ConditionProvisioned, dbv1.ConditionReady} {
		if got := condition(p, kind); got != "False Paused" || message(p, kind) != want {
			t.Errorf("%s is %s: %s", kind, got, message(p, kind))
		}
	}
}
