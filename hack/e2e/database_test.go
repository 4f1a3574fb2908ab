//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/platform-io/database-operator/hack/e2e/env"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// How long things may take on a busy machine. They usually take seconds.
const (
	provisionTimeout = 4 * time.Minute
	changeTimeout    = 2 * time.Minute
)

// standalone is a small PostgreSQL.
func standalone(name string, changes ...func(*dbv1.Database)) *dbv1.Database {
	db := &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: dbv1.DatabaseSpec{
			Engine:  dbv1.PostgreSQL,
			Version: "15",
			Profile: dbv1.ProfileDev,
			Storage: &dbv1.StorageSpec{Size: new(resource.MustParse("1Gi"))},
		},
	}
	for _, change := range changes {
		change(db)
	}
	return db
}

func deletionPolicy(policy dbv1.DeletionPolicy) func(*dbv1.Database) {
	return func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = policy }
}

func config(name, value string) func(*dbv1.Database) {
	return func(db *dbv1.Database) {
		if db.Spec.EngineConfig == nil {
			db.Spec.EngineConfig = map[string]dbv1.ConfigValue{}
		}
		db.Spec.EngineConfig[name] = dbv1.ConfigValue(value)
	}
}

func withoutConfig(name string) func(*dbv1.Database) {
	return func(db *dbv1.Database) { delete(db.Spec.EngineConfig, name) }
}

// create makes the Database.
func (s *scope) create(db *dbv1.Database) *dbv1.Database {
	s.Helper()
	db, err := cluster.DB.DatabaseV1().Databases(s.namespace).Create(s.ctx, db, metav1.CreateOptions{})
	s.ok(err)
	return db
}

// provision makes the Database and waits until it is ready.
func (s *scope) provision(db *dbv1.Database) *dbv1.Database {
	s.Helper()
	return s.ready(s.create(db).Name)
}

func (s *scope) database(name string) *dbv1.Database {
	s.Helper()
	db, err := cluster.DB.DatabaseV1().Databases(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
	s.ok(err)
	return db
}

// edit changes the Database.
func (s *scope) edit(name string, change func(*dbv1.Database)) {
	s.Helper()
	s.ok(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		db, err := cluster.DB.DatabaseV1().Databases(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err //nolint:wrapcheck // RetryOnConflict looks at it
		}
		change(db)
		_, err = cluster.DB.DatabaseV1().Databases(s.namespace).Update(s.ctx, db, metav1.UpdateOptions{})
		return err //nolint:wrapcheck // RetryOnConflict looks at it
	}))
}

