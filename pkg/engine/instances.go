package engine

import (
	corev1 "k8s.io/api/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// What accounts are for.
const (
	// roleApplication is the account that users get.
	roleApplication = "application"
	// roleReplication is the account that replicas have with their source.
	roleReplication = "replication"
)

// instance is what one instance must be: the whole of what its agent is told.
func (p *planner) instance(group resources.Group, ordinal int32) *dbv1ac.DatabaseInstanceApplyConfiguration {
	name := naming.Instance(group.Name, ordinal)
	spec := dbv1ac.DatabaseInstanceSpec().
		WithDatabaseName(p.Database.Name).
		WithEngine(p.Database.Spec.Engine).
		WithOrdinal(ordinal).
		WithMembers(p.members(group)...).
		WithConfigHash(confighash.ConfigHash(p.shape.Config)).
		// False is said, too: nobody else may say true.
		WithBootstrap(p.mayBootstrap(name, ordinal)).
		WithAccounts(p.accounts()...)
	if len(p.shape.Groups) > 1 {
		spec.WithGroup(group.Name)
	}
	if p.mayKnowIdentity(name) {
		spec.WithSystemID(p.identity.recorded)
	}
	if p.shape.Elects {
		spec.WithReplication(p.replication())
	}
	if p.isFenced(name) {
		spec.WithFenced(true)
	}
	if op := p.operation(name); op != nil {
		ask := dbv1ac.InstanceOperation().WithID(op.ID).WithKind(op.Kind)
		if op.Target != "" {
			ask.WithTarget(op.Target)
		}
		spec.WithOperation(ask)
	}
	return resources.Instance(p.Database, name, spec)
}

// mayKnowIdentity is true once the identity is recorded, in the status and on the instance's own
// claim. It is not taken back when somebody edits the claim: the instance would stop serving.
func (p *planner) mayKnowIdentity(instance string) bool {
	recorded := p.identity.recorded
	if recorded == "" {
		return false
	}
	dbi := p.Instances[instance]
	return !p.identity.unmarked[instance] || dbi != nil && dbi.Spec.SystemID == recorded
}

// mayBootstrap is true while no identity is known and the volume was made for this Database: only
// then may an empty volume become a new database.
func (p *planner) mayBootstrap(instance string, ordinal int32) bool {
	if ordinal != 0 || p.identity.recorded != "" || p.identity.record != "" || p.identity.foreign != "" {
		return false
	}
	state, _ := classifyClaim(p.Observation, p.identity.recorded, p.shape, instance)
	return state == claimAbsent || state == claimOurs
}

func (p *planner) members(group resources.Group) []*dbv1ac.InstanceMemberApplyConfiguration {
	var members []*dbv1ac.InstanceMemberApplyConfiguration
	for _, name := range group.Instances() {
		if !p.isMember(name) {
			continue
		}
		members = append(members, dbv1ac.InstanceMember().
			WithName(name).WithVoter(!p.isFenced(name)).
			WithHost(naming.InstanceHost(name, p.Database.Name, p.Database.Namespace)))
	}
	return members
}

// accounts are those that the engine must have. They wait for the master copy of the passwords.
func (p *planner) accounts() []*dbv1ac.InstanceAccountApplyConfiguration {
	version := p.passwordVersion()
	if version == "" {
		return nil
	}
	account := func(username, key, version, role string) *dbv1ac.InstanceAccountApplyConfiguration {
		return dbv1ac.InstanceAccount().
			WithUsername(username).
			WithPasswordRef(dbv1ac.SecretKeyReference().WithName(naming.Accounts(p.Database.Name)).WithKey(key)).
			WithPasswordVersion(version).
			WithRoles(role).
			WithState(dbv1.AccountPresent)
	}
	accounts := []*dbv1ac.InstanceAccountApplyConfiguration{
		account(p.username(), AccountsPasswordKey, version, roleApplication).WithDatabase(p.databaseName()),
	}
	if version := p.replicationVersion(); p.shape.Elects && version != "" {
		accounts = append(accounts, account(naming.ReplicationUser, ReplicationPasswordKey, version, roleReplication))
	}
	return accounts
}

// Keys of the master copy.
const (
	AccountsUsernameKey    = "application.username"
	AccountsPasswordKey    = "application.password"
	ReplicationPasswordKey = resources.ReplicationPasswordKey
)

// operation is the one to carry out now, else the restart that was last asked for: taking that away
// would only be a write.
func (p *planner) operation(instance string) *dbv1.InstanceOperation {
	if op := p.asked(instance); op != nil {
		return op
	}
	begins := p.status.Operation != nil && p.status.Operation.Phase == dbv1.OperationPending
	for _, r := range p.restarts {
		if r.instance == instance && r.kind == restartEngine && r.heldBy == "" && !begins {
			return &dbv1.InstanceOperation{ID: r.id, Kind: dbv1.OperationRestart}
		}
	}
	if dbi := p.Instances[instance]; dbi != nil && dbi.Spec.Operation != nil && dbi.Spec.Operation.Kind == dbv1.OperationRestart {
		return dbi.Spec.Operation
	}
	return nil
}

// planConfigRefresh touches pods whose files are behind: an annotation makes the kubelet refresh
// them at once, where it would take a minute by itself.
func (p *planner) planConfigRefresh() {
	hash := confighash.ConfigHash(p.shape.Config)
	for _, name := range p.shape.InstanceNames() {
		pod, dbi := p.Pods[name], p.Instances[name]
		if pod == nil || dbi == nil || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		if dbi.Spec.ConfigHash == hash && dbi.Status.AppliedConfigHash != hash && pod.Annotations[naming.AnnotationConfigHash] != hash {
			p.do(Annotate{Resource: Pods, Name: name, UID: pod.UID, Annotations: map[string]string{naming.AnnotationConfigHash: hash}})
		}
	}
}
