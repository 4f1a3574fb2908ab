package postgres

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The configuration is three layers, later ones win: settings derived from the pod's resources,
// the user's engineConfig, and the settings that the operator owns. The files are complete: the
// server reads nothing else, and the agent adds nothing.

// Names of the files in the ConfigMap.
const (
	fileConf  = "postgresql.conf"
	fileHBA   = "pg_hba.conf"
	fileIdent = "pg_ident.conf"
)

// files are the configuration files of a Database.
func files(db *dbv1.Database) map[string]string {
	return map[string]string{fileConf: render(settings(db)), fileHBA: hba, fileIdent: ident}
}

// settings are all that the server is told, in the three layers.
func settings(db *dbv1.Database) map[string]string {
	limits := dbv1.Resources(db).Limits
	all := derived(limits.Memory().Value())
	maps.Copy(all, keptLog(dbv1.StorageSize(db)))
	for name, value := range db.Spec.EngineConfig {
		all[strings.ToLower(name)] = string(value)
	}
	maps.Copy(all, owned(db))
	return all
}

// hba lets the agent in over the socket, which only the pod's own user can reach, and everybody
// else with a password. The superuser has none, and never comes over the network. Replicas come for
// the log, and to database postgres for what pg_rewind reads; nobody else gets the log ("all" is no
// word for it).
const hba = `# TYPE  DATABASE     USER                            ADDRESS  METHOD
local   all          postgres                                 peer map=agent
host    all          postgres                        all      reject
host    replication  ` + naming.ReplicationUser + `                  all      scram-sha-256
host    postgres     ` + naming.ReplicationUser + `                  all      scram-sha-256
host    all          ` + naming.ReplicationUser + `                  all      reject
host    all          all                             all      scram-sha-256
`

// ident maps the user that the pod runs as, whatever its name in the image, to the superuser.
const ident = `# MAP    SYSTEM-USER  DATABASE-USER
agent    /^.*$        postgres
`

// derived are defaults that follow from the memory limit, by the rules of thumb of the manual
// (https://www.postgresql.org/docs/current/runtime-config-resource.html): a quarter of memory for
// shared buffers, three quarters expected in all caches.
func derived(memory int64) map[string]string {
	const mega = 1 << 20
	quantity := func(bytes, low, high int64) string {
		return strconv.FormatInt(min(max(bytes/mega, low), high), 10) + "MB"
	}
	return map[string]string{
		"max_connections": "100",
		// Enough for the largest topology: a change needs a restart.
		"max_wal_senders":              "64",
		"max_replication_slots":        "64",
		"shared_buffers":               quantity(memory/4, 16, 64<<10),
		"effective_cache_size":         quantity(memory*3/4, 64, 1<<20),
		"maintenance_work_mem":         quantity(memory/16, 16, 2048),
		"work_mem":                     quantity(memory/400, 4, 256),
		"max_wal_size":                 "1GB",
		"min_wal_size":                 "80MB",
		"checkpoint_timeout":           "5min",
		"checkpoint_completion_target": "0.9",
		"random_page_cost":             "1.1",
		"log_checkpoints":              "on",
		"log_lock_waits":               "on",
		"log_min_duration_statement":   "-1",
		"timezone":                     "UTC",
		"log_timezone":                 "UTC",
	}
}

// keptLog are defaults of how much log is kept for replicas that are away. The log is on the volume of
// the data: a slot that keeps it without end fills the volume, and a replica that is away for longer
// is cloned again.
func keptLog(volume *resource.Quantity) map[string]string {
	settings := map[string]string{"wal_keep_size": "512MB"}
	if volume != nil {
		const mega = 1 << 20
		size := volume.Value() / mega
		settings["wal_keep_size"] = strconv.FormatInt(min(max(size/16, 64), 512), 10) + "MB"
		// Beside the data there must be room for the log between two checkpoints.
		settings["max_wal_size"] = strconv.FormatInt(min(max(size/6, 48), 1024), 10) + "MB"
		settings["min_wal_size"] = strconv.FormatInt(min(max(size/12, 32), 80), 10) + "MB"
		settings["max_slot_wal_keep_size"] = strconv.FormatInt(max(size/2, 64), 10) + "MB"
	}
	return settings
}

// owned are the settings that the operator decides.
func owned(db *dbv1.Database) map[string]string {
	return map[string]string{ //nolint:gosec // password_encryption is no password
		"listen_addresses":        "*",
		"port":                    strconv.Itoa(int(dbv1.Port(db))),
		"unix_socket_directories": naming.PathRun,
		"unix_socket_permissions": "0700",
		"password_encryption":     "scram-sha-256",
		"cluster_name":            db.Name,
		// The agent decides what happens after a crash, and knows no half-dead server.
		"restart_after_crash": "off",
		// What replicas and pg_rewind will need: changing it later would need a restart.
		"wal_level":     "replica",
		"wal_log_hints": "on",
		"hot_standby":   "on",
		// The other end of a connection that is dead is noticed before anyone waits for it: by a stop, or
		// by a commit. Replicas say every second how far they are, whatever happens.
		"wal_sender_timeout":           "5s",
		"wal_receiver_timeout":         "5s",
		"wal_receiver_status_interval": "1s",
		// The agent reads the log from standard error, line by line, in this form.
		"log_destination":            "stderr",
		"logging_collector":          "off",
		"log_line_prefix":            "%m [%p] %q%u@%d ",
		"lc_messages":                "C",
		"dynamic_shared_memory_type": "posix",
	}
}

