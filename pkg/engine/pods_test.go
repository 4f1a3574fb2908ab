package engine_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestAPodThatIsMissingIsExplainedAndLookedForAgain(t *testing.T) {
	s := settled()
	s.Pods = nil
	message := func() string {
		return meta.FindStatusCondition(s.plan().Status.Conditions, dbv1.ConditionReady).Message
	}
	if got := message(); !strings.Contains(got, "pod db-0 does not exist yet") {
		t.Errorf("Ready says %q", got)
	}
	s.PodFailures = map[string]string{"db-0": "no PriorityClass with name gold was found"}
	if got := message(); got != "pod db-0 cannot be made: no PriorityClass with name gold was found" {
		t.Errorf("Ready says %q", got)
	}
	s.Database.Status = s.plan().Status
	for missing, want := range map[time.Duration]time.Duration{
		0: 5 * time.Second, 20 * time.Second: 10 * time.Second, time.Hour: time.Minute,
	} {
		s.Now = now.Add(missing)
		if got := s.plan().RequeueAfter; got != want {
			t.Errorf("missing for %s, looked for again after %s, want %s", missing, got, want)
		}
	}
	s.StatefulSets = nil
	if got := s.plan().RequeueAfter; got != 0 && got <= time.Hour {
		t.Errorf("without a StatefulSet there is nothing to look for, and it is looked for again after %s", got)
	}
}
