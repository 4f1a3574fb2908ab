package engine_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/engine/postgres"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
	"github.com/platform-io/database-operator/pkg/resources"
)

const systemID = "7301234567890123456"

// A Monday noon.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// eng is the engine of the tests.
var eng = postgres.Engine{}

// scene is an observation of a settled Database, which tests then disturb.
type scene struct{ *engine.Observation }

// replicated is a change that asks for this many instances.
func replicated(instances int32) func(*dbv1.Database) {
	return func(db *dbv1.Database) {
		db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: instances}
	}
}

func settled(change ...func(*dbv1.Database)) scene {
	db := &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns", UID: "db-uid", Generation: 3, Finalizers: []string{naming.Finalizer}},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.PostgreSQL, Version: "15.4",
			Topology: dbv1.TopologySpec{Mode: dbv1.Standalone, Replicas: 1},
			Storage:  &dbv1.StorageSpec{Size: new(resource.MustParse("1Gi"))},
		},
		Status: dbv1.DatabaseStatus{
			CurrentVersion: "15.4",
			EngineStatus:   &dbv1.EngineStatus{PostgreSQL: &dbv1.PostgreSQLStatus{SystemID: systemID}},
			Primary:        &dbv1.PrimaryStatus{Name: "db-0", Epoch: 4, Since: new(metav1.NewTime(now.Add(-time.Hour)))},
		},
	}
	for _, c := range change {
		c(db)
	}
	paused := db.Spec.Lifecycle.Paused
	db.Spec.Lifecycle.Paused = false
	s := scene{&engine.Observation{Now: now, Database: db, AgentImage: "agent:1"}}
	shape := eng.Shape(db)
	s.Secrets = map[string]*metav1.PartialObjectMetadata{
		"db-accounts": {ObjectMeta: metav1.ObjectMeta{Name: "db-accounts", UID: "accounts-uid", ResourceVersion: "1", Annotations: map[string]string{
			naming.AnnotationDatabaseUID: "db-uid", naming.AnnotationSystemID: systemID, naming.AnnotationUsername: "app", naming.AnnotationDatabaseName: "app",
			naming.AnnotationReplicationVersion: "v1",
		}, ManagedFields: ownedData(engine.AccountsUsernameKey, engine.AccountsPasswordKey, engine.ReplicationPasswordKey)}},
	}
	s.certify()
	s.Claims, s.Pods, s.Instances = map[string]*corev1.PersistentVolumeClaim{}, map[string]*corev1.Pod{}, map[string]*dbv1.DatabaseInstance{}
	for ordinal := range int(shape.Groups[0].Replicas) {
		s.addInstance(shape, ordinal)
	}
	s.told(shape.InstanceNames()...)
	s.elect("db-0", 4)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", UID: "set-uid", Generation: 1, OwnerReferences: controlledBy("db-uid")}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 1}}
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*claim("db-uid", "")}
	set.Spec.VolumeClaimTemplates[0].Name = "data"
	set.Spec.Replicas = new(shape.Groups[0].Replicas)
	set.Spec.Template.Annotations = s.Pods["db-0"].Annotations
	s.StatefulSets = map[string]*appsv1.StatefulSet{"db": set}
	for _, budget := range resources.DisruptionBudgets(db, shape) {
		if s.Budgets == nil {
			s.Budgets = map[string]*policyv1.PodDisruptionBudget{}
		}
		s.Budgets[*budget.Name] = &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: *budget.Name, UID: "budget-uid"}}
	}
	s.deriveSecrets()
	for _, dbi := range s.Instances {
		for _, account := range s.instanceSpec().Accounts {
			dbi.Status.Accounts = append(dbi.Status.Accounts, dbv1.InstanceAccountStatus{
				Username: *account.Username, PasswordVersion: *account.PasswordVersion, Applied: true, Verified: true,
			})
		}
	}
	db.Spec.Lifecycle.Paused = paused
	return s
}

// deriveSecrets makes Secrets from what the first plan asks for.
func (s scene) deriveSecrets() {
	for _, a := range s.plan().Actions {
		if c, ok := a.(engine.IssueCertificate); ok {
			s.Secrets["db-agent-tls"].Annotations[naming.AnnotationSource] = c.Source
		}
		if p, ok := a.(engine.PublishCredentials); ok {
			s.Secrets["db-credentials"] = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Name: "db-credentials", UID: "credentials-uid", ManagedFields: bindingFields(s.Database),
				Annotations: map[string]string{naming.AnnotationSource: p.Source, naming.AnnotationDatabaseUID: "db-uid"},
			}}
		}
	}
}

