package engine

import (
	"fmt"
	"slices"
	"strings"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// What no engine of this release can do yet.

// NotSupported begins the message of every gap.
const NotSupported = "not supported yet: "

// CommonGaps are those of every engine. dump is the program that users back up with by themselves.
func CommonGaps(db *dbv1.Database, eng Engine, dump string) []Gap {
	var gaps []Gap
	gap := func(asked bool, condition, feature, instead string) {
		if asked {
			gaps = append(gaps, Gap{Condition: condition, Message: NotSupported + feature + "; " + instead})
		}
	}
	spec := &db.Spec
	gap(dbv1.TLSEnabled(db), dbv1.ConditionTLSReady, "networking.tls", "connections are not encrypted")
	gap(dbv1.BackupEnabled(db), dbv1.ConditionBackupConfigured, "backups", "none is taken; take your own with "+dump)
	gap(dbv1.EffectiveDeletionPolicy(db) == dbv1.DeletionSnapshot, dbv1.ConditionBackupConfigured, "the last backup of lifecycle.deletionPolicy Snapshot",
		"a deletion waits until the policy is Retain or Delete, or annotation "+naming.AnnotationSkipFinalBackup+" is true")
	gap(dbv1.BackupEnabled(db) && slices.Contains([]dbv1.BackupMethod{dbv1.BackupWAL, dbv1.BackupIncremental}, dbv1.MethodOf(db)),
		dbv1.ConditionContinuousArchiving, "the archive of the engine's log", "nothing is archived")
	gap(dbv1.Consul(db) != nil, dbv1.ConditionConsulSynced, "auth.consul", "the credentials are in Secret "+naming.Credentials(db.Name)+" alone")
	gap(dbv1.Rotation(db) != nil, dbv1.ConditionRotationReady, "auth.rotationPolicy", "the password stays as it is")
	gap(spec.Maintenance != nil && spec.Maintenance.AutoUpgrade, dbv1.ConditionMaintenanceReady, "maintenance.autoUpgrade", "set spec.version to upgrade")
	gap(spec.Lifecycle.Hibernated, dbv1.ConditionMaintenanceReady, "lifecycle.hibernated", "the database runs on")
	// They are on by default; only who wrote them down waits for them.
	gap(spec.Observability != nil && spec.Observability.Metrics != nil && dbv1.MetricsEnabled(db), dbv1.ConditionMetricsReady, "metrics of the engine",
		fmt.Sprintf("the agent's own are served on port %d", naming.PortAgent))
	gap(dbv1.Tracing(db) != nil, dbv1.ConditionMetricsReady, "observability.tracing", "no traces are sent")
	return append(gaps, blockingGaps(db, eng)...)
}

// blockingGaps are those where going on without the feature would do something else than was
// asked for, and not less.
func blockingGaps(db *dbv1.Database, eng Engine) []Gap {
	var gaps []Gap
	if db.Spec.Restore != nil && eng.Identity(db.Status.EngineStatus) == "" {
		gaps = append(gaps, Gap{
			Condition: dbv1.ConditionRestored, Blocking: true,
			Message: NotSupported + "spec.restore. Nothing was created, because an empty database is not what you asked for; remove spec.restore to begin empty.",
		})
	}
	if current := db.Status.CurrentVersion; current != "" && Major(current) != Major(db.Spec.Version) {
		gaps = append(gaps, Gap{
			Condition: dbv1.ConditionUpToDate, Blocking: true,
			Message: fmt.Sprintf(NotSupported+"major upgrades, here from %s to %s. The database runs on unchanged; set spec.version back to a %s, or dump it and load it into a new Database.",
				current, db.Spec.Version, Major(current)),
		})
	}
	return gaps
}

// Major is the first number of a version.
func Major(version string) string {
	major, _, _ := strings.Cut(version, ".")
	return major
}
