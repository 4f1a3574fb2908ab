package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupMethod names a way to take a backup.
//
// +kubebuilder:validation:Enum=Snapshot;Dump;WAL;Incremental
type BackupMethod string

// The backup methods. Which ones an engine can do is in the README.
const (
	// BackupSnapshot is a CSI VolumeSnapshot of a consistent instance.
	BackupSnapshot BackupMethod = "Snapshot"
	// BackupDump is a logical dump with the engine's own tool.
	BackupDump BackupMethod = "Dump"
	// BackupWAL is a base backup with a continuous archive of the engine's log: any point in time can be
	// restored.
	BackupWAL BackupMethod = "WAL"
	// BackupIncremental is WAL with base backups that hold only what changed.
	BackupIncremental BackupMethod = "Incremental"
)

// BackupSpec says when backups are taken, how, where to, and for how long they are kept.
//
// +kubebuilder:validation:XValidation:rule="!has(self.enabled) || !self.enabled || (has(self.schedule) && size(self.schedule) > 0)",message=`spec.backup.schedule is required when backups are enabled, because nothing else says when they are taken; set it, as "0 2 * * *" for every night`
type BackupSpec struct {
	// Whether scheduled backups are taken. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// When backups are taken: a cron expression of five fields ("0 2 * * *") or a macro
	// ("@daily"). Required when enabled; at most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule,omitempty"`

	// Time zone of the schedule, an IANA name as "Europe/Berlin". Default: UTC; at most 64
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// How backups are taken. Snapshot: a CSI VolumeSnapshot of a consistent instance (Elasticsearch:
	// its own snapshots, in the destination). Dump: a logical dump with the engine's own tool. WAL: a
	// base backup and a continuous archive of the engine's log, for any point in time. Incremental: the
	// same with base backups of what changed (PostgreSQL 17 and later). Elasticsearch has Snapshot and
	// Incremental only. Default: Dump (Elasticsearch: Snapshot).
	// +optional
	Method BackupMethod `json:"method,omitempty"`

	// How many successful backups are kept. The newest success is never deleted. Default: 7; 1 to
	// 1000.
	// +optional
	// +kubebuilder:default=7
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Retention int32 `json:"retention,omitempty"`

	// For how many days backups are kept, in addition to retention: a backup goes when it is over
	// both. Default: no limit by age; 1 to 3650.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	RetentionDays *int32 `json:"retentionDays,omitempty"`

	// Where backups are stored. Required for Dump, WAL and Incremental; a Snapshot stays with
	// the storage, and a destination receives its description.
	// +optional
	Destination *BackupDestination `json:"destination,omitempty"`

	// Encryption of what is stored. Default: none beyond the destination's own.
	// +optional
	Encryption *BackupEncryption `json:"encryption,omitempty"`

	// Regular proof that the newest backup can be restored. Default: none.
	// +optional
	Verify *BackupVerification `json:"verify,omitempty"`

	// How many finished Jobs are kept to look at. Default: 3 successful, 1 failed.
	// +optional
	History *BackupHistory `json:"history,omitempty"`

	// Whether deletionPolicy Delete also deletes the backups at the destination. Default: false.
	// +optional
	DeleteWithDatabase bool `json:"deleteWithDatabase,omitempty"`
}

// BackupDestination is where backups are stored: exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.s3) != has(self.persistentVolumeClaim)",message="a destination must be exactly one of s3 and persistentVolumeClaim, because a backup is in one place; keep one of the two"
type BackupDestination struct {
	// A bucket of S3 or of a service that speaks its protocol. Required, unless persistentVolumeClaim is
	// set.
	// +optional
	S3 *S3Destination `json:"s3,omitempty"`

	// A volume in the namespace of the Database. Required, unless s3 is set.
	// +optional
	PersistentVolumeClaim *ClaimDestination `json:"persistentVolumeClaim,omitempty"`
}