// ownedSettings are the names that engineConfig may not have, with the way to get what they are
// for. Names that end in * are prefixes.
var ownedSettings = map[string]string{
	"listen_addresses":           "clients connect through the Service",
	"port":                       "set spec.networking.port",
	"unix_socket_*":              "only the agent uses the socket",
	"password_encryption":        "passwords are always scram-sha-256",
	"cluster_name":               "it is the name of the Database",
	"db_user_namespace":          "accounts are named by spec.auth.username",
	"restart_after_crash":        "the agent restarts the server",
	"wal_level":                  "it is replica, for replicas and backups",
	"wal_log_hints":              "it is on, for pg_rewind",
	"hot_standby":                "it is on",
	"wal_sender_timeout":         "it is 5s, so that nobody waits for a replica that is gone",
	"wal_receiver_*":             "the agent follows the primary, and must notice at once when it is gone",
	"wal_retrieve_*":             "the agent follows the primary, and must notice at once when it is back",
	"log_destination":            "logs go to the pod's log, in JSON; see spec.observability.logging",
	"logging_collector":          "logs go to the pod's log, in JSON; see spec.observability.logging",
	"log_directory":              "logs go to the pod's log, in JSON; see spec.observability.logging",
	"log_filename":               "logs go to the pod's log, in JSON; see spec.observability.logging",
	"log_line_prefix":            "logs go to the pod's log, in JSON; see spec.observability.logging",
	"lc_messages":                "the agent reads the log in English",
	"dynamic_shared_memory_type": "it is posix",
	"data_directory":             "the agent decides where data lies",
	"config_file":                "settings belong in spec.engineConfig",
	"hba_file":                   "access is by password, over the Service",
	"ident_file":                 "access is by password, over the Service",
	"external_pid_file":          "the agent supervises the server",
	"include*":                   "settings belong in spec.engineConfig",
	"ssl*":                       "set spec.networking.tls",
	"archive_*":                  "set spec.backup",
	"restore_command":            "set spec.restore",
	"recovery_*":                 "set spec.restore",
	"primary_*":                  "set spec.topology",
	"promote_trigger_file":       "the agents decide who is the primary",
	"synchronous_standby_names":  "set spec.highAvailability.synchronousReplicas",
	"allow_alter_system":         "settings belong in spec.engineConfig",
}

// hotStandby are the settings that a replica must not have lower than its primary, with the server's
// own defaults.
var hotStandby = map[string]int64{
	"max_connections": 100, "max_locks_per_transaction": 64, "max_prepared_transactions": 0, "max_wal_senders": 10, "max_worker_processes": 8,
}

// PrimaryFirst implements engine.Engine. One of these settings that grows is restarted with on replicas
// first, and one that shrinks on the primary first. When one grows and another shrinks, replicas pause
// from the restart of the primary to their own.
// https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
func (Engine) PrimaryFirst(db *dbv1.Database, primary *dbv1.DatabaseInstanceStatus) bool {
	if primary == nil || primary.Engine == nil || primary.Engine.PostgreSQL == nil {
		return false
	}
	wanted := settings(db)
	for name, value := range hotStandby {
		if text, ok := wanted[name]; ok {
			// What is no number, the server refuses.
			value, _ = strconv.ParseInt(text, 10, 64)
		}
		if running, known := primary.Engine.PostgreSQL.HotStandby[name]; known && value < running {
			return true
		}
	}
	return false
}

// MemoryNeeded implements engine.Engine: data is on the volume, and memory a cache of it.
func (Engine) MemoryNeeded(*dbv1.DatabaseInstanceStatus) int64 { return 0 }

// OwnedSettings implements engine.Engine.
func (Engine) OwnedSettings() map[string]string { return ownedSettings }

// settingName is a name as the server accepts it, with the prefix of an extension.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$`)

// debuggerDelays keep every session waiting, for a debugger to attach, and the agent's with them.
var debuggerDelays = []string{"pre_auth_delay", "post_auth_delay"}

// zero is no time at all, as the server reads it.
var zero = regexp.MustCompile(`^\s*[+-]?0+(\.0*)?\s*(us|ms|s|min|h|d)?\s*$`)

// least are the bounds of settings that the server takes in any size, and without which the agent, or the other
// instances, do not get in.
func least(db *dbv1.Database, name string) (bound int64, why string) {
	switch name {
	case "superuser_reserved_connections":
		return 3, "the agent needs a connection also when clients have taken all others"
	case "max_wal_senders", "max_replication_slots":
		if n := instances(db); n > 1 {
			return int64(n), "each other instance needs one, and a copy of the data one more"
		}
	}
	return 0, ""
}

// ValidateConfig implements engine.Engine. Whether a value is good only the server knows; here is
// refused what is no setting's name, and what lets nobody in.
func (Engine) ValidateConfig(db *dbv1.Database) field.ErrorList {
	config := db.Spec.EngineConfig
	errs := engine.ValidateNames(config, settingName, "use letters, digits and _, as in max_connections or pg_stat_statements.max")
	for _, name := range slices.Sorted(maps.Keys(config)) {
		at, setting, value := field.NewPath("spec", "engineConfig").Key(name), strings.ToLower(name), string(config[name])
		bound, why := least(db, setting)
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n < bound {
			errs = append(errs, field.Invalid(at, value, fmt.Sprintf("at least %d, because %s: raise it, or leave it out", bound, why)))
		}
		if slices.Contains(debuggerDelays, setting) && !zero.MatchString(value) {
			errs = append(errs, field.Invalid(at, value, "for debuggers: every session would wait; set it to 0, or leave it out"))
		}
	}
	return errs
}

// render writes settings as the server reads them
// (https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE):
// every value quoted, quotes doubled, backslashes too because the server takes them as escapes.
func render(settings map[string]string) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	var out strings.Builder
	out.WriteString("# Made by the operator from spec.engineConfig and spec.resources. Changes here are overwritten.\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&out, "%s = '%s'\n", name, escape.Replace(settings[name]))
	}
	return out.String()
}
