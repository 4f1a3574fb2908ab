// Package naming spells every name, label, annotation, port and path that more than one part of
// the operator must agree on, once.
package naming

import (
	"strconv"
	"strings"
)

// Group is the API group, and the prefix of our labels, annotations and finalizers.
const Group = "db.platform.io"

// Labels.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// LabelDatabase has the name of the Database on every object that belongs to it.
	LabelDatabase = Group + "/database"
	// LabelGroup has the name of the StatefulSet on its pods and claims.
	LabelGroup = Group + "/group"
	// LabelRole is set by the agent on its pod: primary, replica or none. Services select on it.
	LabelRole = Group + "/role"
)

// ManagedBy is the value of LabelManagedBy: informers select on it.
const ManagedBy = "database-operator"

// Field managers of server-side apply. Each writer has one.
const (
	FieldManager       = "database-operator"
	StatusFieldManager = "database-operator-status"
	AgentFieldManager  = "database-agent"
	// AnnotationFieldManager sets single annotations of objects that are made by others (claims
	// by StatefulSets) or in another way (Secrets): one apply would take back what the other set.
	AnnotationFieldManager = "database-operator-annotations"
)

// Finalizer keeps a Database until its deletion policy was carried out.
const Finalizer = Group + "/cleanup"

// Annotations.
const (
	// AnnotationDatabaseUID has the UID of the Database that an object was made for: the only tie of
	// those without owner reference (claims, credentials), and what tells that another lost its own.
	AnnotationDatabaseUID = Group + "/database-uid"
	// AnnotationEngine, AnnotationMajorVersion and AnnotationSystemID on a claim are the facts that outlive
	// a Database: a new one of the same name takes the volume over only when they agree.
	AnnotationEngine       = Group + "/engine"
	AnnotationMajorVersion = Group + "/major-version"
	AnnotationSystemID     = Group + "/system-id"
	// AnnotationUnused on a claim has the UID of the Database that it was made for, when that one was
	// deleted before it let anybody in.
	AnnotationUnused = Group + "/unused"
	// AnnotationSize on a claim is the size that the spec asked for when it last grew; it may have grown
	// further by itself. AnnotationGrownFrom is the capacity of its file system before that.
	AnnotationSize      = Group + "/size"
	AnnotationGrownFrom = Group + "/grown-from"
	// AnnotationAdopt on a Database is a person's word that the volume of this system
	// identifier is its own.
	AnnotationAdopt = Group + "/adopt"
	// AnnotationTemplateHash on a pod tells from which template it was made, and
	// AnnotationSpecHash from which fields of the Database's spec. A pod whose template differs while
	// the fields agree is behind a new operator release alone: that is no reason to restart it.
	AnnotationTemplateHash = Group + "/template-hash"
	AnnotationSpecHash     = Group + "/spec-hash"
	// AnnotationConfigHash on a pod has the hash of the configuration; changing it makes the
	// kubelet refresh the mounted files at once.
	AnnotationConfigHash = Group + "/config-hash"
	// AnnotationSource on a Secret identifies what its content was derived from.
	AnnotationSource = Group + "/source"
	// AnnotationRenewAfter on a Secret is when its certificate is to be made anew.
	AnnotationRenewAfter = Group + "/renew-after"
	// AnnotationUsername and AnnotationDatabaseName on the master copy of the accounts have the name of the
	// application's account and of the database that was made with it.
	AnnotationUsername     = Group + "/username"
	AnnotationDatabaseName = Group + "/database-name"
	// AnnotationRecord on the Lease of the primary is what its holder recorded (package record).
	AnnotationRecord = Group + "/record"
	// AnnotationRequest on a Database asks for a switchover or a failover, once for each id.
	AnnotationRequest = Group + "/request"
	// AnnotationFenced on a Database names the instances whose engines a person stopped, with
	// commas between them.
	AnnotationFenced = Group + "/fenced"
	// AnnotationPasswordVersion on the master copy of the accounts tells a password of the application's account
	// that was put back from the one before, without telling it.
	AnnotationPasswordVersion = Group + "/password-version"
	// AnnotationReplicationVersion on the master copy of the accounts tells one password of
	// ReplicationUser from another, without telling it.
	AnnotationReplicationVersion = Group + "/replication-version"
	// AnnotationSkipFinalBackup lets a deletion with policy Snapshot go on without its backup.
	AnnotationSkipFinalBackup = Group + "/skip-final-backup"
)

