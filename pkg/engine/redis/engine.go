// Package redis is what is particular to Redis, as the operator sees it: configuration, what this
// release can do, and the form of its credentials. It is pure; what runs in the pod is in the folder
// driver.
package redis

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

// Engine is Redis. It implements engine.Engine.
type Engine struct{}

var _ engine.Engine = Engine{}

// user is the user "redis" of the stock image. (Its group of the same number is there in the image that
// is made of Debian; in that of Alpine it is another one, which nothing needs.)
const user = 999

// gracePeriod leaves time for the last write of the append-only file, and before version 7 for a snapshot where
// spec.engineConfig asks for one.
const gracePeriod = 2 * time.Minute

// Shape implements engine.Engine.
func (Engine) Shape(db *dbv1.Database) resources.Shape {
	return resources.Shape{
		Image:       dbv1.Image(db),
		User:        user,
		ClientPort:  dbv1.Port(db),
		GracePeriod: gracePeriod,
		Config:      files(db),
		Groups:      []resources.Group{{Name: db.Name, Replicas: 1}},
		Recorded: map[string]string{
			naming.AnnotationEngine:       string(dbv1.Redis),
			naming.AnnotationMajorVersion: engine.Major(db.Spec.Version),
		},
	}
}

// PrimaryFirst implements engine.Engine: there are no replicas.
func (Engine) PrimaryFirst(*dbv1.Database, *dbv1.DatabaseInstanceStatus) bool { return false }

// memoryOthers is what the agent and the kernel need beside the server.
const memoryOthers = 48 << 20

// MemoryNeeded implements engine.Engine. All data is in memory again after a start, whatever maxmemory says.
func (Engine) MemoryNeeded(report *dbv1.DatabaseInstanceStatus) int64 {
	if report.Engine == nil || report.Engine.Redis == nil || report.Engine.Redis.UsedMemoryBytes == 0 {
		return 0
	}
	return report.Engine.Redis.UsedMemoryBytes + memoryOthers
}

// Identity implements engine.Engine: it is the random id that lies beside the data.
func (Engine) Identity(status *dbv1.EngineStatus) string {
	if status == nil || status.Redis == nil {
		return ""
	}
	return status.Redis.SystemID
}

// Record implements engine.Engine.
func (Engine) Record(identity string) *dbv1.EngineStatus {
	return &dbv1.EngineStatus{Redis: &dbv1.RedisStatus{SystemID: identity}}
}

// database is the number of the logical database that clients begin in.
const database = "0"

// Binding implements engine.Engine, in the form of servicebinding.io's well-known entries.
func (Engine) Binding(db *dbv1.Database, login engine.Login) map[string]string {
	host := naming.Host(naming.Service(db.Name), db.Namespace)
	readOnly := naming.Host(naming.ReadOnlyService(db.Name), db.Namespace)
	port := strconv.Itoa(int(dbv1.Port(db)))
	return map[string]string{
		"type":          "redis",
		"provider":      naming.ManagedBy,
		"host":          host,
		"port":          port,
		"username":      login.Username,
		"password":      login.Password,
		"database":      database,
		"uri":           uri(host, port, login),
		"readonly-host": readOnly,
		"readonly-uri":  uri(readOnly, port, login),
	}
}

// uri has the registered form: https://www.iana.org/assignments/uri-schemes/prov/redis
func uri(host, port string, login engine.Login) string {
	u := url.URL{Scheme: "redis", User: url.UserPassword(login.Username, login.Password), Host: net.JoinHostPort(host, port), Path: "/" + database}
	return u.String()
}

// Gaps implements engine.Engine.
func (e Engine) Gaps(db *dbv1.Database) []engine.Gap {
	gaps := engine.CommonGaps(db, e, "redis-cli --rdb")
	block := func(asked bool, format string, args ...any) {
		if asked {
			message := engine.NotSupported + fmt.Sprintf(format, args...)
			gaps = append(gaps, engine.Gap{Condition: dbv1.ConditionUpToDate, Blocking: true, Message: message})
		}
	}
	mode := dbv1.Mode(db)
	block(mode != dbv1.Standalone, "topology.mode %s of Redis. Nothing is made or changed; set it to Standalone for a single instance", mode)
	block(dbv1.StorageSize(db) == nil, "a Redis without storage. Nothing was created; set spec.storage.size, because data needs a volume in this release")
	block(!runs(db.Spec.Version), "Redis %s. Nothing is made or changed; this release runs versions 6.2 to 8", db.Spec.Version)
	return gaps
}

// runs says whether this release runs a version. A major version alone is the newest of it.
func runs(version string) bool {
	parts := strings.Split(version, ".")
	switch parts[0] {
	case "7", "8":
		return true
	case "6":
		return len(parts) == 1 || parts[1] == "2"
	}
	return false
}
