//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func paused(value bool) func(*dbv1.Database) {
	return func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = value }
}

func TestPauseChangesNothingAndResumeCatchesUp(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before := s.life("pg")

	s.edit("pg", paused(true))
	isPaused := func(db *dbv1.Database) string {
		if db.Status.Phase != dbv1.PhasePaused {
			return "it is not paused"
		}
		return ""
	}
	s.until("pg", "the pause", changeTimeout, isPaused)
	configMap := s.configMap("pg").ResourceVersion
	s.edit("pg", config("work_mem", "9MB"))
	s.ok(cluster.Kube.CoreV1().Services(s.namespace).Delete(s.ctx, "pg-ro", metav1.DeleteOptions{}))
	s.until("pg", "the operator to see the change", changeTimeout, isPaused)
	s.never(5*time.Second, "a paused Database was changed", func() string {
		if s.configMap("pg").ResourceVersion != configMap {
			return "its ConfigMap"
		}
		if _, err := cluster.Kube.CoreV1().Services(s.namespace).Get(s.ctx, "pg-ro", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return "its Service is back"
		}
		return ""
	})
	same(s, "pod and engine while paused", s.life("pg"), before)
	s.writeRow("pg", "while paused")

	s.edit("pg", paused(false))
	s.ready("pg")
	same(s, "work_mem", s.query("pg", "show work_mem;"), "9MB")
	s.service("pg-ro")
	same(s, "pod and engine after the pause", s.life("pg"), before)
}

func TestRetainKeepsVolumeAndCredentialsForTheNextOfThatName(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	first := s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	claim, password := s.claim("pg").UID, string(s.secret("pg-credentials").Data["password"])

	s.remove("pg")
	same(s, "the volume after the deletion", s.claim("pg").UID, claim)
	if _, err := cluster.Kube.CoreV1().Pods(s.namespace).Get(s.ctx, "pg-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod is still there: %v", err)
	}

	second := s.provision(standalone("pg"))
	if first.UID == second.UID {
		t.Fatal("it is the same Database")
	}
	s.hasRow("pg", "kept")
	same(s, "the volume of the second", s.claim("pg").UID, claim)
	same(s, "the password of the second", string(s.secret("pg-credentials").Data["password"]), password)
}

// Nobody was ever let into a Database that never came up: there is nothing on its volume to be careful of.
func TestADatabaseThatNeverCameUpCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	for name, mistake := range map[string]func(*dbv1.Database){
		"NoImage": func(db *dbv1.Database) { db.Spec.Image = "registry.invalid/postgres:15" },
		"NoNode": func(db *dbv1.Database) {
			db.Spec.Scheduling = &dbv1.SchedulingSpec{NodeSelector: map[string]string{"no-such": "node"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScope(t)
			s.create(standalone("pg", mistake))
			s.until("pg", "the pod to be in trouble", changeTimeout, func(db *dbv1.Database) string {
				c := meta.FindStatusCondition(db.Status.Conditions, dbv1.ConditionReady)
				if c != nil && (strings.Contains(c.Message, "not scheduled") || strings.Contains(c.Message, "Image")) {
					return ""
				}
				return "it is not said what"
			})
			s.remove("pg")
			s.provision(standalone("pg"))
			s.writeRow("pg", "at last")
		})
	}
}

func TestARetainedVolumeOfAnotherMajorVersionIsNotTouched(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	s.writeRow("pg", "kept")
	s.remove("pg")

	s.create(standalone("pg", func(db *dbv1.Database) { db.Spec.Version = "16" }))
	message := s.untilReason("pg", dbv1.ConditionProvisioned, dbv1.ReasonAdoptionRequired)
	if !strings.Contains(message, "data-pg-0") {
		t.Errorf("the condition does not name the volume: %q", message)
	}
	s.never(3*time.Second, "a volume that is not known to be ours is used", func() string {
		if _, err := cluster.Kube.CoreV1().Pods(s.namespace).Get(s.ctx, "pg-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return "there is a pod"
		}
		return ""
	})
	s.remove("pg")
	s.provision(standalone("pg"))
	s.hasRow("pg", "kept")
}

