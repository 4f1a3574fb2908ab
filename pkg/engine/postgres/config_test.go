package postgres

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/apis/database/v1/validation"
	"github.com/platform-io/database-operator/pkg/engine"
)

func database(change ...func(*dbv1.Database)) *dbv1.Database {
	db := &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "prod"},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.PostgreSQL, Version: "15.4",
			Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi")}},
		},
	}
	for _, c := range change {
		c(db)
	}
	return db
}

func setting(conf, name string) string {
	for line := range strings.Lines(conf) {
		if value, ok := strings.CutPrefix(line, name+" = "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestSettingsFollowFromTheMemoryLimit(t *testing.T) {
	for memory, want := range map[string]map[string]string{
		"4Gi":   {"shared_buffers": "'1024MB'", "effective_cache_size": "'3072MB'", "maintenance_work_mem": "'256MB'", "work_mem": "'10MB'"},
		"64Mi":  {"shared_buffers": "'16MB'", "effective_cache_size": "'64MB'", "maintenance_work_mem": "'16MB'", "work_mem": "'4MB'"},
		"512Gi": {"shared_buffers": "'65536MB'", "effective_cache_size": "'393216MB'", "maintenance_work_mem": "'2048MB'", "work_mem": "'256MB'"},
	} {
		conf := files(database(func(db *dbv1.Database) { db.Spec.Resources.Limits[corev1.ResourceMemory] = resource.MustParse(memory) }))[fileConf]
		for name, value := range want {
			if got := setting(conf, name); got != value {
				t.Errorf("with %s, %s is %s, want %s", memory, name, got, value)
			}
		}
	}
}

func TestTheLogIsKeptWithinTheVolume(t *testing.T) {
	for size, want := range map[string]map[string]string{
		"1Gi":   {"wal_keep_size": "'64MB'", "max_slot_wal_keep_size": "'512MB'"},
		"100Gi": {"wal_keep_size": "'512MB'", "max_slot_wal_keep_size": "'51200MB'"},
	} {
		conf := files(database(func(db *dbv1.Database) { db.Spec.Storage = &dbv1.StorageSpec{Size: new(resource.MustParse(size))} }))[fileConf]
		for name, value := range want {
			if got := setting(conf, name); got != value {
				t.Errorf("on %s, %s is %s, want %s", size, name, got, value)
			}
		}
	}
}

// The first line that fits decides.
func TestWhoMayComeFromWhere(t *testing.T) {
	for _, c := range []struct{ kind, database, user, want string }{
		{"local", "app", "postgres", "peer"},
		{"local", "app", "app", ""},
		{"host", "app", "postgres", "reject"},
		{"host", "app", "app", "scram-sha-256"},
		{"host", "replication", "app", ""},
		{"host", "replication", "postgres", ""},
		{"host", "replication", "db_replication", "scram-sha-256"},
		{"host", "postgres", "db_replication", "scram-sha-256"},
		{"host", "app", "db_replication", "reject"},
	} {
		got := ""
		for line := range strings.Lines(hba) {
			f := strings.Fields(line)
			if f[0] != c.kind || f[1] != c.database && (f[1] != "all" || c.database == "replication") || f[2] != c.user && f[2] != "all" {
				continue
			}
			if c.kind == "local" {
				got = f[3]
			} else {
				got = f[4]
			}
			break
		}
		if got != c.want {
			t.Errorf("%s %s, user %s: %q, want %q", c.kind, c.database, c.user, got, c.want)
		}
	}
}

func TestTheUsersSettingsWinAndCannotBreakOut(t *testing.T) {
	conf := files(database(func(db *dbv1.Database) {
		db.Spec.EngineConfig = map[string]dbv1.ConfigValue{
			"Shared_Buffers":   "2GB",
			"application_name": `it's \ '; port = 1`,
		}
	}))[fileConf]
	if got := setting(conf, "shared_buffers"); got != "'2GB'" {
		t.Errorf("shared_buffers is %s", got)
	}
	if got := setting(conf, "application_name"); got != `'it''s \\ ''; port = 1'` {
		t.Errorf("application_name is %s", got)
	}
	if n := strings.Count(conf, "shared_buffers"); n != 1 {
		t.Errorf("shared_buffers stands there %d times", n)
	}
}

// refusals are what is wrong with settings.
func refusals(config map[string]dbv1.ConfigValue) field.ErrorList {
	db := database(func(db *dbv1.Database) { db.Spec.EngineConfig = config })
	return slices.DeleteFunc(validation.ValidateDatabase(db, validation.Context{Engine: Engine{}}), func(err *field.Error) bool {
		return !strings.HasPrefix(err.Field, "spec.engineConfig")
	})
}

func TestTheOperatorsSettingsCannotBeSet(t *testing.T) {
	names := slices.Collect(maps.Keys(owned(database())))
	for _, name := range append(names, "port", "SSL_cert_file", "archive_command", "recovery_target_time", "primary_conninfo", "unix_socket_group", "include_dir", "wal_receiver_timeout", "wal_retrieve_retry_interval") {
		errs := refusals(map[string]dbv1.ConfigValue{name: "x"})
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "spec.engineConfig["+name+"]") || !strings.Contains(errs[0].Error(), "the operator owns") {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestIllegalSettingsAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		config map[string]dbv1.ConfigValue
		want   string
	}{
		"a line break":        {map[string]dbv1.ConfigValue{"work_mem": "4MB\nport = 1"}, "one line"},
		"a name with a space": {map[string]dbv1.ConfigValue{"work mem": "4MB"}, "spec.engineConfig[work mem]"},
		"a name with a dash":  {map[string]dbv1.ConfigValue{"work-mem": "4MB"}, "not a setting's name"},
		"a delay":             {map[string]dbv1.ConfigValue{"pre_auth_delay": "1"}, "spec.engineConfig[pre_auth_delay]"},
		"a delay with a unit": {map[string]dbv1.ConfigValue{"Post_Auth_Delay": "10ms"}, "set it to 0, or leave it out"},
		"no place for agents": {map[string]dbv1.ConfigValue{"Superuser_reserved_connections": " 0"}, "at least 3, because the agent"},
		"one name twice":      {map[string]dbv1.ConfigValue{"work_mem": "4MB", "WORK_MEM": "8MB"}, "keep one of them"},
	} {
		errs := refusals(c.config)
		if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, errs, c.want)
		}
	}
	if errs := refusals(map[string]dbv1.ConfigValue{"max_connections": "200", "pg_stat_statements.max": "1000"}); len(errs) != 0 {
		t.Errorf("legal settings: %v", errs)
	}
	db := &dbv1.Database{Spec: dbv1.DatabaseSpec{EngineConfig: map[string]dbv1.ConfigValue{"max_wal_senders": "2", "max_replication_slots": "2"}}}
	if errs := (Engine{}).ValidateConfig(db); len(errs) != 0 {
		t.Errorf("few places for replicas, of which there are none: %v", errs)
	}
	db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 3}
	if errs := (Engine{}).ValidateConfig(db); len(errs) != 2 || !strings.Contains(errs.ToAggregate().Error(), "spec.engineConfig[max_wal_senders]") || !strings.Contains(errs[0].Detail, "at least 3") {
		t.Errorf("too few places for replicas: %v", errs)
	}
	for _, none := range []dbv1.ConfigValue{"0", "0s", " 0 ms", "00", "-0", "0.0"} {
		if errs := refusals(map[string]dbv1.ConfigValue{"pre_auth_delay": none, "post_auth_delay": none}); len(errs) != 0 {
			t.Errorf("a delay of %q: %v", none, errs)
		}
	}
}