// addInstance adds a replica that streams from db-0, with its pod and its claim.
func (s scene) addInstance(shape resources.Shape, ordinal int) {
	name := fmt.Sprintf("db-%d", ordinal)
	uid := fmt.Sprintf("pod-uid-%d", ordinal+1)
	hashes := resources.PodHashes(s.Database, shape, shape.Groups[0], s.AgentImage)
	hash := confighash.ConfigHash(shape.Config)
	s.Claims["data-"+name] = claim("db-uid", systemID)
	s.Claims["data-"+name].Name = "data-" + name
	s.Pods[name] = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(uid), OwnerReferences: controlledBy("set-uid"),
			Labels:      map[string]string{naming.LabelManagedBy: naming.ManagedBy, naming.LabelDatabase: "db", naming.LabelGroup: "db", naming.LabelRole: "replica"},
			Annotations: map[string]string{naming.AnnotationTemplateHash: hashes.Template, naming.AnnotationSpecHash: hashes.Spec},
		},
		Spec:   corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", ordinal)},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	s.Instances[name] = &dbv1.DatabaseInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("instance-uid-" + name), Generation: 1, OwnerReferences: controlledBy("db-uid")},
		Spec:       dbv1.DatabaseInstanceSpec{DatabaseName: "db", ConfigHash: hash, SystemID: systemID},
		Status: dbv1.DatabaseInstanceStatus{
			PodUID: uid, Ready: true, Role: dbv1.RoleReplica, SystemID: systemID, Phase: dbv1.InstanceRunning, Epoch: 4, DataID: "data-id-" + name,
			Storage:           &dbv1.InstanceStorageStatus{UsedBytes: 100 << 20, CapacityBytes: 1000 << 20},
			AppliedConfigHash: hash, EngineStarts: 1, LagBytes: new(int64(0)), ObservedGeneration: 1,
			Replication: &dbv1.InstanceReplicationStatus{Source: "db-0", Streaming: true},
		},
	}
}

// elect makes an instance the primary, with a Lease that has everyone as a candidate.
func (s scene) elect(primary string, epoch int32) {
	r := record.Record{Name: s.Instances[primary].Status.DataID, W: int(dbv1.HighAvailability(s.Database).SynchronousReplicas)}
	for _, name := range slices.Sorted(maps.Keys(s.Instances)) {
		status := &s.Instances[name].Status
		r.Candidates = append(r.Candidates, record.Candidate{Name: status.DataID, Instance: name})
		status.Role, status.Epoch, status.Replication = dbv1.RoleReplica, int64(epoch), &dbv1.InstanceReplicationStatus{Source: primary, Streaming: true}
		if status.LagBytes == nil {
			status.LagBytes = new(int64(0))
		}
		if name == primary {
			status.Role, status.LagBytes, status.Replication = dbv1.RolePrimary, nil, &dbv1.InstanceReplicationStatus{}
		}
		s.Pods[name].Labels[naming.LabelRole] = string(status.Role)
	}
	s.Lease = &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "db-primary", UID: "lease-uid", Labels: naming.SelectorLabels("db")},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new(primary + "/" + string(s.Pods[primary].UID)), LeaseTransitions: &epoch},
	}
	s.setRecord(r)
}

func (s scene) setRecord(r record.Record) {
	text, err := r.Render()
	if err != nil {
		panic(err)
	}
	s.Lease.Annotations = map[string]string{naming.AnnotationRecord: text}
}

// released takes the Lease from its holder.
func (s scene) releaseLease() scene {
	s.Lease.Spec.HolderIdentity = nil
	return s
}

// stopped is an instance whose pod is gone.
func (s scene) stopped(name string) scene {
	delete(s.Pods, name)
	return s
}

func claim(databaseUID, id string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data-db-0", UID: "claim-uid", Labels: naming.SelectorLabels("db"), Annotations: map[string]string{
			naming.AnnotationDatabaseUID: databaseUID, naming.AnnotationEngine: "PostgreSQL", naming.AnnotationMajorVersion: "15",
		}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	if id != "" {
		c.Annotations[naming.AnnotationSystemID] = id
	}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	return c
}

func controlledBy(uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{UID: uid, Controller: new(true)}}
}

func bindingFields(db *dbv1.Database) []metav1.ManagedFieldsEntry {
	return ownedData(slices.Collect(maps.Keys(eng.Binding(db, engine.Login{})))...)
}

// ownedData are the managed fields of a Secret whose keys the operator wrote last.
func ownedData(keys ...string) []metav1.ManagedFieldsEntry {
	data := map[string]any{}
	for _, key := range keys {
		data["f:"+key] = map[string]any{}
	}
	text, err := json.Marshal(map[string]any{"f:data": data})
	if err != nil {
		panic(err)
	}
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(text)
	return []metav1.ManagedFieldsEntry{{Manager: naming.FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields}}
}

func (s scene) plan() *engine.Plan { return engine.New(s.Observation, eng) }

func (s scene) instanceSpec() *dbv1ac.DatabaseInstanceSpecApplyConfiguration { return s.spec("db-0") }

// spec is what an instance is told, nil when there is nothing.
func (s scene) spec(name string) *dbv1ac.DatabaseInstanceSpecApplyConfiguration {
	for _, o := range s.plan().Objects {
		if instance, ok := o.(*dbv1ac.DatabaseInstanceApplyConfiguration); ok && *instance.Name == name {
			return instance.Spec
		}
	}
	return nil
}

func actions(p *engine.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		out = append(out, a.String())
	}
	return out
}

func kinds(p *engine.Plan) []string {
	var out []string
	for _, o := range p.Objects {
		out = append(out, *o.(interface{ GetKind() *string }).GetKind())
	}
	return out
}

func condition(p *engine.Plan, kind string) string {
	c := meta.FindStatusCondition(p.Status.Conditions, kind)
	if c == nil {
		return "none"
	}
	return string(c.Status) + " " + c.Reason
}
