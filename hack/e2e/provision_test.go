//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func corev1Pod(l life) types.UID { return types.UID(l.podUID) }

func TestProvisionAndLogInFromAnotherPodThroughTheService(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	db := s.provision(standalone("pg"))
	s.writeRow("pg", "hello")
	s.hasRow("pg", "hello")

	same(s, "ready", db.Status.Ready, "1/1")
	same(s, "the Secret in the status", db.Status.CredentialsSecret, "pg-credentials")
	same(s, "the version", db.Status.CurrentVersion, "15")
	if db.Status.Primary == nil || db.Status.Primary.Name != "pg-0" {
		t.Errorf("the primary is %v", db.Status.Primary)
	}
	secret := s.secret("pg-credentials")
	for _, key := range []string{"type", "provider", "host", "port", "username", "password", "database", "uri"} {
		if len(secret.Data[key]) == 0 {
			t.Errorf("the Secret has no %s", key)
		}
	}
	same(s, "the user", s.query("pg", "select session_user;"), string(secret.Data["username"]))
	same(s, "checksums", s.query("pg", "show data_checksums;"), "on")
	same(s, "superuser", s.query("pg", "select rolsuper from pg_roles where rolname = session_user;"), "f")
	s.noPasswordIsShown("pg", string(secret.Data["password"]))
}

// noPasswordIsShown looks for the password in all that more people may read than the Secret.
func (s *scope) noPasswordIsShown(name, password string) {
	s.Helper()
	for _, kind := range []string{"databases.db.platform.io", "databaseinstances.db.platform.io", "pods", "configmaps", "events", "statefulsets"} {
		text, err := cluster.Kubectl(s.ctx, "", "get", kind, "--namespace", s.namespace, "--output=yaml")
		s.ok(err)
		if strings.Contains(text, password) {
			s.Errorf("the password is in %s", kind)
		}
	}
	log, err := cluster.Kube.CoreV1().Pods(s.namespace).GetLogs(name+"-0", &corev1.PodLogOptions{Container: "database"}).DoRaw(s.ctx)
	s.ok(err)
	if strings.Contains(string(log), password) {
		s.Error("the password is in the log")
	}
}

func (s *scope) makeSecret(name string, data map[string]string) {
	s.Helper()
	_, err := cluster.Kube.CoreV1().Secrets(s.namespace).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{})
	s.ok(err)
}

func TestAUsersOwnCredentialsAreUsed(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.makeSecret("pg-credentials", map[string]string{"username": "alice", "password": "it's a \\ long % secret"})
	s.provision(standalone("pg"))
	same(s, "the user", s.query("pg", "select session_user;"), "alice")
	same(s, "the password", string(s.secret("pg-credentials").Data["password"]), "it's a \\ long % secret")
}

// Why a pod is refused, only events of its StatefulSet say.
func TestAPodThatIsRefusedIsExplained(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.create(standalone("pg", func(db *dbv1.Database) { db.Spec.Scheduling = &dbv1.SchedulingSpec{PriorityClassName: "no-such-class"} }))
	s.until("pg", "the words of the API server", changeTimeout, func(db *dbv1.Database) string {
		if c := meta.FindStatusCondition(db.Status.Conditions, dbv1.ConditionReady); c != nil && strings.Contains(c.Message, "no PriorityClass with name no-such-class") {
			return ""
		}
		return "they are not there"
	})
	s.edit("pg", func(db *dbv1.Database) { db.Spec.Scheduling = nil })
	s.ready("pg")
}

func TestAnEngineThatIsNotBuiltYetSaysSo(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.create(standalone("other", func(db *dbv1.Database) { db.Spec.Engine, db.Spec.Version = dbv1.MongoDB, "7.0" }))
	s.untilReason("other", dbv1.ConditionReady, dbv1.ReasonNotSupported)
}

// TestExamplesApplyUnchanged applies every example. Those that this release can run become ready; of the others a condition says what is missing.
func TestExamplesApplyUnchanged(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(cluster.Root, "artifacts", "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			s := newScope(t)
			for _, name := range s.apply(file) {
				s.readyOrSaysWhy(name)
			}
		})
	}
}

// apply applies a file as it is and returns the names of its Databases.
func (s *scope) apply(file string) []string {
	s.Helper()
	data, err := os.ReadFile(file)
	s.ok(err)
	_, err = cluster.Kubectl(s.ctx, "", "apply", "--server-side", "--namespace", s.namespace, "--filename", file)
	s.ok(err)
	var names []string
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		var object metav1.PartialObjectMetadata
		s.ok(yaml.Unmarshal([]byte(document), &object))
		if object.Kind == "Database" {
			names = append(names, object.Name)
		}
	}
	return names
}

// readyOrSaysWhy waits until clients can be served, or until a condition says why nothing was made. Where less was made than asked for, a condition
// says that, too.
func (s *scope) readyOrSaysWhy(name string) {
	s.Helper()
	s.until(name, "Database "+name+" to be ready, or to say why nothing was made", provisionTimeout, func(db *dbv1.Database) string {
		ready := meta.FindStatusCondition(db.Status.Conditions, dbv1.ConditionReady)
		switch {
		case db.Status.Phase == dbv1.PhaseReady:
			return ""
		case ready == nil:
			return "nothing was said yet"
		case ready.Reason == dbv1.ReasonNotSupported || (ready.Status == metav1.ConditionTrue && saysNotSupported(db)):
			s.Log(name, "is", describe(db))
			return ""
		}
		return "neither"
	})
}

func saysNotSupported(db *dbv1.Database) bool {
	return slices.ContainsFunc(db.Status.Conditions, func(c metav1.Condition) bool {
		return c.Status == metav1.ConditionFalse && c.Reason == dbv1.ReasonNotSupported
	})
}