func TestTheBindingEscapesThePassword(t *testing.T) {
	binding := Engine{}.Binding(database(), engine.Login{Username: "app", Password: "a/b@c:d", Database: "orders"})
	if want := "postgresql://app:a%2Fb%40c%3Ad@shop.prod.svc:5432/orders?connect_timeout=5&tcp_user_timeout=10000"; binding["uri"] != want {
		t.Errorf("uri %s, want %s", binding["uri"], want)
	}
}

func TestGapsAreNeverSilent(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*dbv1.Database)
		condition string
		blocking  bool
	}{
		"TLS":           {func(db *dbv1.Database) { db.Spec.Networking = &dbv1.NetworkingSpec{TLS: &dbv1.TLSSpec{Enabled: true}} }, dbv1.ConditionTLSReady, false},
		"backup":        {func(db *dbv1.Database) { db.Spec.Backup = &dbv1.BackupSpec{Enabled: true} }, dbv1.ConditionBackupConfigured, false},
		"a last backup": {func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionSnapshot }, dbv1.ConditionBackupConfigured, false},
		"Consul":        {func(db *dbv1.Database) { db.Spec.Auth = &dbv1.AuthSpec{Consul: &dbv1.ConsulSpec{Enabled: true}} }, dbv1.ConditionConsulSynced, false},
		"rotation": {func(db *dbv1.Database) {
			db.Spec.Auth = &dbv1.AuthSpec{RotationPolicy: &dbv1.RotationPolicy{Enabled: true}}
		}, dbv1.ConditionRotationReady, false},
		"restore": {func(db *dbv1.Database) { db.Spec.Restore = &dbv1.RestoreSpec{BackupName: "b"} }, dbv1.ConditionRestored, true},
		"a major upgrade": {func(db *dbv1.Database) {
			db.Status.CurrentVersion, db.Spec.Version = "15.4", "16"
		}, dbv1.ConditionUpToDate, true},
	} {
		found := false
		for _, gap := range (Engine{}).Gaps(database(c.change)) {
			if !strings.HasPrefix(gap.Message, "not supported yet: ") {
				t.Errorf("%s: message %q", name, gap.Message)
			}
			found = found || gap.Condition == c.condition && gap.Blocking == c.blocking
		}
		if !found {
			t.Errorf("%s: no gap in condition %s", name, c.condition)
		}
	}
}