// until waits until the Database's status is about the present spec and the condition returns an empty state.
func (s *scope) until(name, what string, timeout time.Duration, condition func(*dbv1.Database) string) *dbv1.Database {
	s.Helper()
	var db *dbv1.Database
	s.wait(timeout, what, func() (string, error) {
		var err error
		db, err = cluster.DB.DatabaseV1().Databases(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		if db.Status.ObservedGeneration != db.Generation {
			return "the operator has not seen the change yet", nil
		}
		if state := condition(db); state != "" {
			return state + "; " + describe(db), nil
		}
		return "", nil
	})
	return db
}

// ready waits until everything is as the spec says.
func (s *scope) ready(name string) *dbv1.Database {
	s.Helper()
	return s.until(name, "Database "+name+" to be ready", provisionTimeout, func(db *dbv1.Database) string {
		if db.Status.Phase == dbv1.PhaseReady && meta.IsStatusConditionTrue(db.Status.Conditions, dbv1.ConditionUpToDate) {
			return ""
		}
		return "it is not ready"
	})
}

// untilReason waits for a condition that is not True for this reason, and returns its message.
func (s *scope) untilReason(name, kind, reason string) string {
	s.Helper()
	message := ""
	s.until(name, "condition "+kind+" with reason "+reason, changeTimeout, func(db *dbv1.Database) string {
		c := meta.FindStatusCondition(db.Status.Conditions, kind)
		if c == nil || c.Status == metav1.ConditionTrue || c.Reason != reason {
			return "it is not there"
		}
		message = c.Message
		return ""
	})
	return message
}

// describe says in a line how a Database is.
func describe(db *dbv1.Database) string {
	parts := []string{"phase " + string(db.Status.Phase)}
	for _, c := range db.Status.Conditions {
		if c.Status != metav1.ConditionTrue {
			parts = append(parts, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	return strings.Join(parts, ", ")
}

// remove deletes the Database and waits until it has gone.
func (s *scope) remove(name string) {
	s.Helper()
	s.delete(name)
	s.wait(changeTimeout, "Database "+name+" to go", func() (string, error) {
		db, err := cluster.DB.DatabaseV1().Databases(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		return describe(db), nil
	})
}

func (s *scope) delete(name string) {
	s.Helper()
	s.ok(cluster.DB.DatabaseV1().Databases(s.namespace).Delete(s.ctx, name, metav1.DeleteOptions{}))
}

// query runs SQL from the client's pod, through the Service, with the credentials of the Secret.
func (s *scope) query(name, sql string) string {
	s.Helper()
	rows, err := s.tryQuery(name, sql)
	s.ok(err)
	return rows
}

func (s *scope) tryQuery(name, sql string) (string, error) {
	s.Helper()
	if s.client == nil {
		client, err := cluster.StartClient(s.ctx, s.namespace, env.Psql)
		s.ok(err)
		s.client = client
	}
	uri, err := cluster.URI(s.ctx, s.namespace, name)
	if err != nil {
		return "", err //nolint:wrapcheck // it says what it is
	}
	return s.client.Query(s.ctx, uri, sql) //nolint:wrapcheck // it says what it is
}

// writeRow writes a row; hasRow looks whether it is there.
func (s *scope) writeRow(name, text string) {
	s.Helper()
	s.query(name, "create table if not exists kept (said text);\ninsert into kept values ('"+text+"');")
}

func (s *scope) hasRow(name, text string) {
	s.Helper()
	if rows := s.query(name, "select said from kept;"); !strings.Contains(rows, text) {
		s.Fatalf("the row %q is not there, only %q", text, rows)
	}
}

// same compares and ends the test.
func same[V comparable](s *scope, what string, got, want V) {
	s.Helper()
	if got != want {
		s.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// The parts of a Database.

func (s *scope) instance(name string) *dbv1.DatabaseInstance {
	s.Helper()
	instance, err := cluster.DB.DatabaseV1().DatabaseInstances(s.namespace).Get(s.ctx, name+"-0", metav1.GetOptions{})
	s.ok(err)
	return instance
}

func (s *scope) pod(name string) *corev1.Pod {
	s.Helper()
	pod, err := cluster.Kube.CoreV1().Pods(s.namespace).Get(s.ctx, name+"-0", metav1.GetOptions{})
	s.ok(err)
	return pod
}

func (s *scope) secret(name string) *corev1.Secret {
	s.Helper()
	secret, err := cluster.Kube.CoreV1().Secrets(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
	s.ok(err)
	return secret
}

func (s *scope) claim(name string) *corev1.PersistentVolumeClaim {
	s.Helper()
	claim, err := cluster.Kube.CoreV1().PersistentVolumeClaims(s.namespace).Get(s.ctx, "data-"+name+"-0", metav1.GetOptions{})
	s.ok(err)
	return claim
}

func (s *scope) service(name string) *corev1.Service {
	s.Helper()
	service, err := cluster.Kube.CoreV1().Services(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
	s.ok(err)
	return service
}

func (s *scope) configMap(name string) *corev1.ConfigMap {
	s.Helper()
	configMap, err := cluster.Kube.CoreV1().ConfigMaps(s.namespace).Get(s.ctx, name+"-config", metav1.GetOptions{})
	s.ok(err)
	return configMap
}

func (s *scope) statefulSet(name string) *appsv1.StatefulSet {
	s.Helper()
	set, err := cluster.Kube.AppsV1().StatefulSets(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
	s.ok(err)
	return set
}

// life is what must not change when nothing is restarted.
type life struct {
	podUID   string
	starts   int64
	restarts int32
}

func (s *scope) life(name string) life {
	s.Helper()
	pod := s.pod(name)
	l := life{podUID: string(pod.UID), starts: s.instance(name).Status.EngineStarts}
	for _, c := range pod.Status.ContainerStatuses {
		l.restarts += c.RestartCount
	}
	return l
}
