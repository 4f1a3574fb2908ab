package engine

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/apis/database/v1/validation"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// New plans for one Database. The order of the guards is the order of what matters most: a
// Database that is being deleted is not validated, one that breaks a rule is not changed, one
// that is paused neither.
func New(o *Observation, eng Engine) *Plan {
	p := &planner{Observation: o, engine: eng, status: o.Database.Status.DeepCopy()}
	p.status.ObservedGeneration = o.Database.Generation
	switch {
	case o.Database.DeletionTimestamp != nil:
		p.planDeletion()
	case eng == nil:
		p.reportUnsupportedEngine(p.violations())
	default:
		p.planRunning()
	}
	cutTexts(p.status)
	p.plan.Status = *p.status
	return &p.plan
}

// planner holds what one planning gathers. It lives for one call of New.
type planner struct {
	*Observation
	engine Engine
	shape  resources.Shape
	// existing are the instances, with those that are to go.
	existing []string
	identity identity
	election election
	// silent is true when the holder of the Lease does not renew it.
	silent bool
	// primary is the instance that takes writes, "" when none is known to.
	primary  string
	restarts []restart

	status *dbv1.DatabaseStatus
	plan   Plan
}

// planRunning plans for a Database that is to run.
func (p *planner) planRunning() {
	p.look()
	if p.runs() {
		// Failover goes on whatever holds the rest up, and needs them.
		p.planCertificates()
	}
	if violations := p.violations(); len(violations) > 0 {
		p.reportInvalid(violations)
		return
	}
	p.restarts = p.judgeRestarts()
	if !p.Database.Spec.Lifecycle.Paused {
		p.planChanges()
	}
	p.reportRunning()
}

// look gathers what everything else judges by.
func (p *planner) look() {
	p.shape = p.engine.Shape(p.Database)
	p.existing = p.existingShape().InstanceNames()
	p.shape.VolumeSize = p.volumeSize()
	p.identity = judgeIdentity(p.Observation, p.engine, p.shape)
	p.election = readElection(p.Observation)
	p.primary = p.judgePrimary()
}

// planChanges adds what is to be written. Everything that a finalizer must undo comes after it.
func (p *planner) planChanges() {
	if !slices.Contains(p.Database.Finalizers, naming.Finalizer) {
		p.do(AddFinalizer{})
		return
	}
	if p.identity.record != "" {
		// Persisted first, relied on in a later sync that has read it back.
		p.status.EngineStatus = p.engine.Record(p.identity.record)
	}
	if p.identity.foreign != "" || p.blocked() {
		return
	}
	if !p.runs() {
		p.planCertificates()
	}
	p.planStorage()
	p.planOperation()
	p.planCredentials()
	p.planElection()
	p.planObjects()
	p.do(p.identity.annotate...)
	p.planPodLabels()
	p.planConfigRefresh()
	p.planRestart()
	p.planLeft()
}

// planObjects adds the objects that must exist. The StatefulSets come last: a pod then finds all
// that it needs, and none starts on a volume before the Database's claim to it is settled.
func (p *planner) planObjects() {
	db := p.Database
	p.plan.Objects = append(p.plan.Objects,
		resources.ServiceAccount(db), resources.Role(db, p.existingShape()), resources.RoleBinding(db),
		resources.ConfigMap(db, p.shape),
		resources.HeadlessService(db, p.shape), resources.PrimaryService(db, p.shape), resources.ReadOnlyService(db, p.shape),
	)
	for _, budget := range resources.DisruptionBudgets(db, p.shape) {
		p.plan.Objects = append(p.plan.Objects, budget)
	}
	if p.passwordVersion() == "" {
		// The accounts are made in this sync; its watch event brings the next.
		return
	}
	for _, group := range p.existingShape().Groups {
		for ordinal := range group.Replicas {
			p.plan.Objects = append(p.plan.Objects, p.instance(group, ordinal))
		}
	}
	if !p.mayStart() {
		return
	}
	for _, group := range p.shape.Groups {
		if p.isTerminating(group) {
			continue
		}
		group.Replicas = p.sizeOf(group)
		p.plan.Objects = append(p.plan.Objects,
			resources.StatefulSet(db, p.shape, group, p.AgentImage, p.StatefulSets[group.Name]))
	}
}

// mayStart is false while a volume that was there before is being taken over, or what the first
// pods need is being made.
func (p *planner) mayStart() bool {
	return len(p.StatefulSets) > 0 && p.identity.recorded != "" || p.identity.onClaims && p.hasSecrets()
}