func TestASmallerSettingIsRestartedWithOnThePrimaryFirst(t *testing.T) {
	running := &dbv1.DatabaseInstanceStatus{Engine: &dbv1.InstanceEngineStatus{PostgreSQL: &dbv1.PostgreSQLInstanceStatus{
		HotStandby: map[string]int64{"max_connections": 100, "max_locks_per_transaction": 128, "max_prepared_transactions": 0, "max_wal_senders": 64, "max_worker_processes": 8},
	}}}
	locks := dbv1.ConfigValue("128")
	for name, c := range map[string]struct {
		config  map[string]dbv1.ConfigValue
		primary *dbv1.DatabaseInstanceStatus
		want    bool
	}{
		"nothing":                {map[string]dbv1.ConfigValue{"max_locks_per_transaction": locks}, running, false},
		"one grows":              {map[string]dbv1.ConfigValue{"max_locks_per_transaction": locks, "max_connections": "200"}, running, false},
		"one shrinks":            {map[string]dbv1.ConfigValue{"max_locks_per_transaction": locks, "Max_Connections": "50"}, running, true},
		"one grows, one shrinks": {map[string]dbv1.ConfigValue{"max_locks_per_transaction": locks, "max_connections": "50", "max_worker_processes": "16"}, running, true},
		"one goes":               {nil, running, true},
		"another shrinks":        {map[string]dbv1.ConfigValue{"max_locks_per_transaction": locks, "shared_buffers": "1MB"}, running, false},
		"nobody knows":           {map[string]dbv1.ConfigValue{"max_connections": "50"}, &dbv1.DatabaseInstanceStatus{}, false},
	} {
		db := database(func(db *dbv1.Database) { db.Spec.EngineConfig = c.config })
		if got := (Engine{}).PrimaryFirst(db, c.primary); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// What a spec has by default, nobody waits for.
func TestMetricsAreAGapOnlyForWhoAskedForThem(t *testing.T) {
	for name, c := range map[string]struct {
		observability *dbv1.ObservabilitySpec
		want          bool
	}{
		"nothing is said":     {nil, false},
		"logs are asked for":  {&dbv1.ObservabilitySpec{Logging: &dbv1.LoggingSpec{Level: "debug"}}, false},
		"metrics are":         {&dbv1.ObservabilitySpec{Metrics: &dbv1.MetricsSpec{Enabled: new(true)}}, true},
		"metrics are refused": {&dbv1.ObservabilitySpec{Metrics: &dbv1.MetricsSpec{Enabled: new(false)}}, false},
	} {
		db := &dbv1.Database{Spec: dbv1.DatabaseSpec{Engine: dbv1.PostgreSQL, Version: "15", Observability: c.observability}}
		got := slices.ContainsFunc(Engine{}.Gaps(db), func(g engine.Gap) bool { return g.Condition == dbv1.ConditionMetricsReady })
		if got != c.want {
			t.Errorf("%s: a gap: %v", name, got)
		}
	}
}
