// Package postgres is what is particular to PostgreSQL, as the operator sees it: configuration,
// what this release can do, and the form of its credentials. It is pure; what runs in the pod is
// in the folder driver.
package postgres

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Engine is PostgreSQL. It implements engine.Engine.
type Engine struct{}

var _ engine.Engine = Engine{}

// user is the user and group "postgres" of the stock image.
const user = 999

// gracePeriod leaves a large shared_buffers time for its last checkpoint.
const gracePeriod = 3 * time.Minute

// Shape implements engine.Engine.
func (Engine) Shape(db *dbv1.Database) resources.Shape {
	return resources.Shape{
		Image:       dbv1.Image(db),
		User:        user,
		ClientPort:  dbv1.Port(db),
		GracePeriod: gracePeriod,
		Config:      files(db),
		Groups:      []resources.Group{{Name: db.Name, Replicas: instances(db)}},
		Elects:      true,
		Recorded: map[string]string{
			naming.AnnotationEngine:       string(dbv1.PostgreSQL),
			naming.AnnotationMajorVersion: major(db.Spec.Version),
		},
	}
}

// major is the part of a version that names PostgreSQL's format on disk.
func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}

// Identity implements engine.Engine: it is the system identifier.
func (Engine) Identity(status *dbv1.EngineStatus) string {
	if status == nil || status.PostgreSQL == nil {
		return ""
	}
	return status.PostgreSQL.SystemID
}

// Record implements engine.Engine.
func (Engine) Record(identity string) *dbv1.EngineStatus {
	return &dbv1.EngineStatus{PostgreSQL: &dbv1.PostgreSQLStatus{SystemID: identity}}
}

// Binding implements engine.Engine, in the form of servicebinding.io's well-known entries. The
// URIs carry time-outs, so that the clients of a node that died do not hang.
func (Engine) Binding(db *dbv1.Database, login engine.Login) map[string]string {
	host := naming.Host(naming.Service(db.Name), db.Namespace)
	readOnly := naming.Host(naming.ReadOnlyService(db.Name), db.Namespace)
	port := strconv.Itoa(int(dbv1.Port(db)))
	return map[string]string{
		"type":          "postgresql",
		"provider":      naming.ManagedBy,
		"host":          host,
		"port":          port,
		"username":      login.Username,
		"password":      login.Password,
		"database":      login.Database,
		"uri":           uri(host, port, login),
		"readonly-host": readOnly,
		"readonly-uri":  uri(readOnly, port, login),
	}
}

// uri is a libpq connection URI:
// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
func uri(host, port string, login engine.Login) string {
	u := url.URL{
		Scheme: "postgresql", User: url.UserPassword(login.Username, login.Password),
		Host: net.JoinHostPort(host, port), Path: "/" + login.Database,
		RawQuery: "connect_timeout=5&tcp_user_timeout=10000",
	}
	return u.String()
}

// Gaps implements engine.Engine.
func (Engine) Gaps(db *dbv1.Database) []engine.Gap {
	var gaps []engine.Gap
	gap := func(asked bool, condition, feature, instead string) {
		if asked {
			gaps = append(gaps, engine.Gap{Condition: condition, Message: "not supported yet: " + feature + "; " + instead})
		}
	}
	spec := &db.Spec
	gap(dbv1.TLSEnabled(db), dbv1.ConditionTLSReady, "networking.tls", "connections are not encrypted")
	gap(dbv1.BackupEnabled(db), dbv1.ConditionBackupConfigured, "backups", "none is taken; take your own with pg_dump")
	gap(dbv1.EffectiveDeletionPolicy(db) == dbv1.DeletionSnapshot, dbv1.ConditionBackupConfigured, "the last backup of lifecycle.deletionPolicy Snapshot",
		"a deletion waits until the policy is Retain or Delete, or annotation "+naming.AnnotationSkipFinalBackup+" is true")
	gap(dbv1.BackupEnabled(db) && (dbv1.MethodOf(db) == dbv1.BackupWAL || dbv1.MethodOf(db) == dbv1.BackupIncremental),
		dbv1.ConditionContinuousArchiving, "the archive of the write-ahead log", "nothing is archived")
	gap(dbv1.Consul(db) != nil, dbv1.ConditionConsulSynced, "auth.consul", "the credentials are in Secret "+naming.Credentials(db.Name)+" alone")
	gap(dbv1.Rotation(db) != nil, dbv1.ConditionRotationReady, "auth.rotationPolicy", "the password stays as it is")
	gap(spec.Maintenance != nil && spec.Maintenance.AutoUpgrade, dbv1.ConditionMaintenanceReady, "maintenance.autoUpgrade", "set spec.version to upgrade")
	gap(spec.Lifecycle.Hibernated, dbv1.ConditionMaintenanceReady, "lifecycle.hibernated", "the database runs on")
	// They are on by default; only who wrote them down waits for them.
	gap(spec.Observability != nil && spec.Observability.Metrics != nil && dbv1.MetricsEnabled(db), dbv1.ConditionMetricsReady, "metrics of the engine",
		fmt.Sprintf("the agent's own are served on port %d", naming.PortAgent))
	gap(dbv1.Tracing(db) != nil, dbv1.ConditionMetricsReady, "observability.tracing", "no traces are sent")
	return append(gaps, blockingGaps(db)...)
}

// blockingGaps are those where going on without the feature would do something else than was
// asked for, and not less.
func blockingGaps(db *dbv1.Database) []engine.Gap {
	var gaps []engine.Gap
	recorded := Engine{}.Identity(db.Status.EngineStatus) != ""
	if db.Spec.Restore != nil && !recorded {
		gaps = append(gaps, engine.Gap{
			Condition: dbv1.ConditionRestored, Blocking: true,
			Message: "not supported yet: spec.restore. Nothing was created, because an empty database is not what you asked for; remove spec.restore to begin empty.",
		})
	}
	if current := db.Status.CurrentVersion; current != "" && major(current) != major(db.Spec.Version) {
		gaps = append(gaps, engine.Gap{
			Condition: dbv1.ConditionUpToDate, Blocking: true,
			Message: fmt.Sprintf("not supported yet: major upgrades, here from %s to %s. The database runs on unchanged; set spec.version back to a %s, or dump it and load it into a new Database.",
				current, db.Spec.Version, major(current)),
		})
	}
	return gaps
}

// instances is how many run: one, or as many as a replicated database asks for.
func instances(db *dbv1.Database) int32 {
	if dbv1.Mode(db) != dbv1.Replicated {
		return 1
	}
	return dbv1.Replicas(db)
}