// S3Destination is a bucket of S3 or of a service that speaks its protocol.
//
// +kubebuilder:validation:XValidation:rule="self.bucket.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')",message="s3.bucket must be the name of a bucket (a-z, 0-9, . and -), without a scheme or a path; put a path into s3.prefix, and another service into s3.endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || size(self.endpoint) == 0 || self.endpoint.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$')",message=`s3.endpoint must be the address of a service with its scheme, as "https://s3.example.com" or "http://minio.storage:9000"; put the bucket into s3.bucket, and a path into s3.prefix`
// +kubebuilder:validation:XValidation:rule="!has(self.prefix) || !self.prefix.matches('(^|/)[.][.](/|$)')",message=`s3.prefix must not have ".." in it, because backups must stay below it; write the path from the root of the bucket`
type S3Destination struct {
	// Name of the bucket. Required; 3 to 63 characters.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	Bucket string `json:"bucket"`

	// Region of the bucket, as "eu-central-1". Default: us-east-1; at most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Region string `json:"region,omitempty"`

	// Address of the service, as "https://s3.example.com". Default: that of AWS for the region;
	// at most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Endpoint string `json:"endpoint,omitempty"`

	// Path below which everything is stored. Default: the root of the bucket; at most 512
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Prefix string `json:"prefix,omitempty"`

	// Whether the bucket is part of the path and not of the host name, as many services other
	// than AWS need it. Default: false.
	// +optional
	ForcePathStyle bool `json:"forcePathStyle,omitempty"`

	// Name of a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and, if needed,
	// AWS_SESSION_TOKEN), in the same namespace. Default: the identity of the pod, where the platform
	// gives it one. At most 253 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	CredentialsSecret string `json:"credentialsSecret,omitempty"`

	// A Secret's key with the PEM certificates of the authority that signed the service's
	// certificate. Default: the system's authorities.
	// +optional
	CASecretRef *SecretKeyReference `json:"caSecretRef,omitempty"`
}

// ClaimDestination is a folder on a volume.
//
// +kubebuilder:validation:XValidation:rule="!has(self.path) || !self.path.matches('(^|/)[.][.](/|$)')",message=`persistentVolumeClaim.path must not have ".." in it, because backups must stay on the volume; write the path from the root of the volume`
type ClaimDestination struct {
	// Name of the PersistentVolumeClaim, in the same namespace. Required; at most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClaimName string `json:"claimName"`

	// Folder on the volume. Default: its root; at most 512 characters, without "..".
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`
}

// BackupEncryption says with which key backups are encrypted.
type BackupEncryption struct {
	// The Secret's key that holds 32 random bytes in base64. Whoever loses it loses the backups. Required.
	// +required
	SecretRef SecretKeyReference `json:"secretRef"`
}

// BackupVerification says when the newest backup is restored to a throw-away pod and checked.
type BackupVerification struct {
	// When backups are verified: a cron expression of five fields or a macro, in
	// backup.timeZone. Required; at most 128 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule"`
}

// BackupHistory says how many finished backup Jobs are kept.
type BackupHistory struct {
	// Successful Jobs that are kept. Default: 3; 0 to 100.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Successful *int32 `json:"successful,omitempty"`

	// Failed Jobs that are kept. Default: 1; 0 to 100.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Failed *int32 `json:"failed,omitempty"`
}

// RestoreSpec says how a Database is first filled: from exactly one of backupName and source,
// up to at most one of the targets.
//
// +kubebuilder:validation:XValidation:rule="(has(self.backupName) && size(self.backupName) > 0) != has(self.source)",message="spec.restore must have exactly one of backupName and source, because a Database is filled from one place; name a DatabaseBackup of this namespace, or a store and a database in it"
// +kubebuilder:validation:XValidation:rule="[has(self.pointInTime), has(self.lsn), has(self.transactionID), has(self.restorePoint)].filter(x, x).size() <= 1",message="spec.restore must have at most one of pointInTime, lsn, transactionID and restorePoint, because replay stops at one point; keep one, or none for the end of the archive"
type RestoreSpec struct {
	// Name of a DatabaseBackup in the same namespace. At most 253 characters. Exactly one of backupName
	// and source is set.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	BackupName string `json:"backupName,omitempty"`

	// The store and the database to restore from, for another namespace or cluster, or for a
	// point in time. Exactly one of backupName and source is set.
	// +optional
	Source *RestoreSource `json:"source,omitempty"`

	// Restore up to this time, in RFC 3339 ("2026-05-04T03:02:01Z"). Default: the end of the
	// archive. A time outside the recoverable range is refused, with the range.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$`
	PointInTime *metav1.Time `json:"pointInTime,omitempty"`

	// Restore up to this position of PostgreSQL's log, as "0/3000148". Default: none; at most 17
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:Pattern=`^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$`
	LSN string `json:"lsn,omitempty"`

	// Restore up to this transaction of PostgreSQL. Default: none; digits only, at most 20.
	// +optional
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^[0-9]+$`
	TransactionID string `json:"transactionID,omitempty"`

	// Restore up to this named point (pg_create_restore_point). Default: none; at most 63
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	RestorePoint string `json:"restorePoint,omitempty"`
}

// RestoreSource names a database in a backup store.
//
// +kubebuilder:validation:XValidation:rule="self.database.matches('^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*(/[a-z0-9-]+)?$')",message="spec.restore.source.database must be <namespace>/<name>, or <namespace>/<name>/<uid>, because that is how the store is laid out; write it as the destination's folders have it"
type RestoreSource struct {
	// Path of the database in the store, as "<namespace>/<name>", or "<namespace>/<name>/<uid>"
	// when several of that name were stored. Required; at most 512 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Database string `json:"database"`

	// The store. Required.
	// +required
	Destination BackupDestination `json:"destination"`
}
