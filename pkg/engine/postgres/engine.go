// Package postgres is what is particular to PostgreSQL, as the operator sees it: configuration,
// what this release can do, and the form of its credentials. It is pure; what runs in the pod is
// in the folder driver.
package postgres

import (
	"net"
	"net/url"
	"strconv"
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
			naming.AnnotationMajorVersion: engine.Major(db.Spec.Version),
		},
	}
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
func (e Engine) Gaps(db *dbv1.Database) []engine.Gap { return engine.CommonGaps(db, e, "pg_dump") }

// instances is how many run: one, or as many as a replicated database asks for.
func instances(db *dbv1.Database) int32 {
	if dbv1.Mode(db) != dbv1.Replicated {
		return 1
	}
	return dbv1.Replicas(db)
}