func TestDeleteRemovesVolumesAndSecrets(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg", deletionPolicy(dbv1.DeletionDelete)))
	s.remove("pg")
	s.wait(changeTimeout, "volumes and Secrets to go", func() (string, error) {
		output, err := cluster.Kubectl(s.ctx, "", "get", "persistentvolumeclaims,secrets,statefulsets,services,pods,databaseinstances.db.platform.io",
			"--namespace", s.namespace, "--output=name")
		return strings.TrimSpace(strings.ReplaceAll(output, "service/kubernetes", "")), err
	})
}

func TestDeletionWithAFinalBackupWaitsBecauseThereIsNone(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg", deletionPolicy(dbv1.DeletionSnapshot)))
	s.writeRow("pg", "kept")
	s.delete("pg")
	s.wait(changeTimeout, "the deletion to say that it waits", func() (string, error) {
		db := s.database("pg")
		for _, c := range db.Status.Conditions {
			if strings.Contains(c.Message, "not supported") && strings.Contains(c.Message, "skip-final-backup") {
				return "", nil
			}
		}
		return describe(db), nil
	})
	s.hasRow("pg", "kept")

	s.edit("pg", func(db *dbv1.Database) {
		db.Annotations = map[string]string{"db.platform.io/skip-final-backup": "true"}
	})
	s.wait(changeTimeout, "the Database to go", func() (string, error) {
		_, err := cluster.DB.DatabaseV1().Databases(s.namespace).Get(s.ctx, "pg", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "it is still there", err
	})
	s.claim("pg")
}

func TestANamespaceWithADatabaseGoesAway(t *testing.T) {
	t.Parallel()
	for _, policy := range []dbv1.DeletionPolicy{dbv1.DeletionRetain, dbv1.DeletionSnapshot, dbv1.DeletionDelete} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			s := newScope(t)
			s.provision(standalone("pg", deletionPolicy(policy)))
			s.ok(cluster.DeleteNamespace(s.ctx, s.namespace, changeTimeout))
		})
	}
}

func TestALostSecretComesBackWithTheSameContent(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before := s.secret("pg-credentials")
	secrets := cluster.Kube.CoreV1().Secrets(s.namespace)
	s.ok(secrets.Delete(s.ctx, before.Name, metav1.DeleteOptions{}))
	var after *corev1.Secret
	s.wait(changeTimeout, "the Secret to come back", func() (string, error) {
		var err error
		after, err = secrets.Get(s.ctx, before.Name, metav1.GetOptions{})
		return "", err //nolint:wrapcheck // shown as the last state
	})
	for key, value := range before.Data {
		if string(after.Data[key]) != string(value) {
			t.Errorf("%s of the Secret has changed", key)
		}
	}
	s.writeRow("pg", "with the new Secret")
}

func TestARestartWaitsForItsMaintenanceWindow(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before := s.life("pg")
	tomorrow := time.Now().UTC().Add(24 * time.Hour)
	s.edit("pg", func(db *dbv1.Database) {
		db.Spec.Maintenance = &dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{{
			DayOfWeek: int32(tomorrow.Weekday()), StartTime: "12:00", Duration: metav1.Duration{Duration: time.Hour},
		}}}
		config("max_connections", "111")(db)
		config("work_mem", "7MB")(db)
	})
	s.untilReason("pg", dbv1.ConditionUpToDate, dbv1.ReasonRestartPending)
	same(s, "the setting that needs no restart", s.query("pg", "show work_mem;"), "7MB")
	same(s, "the setting that needs one", s.query("pg", "show max_connections;"), "100")
	same(s, "pod and engine outside of the window", s.life("pg"), before)
	if plan := s.database("pg").Status.Plan; len(plan) != 1 || plan[0].NotBefore == nil || plan[0].NotBefore.Before(new(metav1.Now())) {
		t.Errorf("the plan does not say when the restart may happen: %v", plan)
	}

	s.edit("pg", func(db *dbv1.Database) { db.Spec.Maintenance = nil })
	s.ready("pg")
	same(s, "max_connections", s.query("pg", "show max_connections;"), "111")
	before.starts++
	same(s, "pod and engine without a window", s.life("pg"), before)
}