// planCredentials keeps the master copy of the passwords, and derives the published Secret from
// it. A lost or edited Secret gets the same content again.
func (p *planner) planCredentials() {
	accounts := p.masterCopy()
	if accounts == nil {
		p.do(CreateAccounts{Username: dbv1.Username(p.Database), Database: p.askedDatabase()})
		return
	}
	if p.shape.Elects && (p.replicationVersion() == "" || !OwnsKeys(accounts, ReplicationPasswordKey)) {
		p.do(AddReplicationPassword{})
	}
	source := p.credentialsSource()
	published := p.Secrets[naming.Credentials(p.Database.Name)]
	keys := bindingKeys(p.engine, p.Database)
	if published == nil || published.Annotations[naming.AnnotationSource] != source ||
		published.Annotations[naming.AnnotationDatabaseUID] != string(p.Database.UID) || !OwnsKeys(published, keys...) {
		p.do(PublishCredentials{Source: source, Database: p.databaseName()})
	}
}

// credentialsSource identifies all that the published credentials are derived from, without
// telling any of it.
func (p *planner) credentialsSource() string {
	return resources.Hash([]any{p.passwordVersion(), p.engine.Binding(p.Database, Login{Database: p.databaseName()})})
}

// passwordVersion identifies the application's password in the master copy, "" while there is none.
func (p *planner) passwordVersion() string {
	accounts := p.masterCopy()
	if accounts == nil {
		return ""
	}
	version := contentVersion(accounts, AccountsUsernameKey, AccountsPasswordKey)
	if mended := accounts.Annotations[naming.AnnotationPasswordVersion]; mended != "" {
		version = resources.Hash([]string{version, mended})
	}
	return version
}

// replicationVersion identifies the password of replicas in the master copy, "" while there is none.
func (p *planner) replicationVersion() string {
	if accounts := p.Secrets[naming.Accounts(p.Database.Name)]; accounts != nil {
		return accounts.Annotations[naming.AnnotationReplicationVersion]
	}
	return ""
}

// masterCopy is the one of the passwords, nil when there is none that says whose they are.
func (p *planner) masterCopy() *metav1.PartialObjectMetadata {
	accounts := p.Secrets[naming.Accounts(p.Database.Name)]
	if accounts == nil || accounts.Annotations[naming.AnnotationUsername] == "" || accounts.Annotations[naming.AnnotationDatabaseName] == "" {
		return nil
	}
	return accounts
}

// username is the application's: the one in the master copy, which may be the user's own choice.
func (p *planner) username() string {
	if accounts := p.masterCopy(); accounts != nil {
		return accounts.Annotations[naming.AnnotationUsername]
	}
	return dbv1.Username(p.Database)
}

// databaseName is the database that was made with that account, whatever the spec says by now: clients must not
// be sent to another, empty one. It is "" while there is no account.
func (p *planner) databaseName() string {
	if accounts := p.masterCopy(); accounts != nil {
		return accounts.Annotations[naming.AnnotationDatabaseName]
	}
	return ""
}

// askedDatabase is the one that the spec names, "" for the account's name.
func (p *planner) askedDatabase() string {
	if auth := p.Database.Spec.Auth; auth != nil {
		return auth.Database
	}
	return ""
}

func bindingKeys(eng Engine, db *dbv1.Database) []string {
	var keys []string
	for key := range eng.Binding(db, Login{}) {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// blocked is true when the spec asks for something without which nothing sensible can run.
func (p *planner) blocked() bool {
	return slices.ContainsFunc(p.engine.Gaps(p.Database), func(g Gap) bool { return g.Blocking })
}

// violations are all rules that the spec breaks.
func (p *planner) violations() field.ErrorList {
	context := validation.Context{CurrentVersion: p.Database.Status.CurrentVersion}
	if p.engine != nil {
		context.Engine = p.engine
	}
	context.CurrentStorageSize = p.requestedSize()
	if accounts := p.masterCopy(); accounts != nil {
		context.Username, context.DatabaseName = p.username(), p.databaseName()
	}
	return validation.ValidateDatabase(p.Database, context)
}

func (p *planner) do(actions ...Action) {
	p.plan.Actions = append(p.plan.Actions, actions...)
}

// sentence joins the violations of a spec into one message.
func sentence(violations field.ErrorList) string {
	texts := make([]string, len(violations))
	for i, v := range violations {
		texts[i] = v.Error()
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
}
