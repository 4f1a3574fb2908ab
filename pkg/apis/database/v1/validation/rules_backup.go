package validation

import (
	"regexp"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

var (
	incremental  = regexp.MustCompile(`^(1[7-9]|[2-9][0-9]|[1-9][0-9][0-9]+)([.]|$)`)
	bucketForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*[a-z0-9]$`)
	endpointForm = regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$`)
	upwards      = regexp.MustCompile(`(^|/)[.][.](/|$)`)
)

// backupRules are about how backups are taken and where they go.
var backupRules = []Rule{
	{
		ID: "backup-schedule", Paths: []string{"spec.backup"},
		CEL: `!has(self.enabled) || !self.enabled || (has(self.schedule) && size(self.schedule) > 0)`,
		Message: "spec.backup.schedule is required when backups are enabled, because nothing else says when they are taken; " +
			`set it, as "0 2 * * *" for every night`,
		Check: func(s *subject) {
			s.refuse(dbv1.BackupEnabled(s.db) && s.spec.Backup.Schedule == "", "spec.backup.schedule", "")
		},
	},
	{
		ID: "backup-destination", Paths: []string{"spec"},
		CEL: `!has(self.backup) || !has(self.backup.enabled) || !self.backup.enabled || has(self.backup.destination) || (self.engine != 'Elasticsearch' && has(self.backup.method) && self.backup.method == 'Snapshot')`,
		Message: "spec.backup.destination is required for this method, because only a volume snapshot can stay with the storage; " +
			"name a bucket in s3, or a persistentVolumeClaim",
		Check: func(s *subject) {
			inPlace := s.spec.Engine != dbv1.Elasticsearch && dbv1.MethodOf(s.db) == dbv1.BackupSnapshot
			s.refuse(dbv1.BackupEnabled(s.db) && s.spec.Backup.Destination == nil && !inPlace, "spec.backup.destination", nil)
		},
	},
	{
		ID: "destination-one", Paths: []string{"spec.backup.destination", "spec.restore.source.destination"},
		CEL: `has(self.s3) != has(self.persistentVolumeClaim)`,
		Message: "a destination must be exactly one of s3 and persistentVolumeClaim, because a backup is in one place; " +
			"keep one of the two",
		Check: func(s *subject) {
			s.eachDestination(func(path string, d *dbv1.BackupDestination) {
				s.refuse((d.S3 != nil) == (d.PersistentVolumeClaim != nil), path, nil)
			})
		},
	},
	{
		ID: "method-elasticsearch", Paths: []string{"spec"},
		CEL: `self.engine != 'Elasticsearch' || !has(self.backup) || !has(self.backup.method) || self.backup.method in ['Snapshot', 'Incremental']`,
		Message: "spec.backup.method must be Snapshot for Elasticsearch, because it has no Dump and no WAL; " +
			"use Snapshot, which stores only what changed",
		Check: func(s *subject) {
			method := dbv1.MethodOf(s.db)
			s.refuse(s.spec.Engine == dbv1.Elasticsearch && (method == dbv1.BackupDump || method == dbv1.BackupWAL), "spec.backup.method", method)
		},
	},
	{
		ID: "method-incremental", Paths: []string{"spec"},
		CEL: `self.engine != 'PostgreSQL' || !has(self.backup) || !has(self.backup.method) || self.backup.method != 'Incremental' || self.version.matches('^(1[7-9]|[2-9][0-9]|[1-9][0-9][0-9]+)([.]|$)')`,
		Message: "spec.backup.method Incremental needs PostgreSQL 17 or later, because older servers cannot tell what changed; " +
			"use WAL, which also restores to any point in time",
		Check: func(s *subject) {
			s.refuse(s.spec.Engine == dbv1.PostgreSQL && dbv1.MethodOf(s.db) == dbv1.BackupIncremental && !incremental.MatchString(s.spec.Version),
				"spec.backup.method", dbv1.BackupIncremental)
		},
	},
	{
		ID: "s3-bucket", Paths: []string{"spec.backup.destination.s3", "spec.restore.source.destination.s3"},
		CEL: `self.bucket.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')`,
		Message: "s3.bucket must be the name of a bucket (a-z, 0-9, . and -), without a scheme or a path; " +
			"put a path into s3.prefix, and another service into s3.endpoint",
		Check: func(s *subject) {
			s.eachDestination(func(path string, d *dbv1.BackupDestination) {
				if d.S3 != nil {
					s.refuse(!bucketForm.MatchString(d.S3.Bucket), path+".s3.bucket", d.S3.Bucket)
				}
			})
		},
	},
	{
		ID: "s3-endpoint", Paths: []string{"spec.backup.destination.s3", "spec.restore.source.destination.s3"},
		CEL: `!has(self.endpoint) || size(self.endpoint) == 0 || self.endpoint.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$')`,
		Message: `s3.endpoint must be the address of a service with its scheme, as "https://s3.example.com" or "http://minio.storage:9000"; ` +
			"put the bucket into s3.bucket, and a path into s3.prefix",
		Check: func(s *subject) {
			s.eachDestination(func(path string, d *dbv1.BackupDestination) {
				if d.S3 != nil {
					s.refuse(d.S3.Endpoint != "" && !endpointForm.MatchString(d.S3.Endpoint), path+".s3.endpoint", d.S3.Endpoint)
				}
			})
		},
	},
	{
		ID: "s3-prefix", Paths: []string{"spec.backup.destination.s3", "spec.restore.source.destination.s3"},
		CEL: `!has(self.prefix) || !self.prefix.matches('(^|/)[.][.](/|$)')`,
		Message: `s3.prefix must not have ".." in it, because backups must stay below it; ` +
			"write the path from the root of the bucket",
		Check: func(s *subject) {
			s.eachDestination(func(path string, d *dbv1.BackupDestination) {
				if d.S3 != nil {
					s.refuse(upwards.MatchString(d.S3.Prefix), path+".s3.prefix", d.S3.Prefix)
				}
			})
		},
	},
	{
		ID: "claim-path", Paths: []string{"spec.backup.destination.persistentVolumeClaim", "spec.restore.source.destination.persistentVolumeClaim"},
		CEL: `!has(self.path) || !self.path.matches('(^|/)[.][.](/|$)')`,
		Message: `persistentVolumeClaim.path must not have ".." in it, because backups must stay on the volume; ` +
			"write the path from the root of the volume",
		Check: func(s *subject) {
			s.eachDestination(func(path string, d *dbv1.BackupDestination) {
				if d.PersistentVolumeClaim != nil {
					s.refuse(upwards.MatchString(d.PersistentVolumeClaim.Path), path+".persistentVolumeClaim.path", d.PersistentVolumeClaim.Path)
				}
			})
		},
	},
	{
		ID:      "backup-cron",
		Message: "spec.backup.schedule must be a time that comes",
		Check: func(s *subject) {
			b := s.spec.Backup
			if b == nil {
				return
			}
			s.cron("spec.backup.schedule", b.Schedule)
			s.timeZone("spec.backup.timeZone", b.TimeZone)
			if b.Verify != nil {
				s.cron("spec.backup.verify.schedule", b.Verify.Schedule)
			}
		},
	},
	{
		ID: "backup-database-immutable", Kind: "DatabaseBackup", Paths: []string{"spec.databaseName"},
		CEL: `self == oldSelf`,
		Message: "spec.databaseName cannot be changed, because the backup was taken of that Database; " +
			"make a new DatabaseBackup",
	},
	{
		ID: "backup-method-immutable", Kind: "DatabaseBackup", Paths: []string{"spec"},
		CEL: `has(self.method) == has(oldSelf.method) && (!has(self.method) || self.method == oldSelf.method)`,
		Message: "spec.method cannot be changed, because the backup was taken that way; " +
			"make a new DatabaseBackup",
	},
}

