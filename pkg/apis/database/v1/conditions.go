package v1

// The types of a Database's conditions. True is always the good state; a False or Unknown
// condition's message says what is wrong and what to do.
const (
	// ConditionReady: clients can read and write; where there are to be replicas, at least one serves, too.
	ConditionReady = "Ready"
	// ConditionProvisioned: every object that the Database needs exists and is its own.
	ConditionProvisioned = "Provisioned"
	// ConditionStorageReady: volumes are bound, have the wanted size and are not filling up.
	ConditionStorageReady = "StorageReady"
	// ConditionBackupConfigured: backups are scheduled and their destination accepts them.
	ConditionBackupConfigured = "BackupConfigured"
	// ConditionValidated: the spec breaks no rule.
	ConditionValidated = "Validated"
	// ConditionPrimaryAvailable: an instance accepts writes.
	ConditionPrimaryAvailable = "PrimaryAvailable"
	// ConditionReplicationHealthy: every replica streams and is close.
	ConditionReplicationHealthy = "ReplicationHealthy"
	// ConditionCredentialsSynced: the published credentials log in.
	ConditionCredentialsSynced = "CredentialsSynced"
	// ConditionConsulSynced: Consul has the published credentials.
	ConditionConsulSynced = "ConsulSynced"
	// ConditionTLSReady: the server certificate is there and valid.
	ConditionTLSReady = "TLSReady"
	// ConditionContinuousArchiving: the engine's log is being stored.
	ConditionContinuousArchiving = "ContinuousArchiving"
	// ConditionUpToDate: every instance runs the configuration, resources and version of the spec.
	ConditionUpToDate = "UpToDate"
	// ConditionMetricsReady: metrics of the engine are served as the spec asks.
	ConditionMetricsReady = "MetricsReady"
	// ConditionRotationReady: the password is changed as the spec asks.
	ConditionRotationReady = "RotationReady"
	// ConditionMaintenanceReady: versions are kept up to date as the spec asks.
	ConditionMaintenanceReady = "MaintenanceReady"
	// ConditionRestored: the Database was filled from the backup that the spec names.
	ConditionRestored = "Restored"
	// ConditionProductionReady: with profile prod, nothing is missing that production should have.
	ConditionProductionReady = "ProductionReady"
)

// The types of a DatabaseInstance's conditions.
const (
	// ConditionConfigApplied: the engine runs with the configuration of spec.configHash.
	ConditionConfigApplied = "ConfigApplied"
)

// The reasons of conditions.
const (
	// ReasonAsExpected: all is as it should be.
	ReasonAsExpected = "AsExpected"
	// ReasonNotRequested: the spec does not ask for the feature.
	ReasonNotRequested = "NotRequested"
	// ReasonNotSupported: this release cannot do what the spec asks for.
	ReasonNotSupported = "NotSupported"
	// ReasonInvalidSpec: the spec breaks a rule; the message lists every violation.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonProvisioning: the first instances are being made.
	ReasonProvisioning = "Provisioning"
	// ReasonResourceConflict: an object of a name that is needed belongs to somebody else.
	ReasonResourceConflict = "ResourceConflict"
	// ReasonInvalidCredentials: the Secret with the credentials, which somebody made beforehand, breaks
	// a rule; the message names its key.
	ReasonInvalidCredentials = "InvalidCredentials"
	// ReasonAdoptionRequired: a volume holds data that is not known to be this Database's.
	ReasonAdoptionRequired = "AdoptionRequired"
	// ReasonForbidden: the operator lacks a permission; the message names it.
	ReasonForbidden = "Forbidden"
	// ReasonApplyFailed: the API server refused an object; the message has its words.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonVolumePending: a volume is not bound yet.
	ReasonVolumePending = "VolumePending"
	// ReasonVolumeFilling: a volume is filling up.
	ReasonVolumeFilling = "VolumeFilling"
	// ReasonVolumeNearlyFull: a volume is nearly full; when it is, the database stops.
	ReasonVolumeNearlyFull = "VolumeNearlyFull"
	// ReasonResizing: volumes are growing.
	ReasonResizing = "Resizing"
	// ReasonResizeFailed: a volume cannot be made larger; the message says why.
	ReasonResizeFailed = "ResizeFailed"
	// ReasonInstanceNotReady: an instance does not answer, or its role is not settled.
	ReasonInstanceNotReady = "InstanceNotReady"
	// ReasonAgentUnauthorized: the API server does not accept the token of an instance's agent any more,
	// so nobody knows how the instance is.
	ReasonAgentUnauthorized = "AgentUnauthorized"
	// ReasonFailingOver: nobody is the primary, or another is about to be.
	ReasonFailingOver = "FailingOver"
	// ReasonLeaseNotRenewed: the primary does not renew its Lease, and may or may not take writes.
	ReasonLeaseNotRenewed = "LeaseNotRenewed"
	// ReasonReplicaNotReady: a replica could not take over.
	ReasonReplicaNotReady = "ReplicaNotReady"
	// ReasonCertificateOverdue: the certificate by which instances know each other is not renewed in time.
	ReasonCertificateOverdue = "CertificateOverdue"
	// ReasonScaling: an instance is being removed.
	ReasonScaling = "Scaling"
	// ReasonWritesWait: fewer replicas stream than each write must reach, or than must have everything
	// before a primary lets clients in.
	ReasonWritesWait = "WritesWait"
	// ReasonInstanceFailed: the engine of an instance does not start.
	ReasonInstanceFailed = "InstanceFailed"
	// ReasonPodPending: a pod is not scheduled or its containers do not start.
	ReasonPodPending = "PodPending"
	// ReasonCredentialsPending: an account is not yet applied or not yet verified.
	ReasonCredentialsPending = "CredentialsPending"
	// ReasonConfigRefused: the engine refuses a setting; the last good configuration keeps running.
	ReasonConfigRefused = "ConfigRefused"
	// ReasonConfigPending: an instance has not yet read the configuration.
	ReasonConfigPending = "ConfigPending"
	// ReasonRestartPending: a change waits for a restart.
	ReasonRestartPending = "RestartPending"
	// ReasonRestarting: an instance is being restarted.
	ReasonRestarting = "Restarting"
	// ReasonPaused: spec.lifecycle.paused is true.
	ReasonPaused = "Paused"
	// ReasonDeleting: the Database is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonNamespaceTerminating: the namespace is being deleted; nothing can be created in it.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonMissingForProduction: something is missing that production should have.
	ReasonMissingForProduction = "MissingForProduction"
	// ReasonUnknown: nothing was reported.
	ReasonUnknown = "Unknown"
)
