package redis

import (
	"strings"
	"testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
)

func TestTheBindingEscapesThePassword(t *testing.T) {
	binding := Engine{}.Binding(database7(), engine.Login{Username: "app", Password: "a/b@c:d %"})
	if want := "redis://app:a%2Fb%40c%3Ad%20%25@cache.prod.svc:6379/0"; binding["uri"] != want {
		t.Errorf("uri %s, want %s", binding["uri"], want)
	}
	for key, want := range map[string]string{"type": "redis", "host": "cache.prod.svc", "port": "6379", "username": "app", "password": "a/b@c:d %", "database": "0"} {
		if binding[key] != want {
			t.Errorf("%s is %q, want %q", key, binding[key], want)
		}
	}
}

func TestWhatCannotRunIsABlockingGap(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*dbv1.Database)
		want   string
	}{
		"what runs":       {func(*dbv1.Database) {}, ""},
		"6.2":             {func(db *dbv1.Database) { db.Spec.Version = "6.2.14" }, ""},
		"the newest 6":    {func(db *dbv1.Database) { db.Spec.Version = "6" }, ""},
		"8":               {func(db *dbv1.Database) { db.Spec.Version = "8" }, ""},
		"replicas":        {func(db *dbv1.Database) { db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 3} }, "topology.mode Replicated"},
		"a cluster":       {func(db *dbv1.Database) { db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Cluster, Shards: 3} }, "topology.mode Cluster"},
		"no storage":      {func(db *dbv1.Database) { db.Spec.Storage = nil }, "without storage"},
		"an old one":      {func(db *dbv1.Database) { db.Spec.Version = "6.0.16" }, "Redis 6.0.16"},
		"an older one":    {func(db *dbv1.Database) { db.Spec.Version = "5" }, "Redis 5"},
		"one to come":     {func(db *dbv1.Database) { db.Spec.Version = "9.0" }, "Redis 9.0"},
		"another major":   {func(db *dbv1.Database) { db.Status.CurrentVersion, db.Spec.Version = "7.0", "8.0" }, "major upgrades"},
		"another minor":   {func(db *dbv1.Database) { db.Status.CurrentVersion, db.Spec.Version = "7.0", "7.2" }, ""},
		"another backup":  {func(db *dbv1.Database) { db.Spec.Restore = &dbv1.RestoreSpec{BackupName: "b"} }, "spec.restore"},
		"only less of it": {func(db *dbv1.Database) { db.Spec.Lifecycle.Hibernated = true }, ""},
	} {
		message := ""
		for _, gap := range (Engine{}).Gaps(database7(c.change)) {
			if !strings.HasPrefix(gap.Message, "not supported yet: ") {
				t.Errorf("%s: message %q", name, gap.Message)
			}
			if gap.Blocking {
				message += gap.Message
			}
		}
		if (c.want == "") != (message == "") || !strings.Contains(message, c.want) {
			t.Errorf("%s: %q, want %q", name, message, c.want)
		}
	}
}

func TestTheIdentityIsReadBackAsRecorded(t *testing.T) {
	if got := (Engine{}).Identity(Engine{}.Record("QX7")); got != "QX7" {
		t.Errorf("it is %q", got)
	}
	for _, status := range []*dbv1.EngineStatus{nil, {}, {PostgreSQL: &dbv1.PostgreSQLStatus{SystemID: "1"}}} {
		if got := (Engine{}).Identity(status); got != "" {
			t.Errorf("status %v has identity %q", status, got)
		}
	}
}

func TestDataMustFitTheMemoryOfTheNextPod(t *testing.T) {
	for _, c := range []struct {
		status *dbv1.InstanceEngineStatus
		want   int64
	}{
		{nil, 0},
		{&dbv1.InstanceEngineStatus{PostgreSQL: &dbv1.PostgreSQLInstanceStatus{}}, 0},
		{&dbv1.InstanceEngineStatus{Redis: &dbv1.RedisInstanceStatus{}}, 0},
		{&dbv1.InstanceEngineStatus{Redis: &dbv1.RedisInstanceStatus{UsedMemoryBytes: 100 << 20}}, 148 << 20},
	} {
		if got := (Engine{}).MemoryNeeded(&dbv1.DatabaseInstanceStatus{Engine: c.status}); got != c.want {
			t.Errorf("%+v needs %d, want %d", c.status, got, c.want)
		}
	}
}