// restoreRules are about how a Database is first filled.
var restoreRules = []Rule{
	{
		ID: "restore-one-source", Paths: []string{"spec.restore"},
		CEL: `(has(self.backupName) && size(self.backupName) > 0) != has(self.source)`,
		Message: "spec.restore must have exactly one of backupName and source, because a Database is filled from one place; " +
			"name a DatabaseBackup of this namespace, or a store and a database in it",
		Check: func(s *subject) {
			if r := s.spec.Restore; r != nil {
				s.refuse((r.BackupName != "") == (r.Source != nil), "spec.restore", nil)
			}
		},
	},
	{
		ID: "restore-one-target", Paths: []string{"spec.restore"},
		CEL: `[has(self.pointInTime), has(self.lsn), has(self.transactionID), has(self.restorePoint)].filter(x, x).size() <= 1`,
		Message: "spec.restore must have at most one of pointInTime, lsn, transactionID and restorePoint, because replay stops at one point; " +
			"keep one, or none for the end of the archive",
		Check: func(s *subject) {
			r := s.spec.Restore
			if r == nil {
				return
			}
			targets := 0
			for _, set := range []bool{r.PointInTime != nil, r.LSN != "", r.TransactionID != "", r.RestorePoint != ""} {
				if set {
					targets++
				}
			}
			s.refuse(targets > 1, "spec.restore", nil)
		},
	},
	{
		ID: "restore-target-postgresql", Paths: []string{"spec"},
		CEL: `self.engine == 'PostgreSQL' || !has(self.restore) || !(has(self.restore.lsn) || has(self.restore.transactionID) || has(self.restore.restorePoint))`,
		Message: "spec.restore.lsn, transactionID and restorePoint are for PostgreSQL alone, because only its log has them; " +
			"use pointInTime",
		Check: func(s *subject) {
			if r := s.spec.Restore; r != nil {
				s.refuse(s.spec.Engine != dbv1.PostgreSQL && (r.LSN != "" || r.TransactionID != "" || r.RestorePoint != ""), "spec.restore", nil)
			}
		},
	},
	{
		ID: "restore-target-elasticsearch", Paths: []string{"spec"},
		CEL: `self.engine != 'Elasticsearch' || !has(self.restore) || !has(self.restore.pointInTime)`,
		Message: "spec.restore.pointInTime is not possible for Elasticsearch, because it has snapshots and no log; " +
			"name the DatabaseBackup of the time that you want in backupName",
		Check: func(s *subject) {
			if r := s.spec.Restore; r != nil {
				s.refuse(s.spec.Engine == dbv1.Elasticsearch && r.PointInTime != nil, "spec.restore.pointInTime", r.PointInTime)
			}
		},
	},
	{
		ID: "restore-source-path", Paths: []string{"spec.restore.source"},
		CEL: `self.database.matches('^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*(/[a-z0-9-]+)?$')`,
		Message: "spec.restore.source.database must be <namespace>/<name>, or <namespace>/<name>/<uid>, because that is how the store is laid out; " +
			"write it as the destination's folders have it",
		Check: func(s *subject) {
			if r := s.spec.Restore; r != nil && r.Source != nil {
				s.refuse(!storePath.MatchString(r.Source.Database), "spec.restore.source.database", r.Source.Database)
			}
		},
	},
}

var storePath = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*(/[a-z0-9-]+)?$`)

// eachDestination visits every place where backups are stored or read from.
func (s *subject) eachDestination(visit func(path string, d *dbv1.BackupDestination)) {
	if b := s.spec.Backup; b != nil && b.Destination != nil {
		visit("spec.backup.destination", b.Destination)
	}
	if r := s.spec.Restore; r != nil && r.Source != nil {
		visit("spec.restore.source.destination", &r.Source.Destination)
	}
}