// Container names.
const (
	ContainerInstall  = "install-agent"
	ContainerDatabase = "database"
)

// Paths in the pods.
const (
	// PathAgentInImage is the agent in the operator's image.
	PathAgentInImage = "/usr/local/bin/database-agent"
	// PathAgent has the agent's binary, copied there by the init container.
	PathAgent = "/agent"
	// PathVolume is the mount of the data volume. Data lies in folders below it.
	PathVolume = "/var/lib/database"
	// PathConfig has the files of the ConfigMap <db>-config.
	PathConfig = "/etc/database/config"
	// PathRun is for sockets; an emptyDir.
	PathRun = "/run/database"
	// PathAgentTLS has the certificate by which agents know each other: tls.crt, tls.key, ca.crt.
	PathAgentTLS = "/etc/database/agent-tls"
	// PathReplication has the password of ReplicationUser, in the file KeyReplication.
	PathReplication = "/etc/database/replication"
	KeyReplication  = "password"
)

// ReplicationUser is the account that PostgreSQL's replicas follow, clone and rewind with.
const ReplicationUser = "db_replication"

// Ports of the agent.
const (
	// PortAgent serves probes and the agent's own metrics, over HTTP.
	PortAgent = 8008
	// PortPeers is for requests between the agents of one Database, over mutual TLS.
	PortPeers = 8009
)

// Port names.
const (
	PortNameDatabase = "database"
	PortNameAgent    = "agent"
	PortNamePeers    = "peers"
)

// Names of objects of one Database, from its name.

// Instance is the name of the n-th instance of a group, of its pod and its DatabaseInstance.
func Instance(group string, ordinal int32) string {
	return group + "-" + strconv.Itoa(int(ordinal))
}

// Claim is the name of the claim of an instance: StatefulSet makes it from the template's name.
func Claim(instance string) string { return ClaimTemplate + "-" + instance }

// ClaimTemplate is the name of the volume claim template, and of the pod's volume.
const ClaimTemplate = "data"

// Service is the Service of the primary, for reading and writing.
func Service(database string) string { return database }

// ReadOnlyService is the Service of the replicas.
func ReadOnlyService(database string) string { return database + "-ro" }

// HeadlessService gives every instance its DNS name.
func HeadlessService(database string) string { return database + "-headless" }

// Config is the ConfigMap with the engine's configuration files.
func Config(database string) string { return database + "-config" }

// Agent is the ServiceAccount, Role and RoleBinding of the Database's agents.
func Agent(database string) string { return database + "-agent" }

// Credentials is the Secret for applications, in the form of servicebinding.io.
func Credentials(database string) string { return database + "-credentials" }

// CredentialsNew and CredentialsOld are the Secrets of a rotation under way.
func CredentialsNew(database string) string { return database + "-credentials-new" }

// CredentialsOld is the Secret with the previous login while it is still valid.
func CredentialsOld(database string) string { return database + "-credentials-old" }

// Accounts is the Secret with the master copy of every account's password.
func Accounts(database string) string { return database + "-accounts" }

// CA is the Secret with the key and the certificate that sign the certificates of the agents.
func CA(database string) string { return database + "-ca" }

// AgentTLS is the Secret with the certificates of the agents.
func AgentTLS(database string) string { return database + "-agent-tls" }

// Lease is the Lease of the primary.
func Lease(database string) string { return database + "-primary" }

// Disruption is the PodDisruptionBudget of a role.
func Disruption(database, role string) string { return database + "-" + role }

// Host is the DNS name of a Service.
func Host(service, namespace string) string { return service + "." + namespace + ".svc" }

// InstanceHost is the stable DNS name of an instance.
func InstanceHost(instance, database, namespace string) string {
	return instance + "." + Host(HeadlessService(database), namespace)
}

// SelectorLabels are the labels by which every object of a Database is found.
func SelectorLabels(database string) map[string]string {
	return map[string]string{LabelManagedBy: ManagedBy, LabelDatabase: database}
}

// EngineLabel is the value of LabelName for an engine.
func EngineLabel(engine string) string { return strings.ToLower(engine) }
