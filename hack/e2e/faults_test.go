//go:build e2e

package e2e

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// agentCommand is the agent's name in the process table.
const agentCommand = "database-agent"

func TestTheEngineIsStartedAgainWhenItIsKilled(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.needsLocal()
	s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	before := s.life("pg")
	if s.kill(s.pod("pg").UID, "postgres") == 0 {
		t.Fatal("no process of PostgreSQL was found")
	}
	s.wait(changeTimeout, "another start of the engine", func() (string, error) {
		if s.instance("pg").Status.EngineStarts == before.starts {
			return "it was not started again", nil
		}
		return "", nil
	})
	s.ready("pg")
	s.hasRow("pg", "kept")
	same(s, "the pod", string(s.pod("pg").UID), before.podUID)
}

func TestADeletedPodComesBackWithTheData(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	before := s.pod("pg").UID
	s.ok(cluster.Kube.CoreV1().Pods(s.namespace).Delete(s.ctx, "pg-0", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	s.untilAnotherPodServes("pg", string(before))
	s.hasRow("pg", "kept")
}

func (s *scope) untilAnotherPodServes(name, before string) {
	s.Helper()
	s.wait(provisionTimeout, "another pod to serve", func() (string, error) {
		pod, err := cluster.Kube.CoreV1().Pods(s.namespace).Get(s.ctx, name+"-0", metav1.GetOptions{})
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		if string(pod.UID) == before {
			return "it is still the same pod", nil
		}
		return notReady(pod), nil
	})
	s.ready(name)
}

func notReady(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return "the pod is not ready"
}

func TestTheDatabaseRecoversWhenItsAgentIsKilled(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.needsLocal()
	s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	before := s.life("pg")
	if s.kill(s.pod("pg").UID, agentCommand) == 0 {
		t.Fatal("no process of the agent was found")
	}
	s.wait(changeTimeout, "another start of the container", func() (string, error) {
		pod := s.pod("pg")
		if s.life("pg").restarts == before.restarts {
			return "the container was not started again", nil
		}
		return notReady(pod), nil
	})
	s.ready("pg")
	s.hasRow("pg", "kept")
}

func TestAFirstStartThatIsKilledBeginsAnew(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.needsLocal()
	s.create(standalone("pg"))
	deadline := time.Now().Add(provisionTimeout)
	killed := false
	for !killed && time.Now().Before(deadline) {
		pod, err := cluster.Kube.CoreV1().Pods(s.namespace).Get(s.ctx, "pg-0", metav1.GetOptions{})
		if err == nil && len(processes(pod.UID, "initdb")) > 0 {
			killed = s.kill(pod.UID, agentCommand) > 0
		}
		time.Sleep(10 * time.Millisecond)
		if err == nil && notReady(pod) == "" {
			t.Fatal("the database was ready before initdb was seen")
		}
	}
	if !killed {
		t.Fatal("initdb was never seen")
	}
	s.ready("pg")
	s.writeRow("pg", "after the second start")
	s.hasRow("pg", "after the second start")
}

// TestASettledDatabaseIsNotWritten compares the resourceVersions of all objects of the namespace over a minute.
func TestASettledDatabaseIsNotWritten(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg", func(db *dbv1.Database) { db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"work_mem": "6MB"} }))
	s.writeRow("pg", "hello")
	s.settle()
	before := s.versions()
	time.Sleep(time.Minute)
	for object, version := range s.versions() {
		if before[object] != version {
			t.Errorf("%s was written: %s, then %s", object, before[object], version)
		}
	}
}
