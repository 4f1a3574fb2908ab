package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

func TestASettledDatabaseIsReadyAndAsksForNothing(t *testing.T) {
	p := settled().plan()
	// All that time alone will change is the age of the agents' certificate.
	if len(p.Actions) != 0 || p.RequeueAfter != renewal {
		t.Errorf("actions %v, requeue after %s", actions(p), p.RequeueAfter)
	}
	if p.Status.Phase != dbv1.PhaseReady || p.Status.Ready != "1/1" || p.Status.Health.Status != "Healthy" {
		t.Errorf("phase %s, ready %s, health %+v", p.Status.Phase, p.Status.Ready, p.Status.Health)
	}
	want := []string{"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Service", "Service", "Service", "DatabaseInstance", "StatefulSet"}
	if diff := cmp.Diff(want, kinds(p)); diff != "" {
		t.Error(diff)
	}
}

func TestAStatusThatSaysTheSameIsTheSame(t *testing.T) {
	s := settled()
	first := s.plan().Status
	s.Database.Status = first
	s.Now = now.Add(time.Hour)
	if diff := cmp.Diff(first, s.plan().Status); diff != "" {
		t.Errorf("an hour later, with nothing changed:\n%s", diff)
	}
}

func TestNothingIsMadeBeforeTheFinalizerIsThere(t *testing.T) {
	s := settled()
	s.Database.Finalizers = nil
	p := s.plan()
	if diff := cmp.Diff([]string{"add the finalizer"}, actions(p)); diff != "" || len(p.Objects) != 0 {
		t.Errorf("%s and %v", diff, kinds(p))
	}
}

// The identity of the data goes from the agent to the status, then to the claims, then back to
// the agent; each step waits until the one before was read back.
func TestTheIdentityIsPersistedBeforeItIsReliedOn(t *testing.T) {
	s := settled()
	s.Database.Status = dbv1.DatabaseStatus{}
	delete(s.Claims["data-db-0"].Annotations, naming.AnnotationSystemID)
	delete(s.Secrets["db-accounts"].Annotations, naming.AnnotationSystemID)
	s.Instances["db-0"].Status.SystemID, s.Instances["db-0"].Spec.SystemID = "", ""

	if spec := s.instanceSpec(); !*spec.Bootstrap || spec.SystemID != nil {
		t.Fatalf("an empty volume of ours may be bootstrapped: %+v", spec)
	}
	s.Instances["db-0"].Status.SystemID = systemID
	p := s.plan()
	if id := eng.Identity(p.Status.EngineStatus); id != systemID {
		t.Fatalf("the reported identity is not recorded: %q", id)
	}
	if spec := s.instanceSpec(); *spec.Bootstrap || spec.SystemID != nil {
		t.Fatalf("relied on before it was read back: %+v", spec)
	}
	s.Database.Status = p.Status
	p = s.plan()
	if got := actions(p); !slices.Contains(got, "annotate persistentvolumeclaims data-db-0") || !slices.Contains(got, "annotate secrets db-accounts") {
		t.Fatalf("the claim and the accounts are not annotated: %v", got)
	}
	if spec := s.instanceSpec(); spec.SystemID != nil {
		t.Fatal("the agent is told before the claim has it")
	}
	s.Claims["data-db-0"].Annotations[naming.AnnotationSystemID] = systemID
	if spec := s.instanceSpec(); spec.SystemID == nil || *spec.SystemID != systemID {
		t.Fatal("the agent is not told")
	}
}

func TestAnEmptyVolumeIsNeverBootstrappedAgain(t *testing.T) {
	s := settled()
	delete(s.Claims, "data-db-0")
	s.Instances["db-0"].Status = dbv1.DatabaseInstanceStatus{}
	if spec := s.instanceSpec(); *spec.Bootstrap {
		t.Error("a lost volume would become an empty database")
	}
}

func TestAVolumeFromBeforeIsTakenOverOnlyWhenAllFactsAgree(t *testing.T) {
	adopt := func(s scene) { s.Database.Annotations = map[string]string{naming.AnnotationAdopt: systemID} }
	for name, c := range map[string]struct {
		disturb func(scene)
		adopted bool
	}{
		"all facts agree":                   {func(scene) {}, true},
		"no system identifier":              {func(s scene) { delete(s.Claims["data-db-0"].Annotations, naming.AnnotationSystemID) }, false},
		"another major version":             {func(s scene) { s.Claims["data-db-0"].Annotations[naming.AnnotationMajorVersion] = "14" }, false},
		"the accounts are gone":             {func(s scene) { delete(s.Secrets, "db-accounts") }, false},
		"the accounts are of other data":    {func(s scene) { s.Secrets["db-accounts"].Annotations[naming.AnnotationSystemID] = "1" }, false},
		"no accounts, but a person's word":  {func(s scene) { delete(s.Secrets, "db-accounts"); adopt(s) }, true},
		"no facts, but a person's word":     {func(s scene) { s.Claims["data-db-0"].Annotations = nil; adopt(s) }, true},
		"a person's word for other data":    {func(s scene) { s.Claims["data-db-0"].Annotations[naming.AnnotationSystemID] = "1"; adopt(s) }, false},
		"another engine, and a person says": {func(s scene) { s.Claims["data-db-0"].Annotations[naming.AnnotationEngine] = "MongoDB"; adopt(s) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := settled()
			s.Database.Status = dbv1.DatabaseStatus{}
			s.Claims["data-db-0"] = claim("an earlier one", systemID)
			s.StatefulSets, s.Pods, s.Instances = nil, nil, nil
			c.disturb(s)
			p := s.plan()
			if slices.Contains(kinds(p), "StatefulSet") {
				t.Error("a pod would start before the volume is taken over")
			}
			recorded := eng.Identity(p.Status.EngineStatus)
			if c.adopted && recorded != systemID || !c.adopted && recorded != "" {
				t.Errorf("recorded %q; adopted should be %v", recorded, c.adopted)
			}
			if !c.adopted && condition(p, dbv1.ConditionProvisioned) != "False AdoptionRequired" {
				t.Errorf("Provisioned is %s", condition(p, dbv1.ConditionProvisioned))
			}
		})
	}
}

func TestASpecThatBreaksARuleChangesNothing(t *testing.T) {
	s := settled()
	s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{"port": "1"}
	p := s.plan()
	if len(p.Objects)+len(p.Actions) != 0 {
		t.Errorf("objects %v, actions %v", kinds(p), actions(p))
	}
	if got := condition(p, dbv1.ConditionValidated); got != "False InvalidSpec" || p.Status.Phase == dbv1.PhaseFailed {
		t.Errorf("Validated is %s, phase %s; what runs goes on running", got, p.Status.Phase)
	}
	s.Database.Status = dbv1.DatabaseStatus{}
	if p := s.plan(); p.Status.Phase != dbv1.PhaseFailed {
		t.Errorf("phase %s; nothing was ever provisioned", p.Status.Phase)
	}
}

// Nothing is changed, and what happens to what runs is said all the same.
func TestASpecThatBreaksARuleHidesNothing(t *testing.T) {
	breakRule := func(s scene) {
		s.Database.Spec.EngineConfig = map[string]dbv1.ConfigValue{"port": "1"}
		s.Database.Spec.Networking = &dbv1.NetworkingSpec{Port: 5433}
	}
	for name, c := range map[string]struct {
		disturb                                  func(scene)
		ready, storage, credentials, replication string
		phase                                    dbv1.DatabasePhase
	}{
		"all is well": {
			func(scene) {}, "True AsExpected", "True AsExpected", "True AsExpected", "True AsExpected", dbv1.PhaseReady,
		},
		"the primary is not ready": {
			func(s scene) { s.isNotReady("db-0", "out of memory") },
			"False InstanceNotReady", "True AsExpected", "True AsExpected", "Unknown Unknown", dbv1.PhaseDegraded,
		},
		"a volume fills up": {
			func(s scene) { s.Instances["db-0"].Status.Storage.UsedBytes = 950 << 20 },
			"True AsExpected", "False VolumeNearlyFull", "True AsExpected", "True AsExpected", dbv1.PhaseReady,
		},
		"the credentials are lost": {
			func(s scene) { delete(s.Secrets, "db-credentials") },
			"False CredentialsPending", "True AsExpected", "False CredentialsPending", "True AsExpected", dbv1.PhaseDegraded,
		},
		"a replica is not ready": {
			func(s scene) { s.isNotReady("db-1", "out of memory") },
			"False InstanceNotReady", "True AsExpected", "True AsExpected", "False ReplicaNotReady", dbv1.PhaseDegraded,
		},
		"nothing is left": {
			func(s scene) { s.StatefulSets, s.Pods = nil, nil },
			"False InvalidSpec", "False InvalidSpec", "False InvalidSpec", "False InvalidSpec", dbv1.PhaseDegraded,
		},
	} {
		s := settled(replicated(2))
		s.Database.Status = s.plan().Status
		breakRule(s)
		c.disturb(s)
		p := s.plan()
		for kind, want := range map[string]string{
			dbv1.ConditionReady: c.ready, dbv1.ConditionStorageReady: c.storage,
			dbv1.ConditionCredentialsSynced: c.credentials, dbv1.ConditionReplicationHealthy: c.replication,
		} {
			if got := condition(p, kind); got != want {
				t.Errorf("%s: %s is %s (%s), want %s", name, kind, got, message(p, kind), want)
			}
		}
		if p.Status.Phase != c.phase || condition(p, dbv1.ConditionValidated) != "False InvalidSpec" || len(p.Objects)+len(p.Actions) > 0 {
			t.Errorf("%s: phase %s, objects %v, actions %v", name, p.Status.Phase, kinds(p), actions(p))
		}
	}
}

func TestARestoreThatCannotBeDoneMakesNoEmptyDatabase(t *testing.T) {
	s := settled(func(db *dbv1.Database) { db.Spec.Restore = &dbv1.RestoreSpec{BackupName: "b"} })
	s.Database.Status = dbv1.DatabaseStatus{}
	s.Claims, s.Pods, s.Instances, s.StatefulSets = nil, nil, nil, nil
	p := s.plan()
	if len(p.Objects) != 0 || p.Status.Phase != dbv1.PhaseFailed || condition(p, dbv1.ConditionProvisioned) != "False NotSupported" {
		t.Errorf("objects %v, phase %s, Provisioned %s", kinds(p), p.Status.Phase, condition(p, dbv1.ConditionProvisioned))
	}
}

func TestSecretsAreMadeOnceAndDerivedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(scene)
		want    []string
	}{
		"the credentials are lost":          {func(s scene) { delete(s.Secrets, "db-credentials") }, []string{"publish the credentials"}},
		"somebody edited the password":      {func(s scene) { s.Secrets["db-credentials"].ManagedFields = nil }, []string{"publish the credentials"}},
		"somebody edited the master copy":   {func(s scene) { s.Secrets["db-accounts"].ManagedFields = nil }, []string{"add the password of replicas", "publish the credentials"}},
		"it is from an earlier release":     {func(s scene) { delete(s.Secrets["db-accounts"].Annotations, naming.AnnotationReplicationVersion) }, []string{"add the password of replicas"}},
		"the master copy got an annotation": {func(s scene) { s.Secrets["db-accounts"].ResourceVersion = "2" }, nil},
		"the master copy is lost":           {func(s scene) { delete(s.Secrets, "db-accounts") }, []string{"create the accounts"}},
	} {
		s := settled()
		c.disturb(s)
		if diff := cmp.Diff(c.want, actions(s.plan())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReplicasHaveAnAccountOfTheirOwn(t *testing.T) {
	s := settled()
	accounts := s.instanceSpec().Accounts
	if len(accounts) != 2 || *accounts[1].Username != "db_replication" || *accounts[1].PasswordRef.Key != engine.ReplicationPasswordKey || *accounts[1].PasswordVersion != "v1" {
		t.Fatalf("accounts %+v", accounts)
	}
	delete(s.Secrets["db-accounts"].Annotations, naming.AnnotationReplicationVersion)
	if accounts := s.instanceSpec().Accounts; len(accounts) != 1 {
		t.Errorf("an account without a password: %+v", accounts)
	}
	s.StatefulSets = nil
	if slices.Contains(kinds(s.plan()), "StatefulSet") {
		t.Error("a pod would start without the password")
	}
}

func TestAPodWhoseFilesAreBehindIsTouchedOnce(t *testing.T) {
	s := settled()
	hash := s.Instances["db-0"].Spec.ConfigHash
	s.Instances["db-0"].Status.AppliedConfigHash = "old"
	p := s.plan()
	if diff := cmp.Diff([]engine.Action{engine.Annotate{Resource: engine.Pods, Name: "db-0", UID: types.UID("pod-uid-1"), Annotations: map[string]string{naming.AnnotationConfigHash: hash}}}, p.Actions); diff != "" {
		t.Error(diff)
	}
	s.Pods["db-0"].Annotations[naming.AnnotationConfigHash] = hash
	if p := s.plan(); len(p.Actions) != 0 {
		t.Errorf("touched again: %v", actions(p))
	}
}

func TestAVolumeDoesNotShrink(t *testing.T) {
	s := settled()
	s.Database.Spec.Storage.Size = new(resource.MustParse("512Mi"))
	p := s.plan()
	if got := condition(p, dbv1.ConditionValidated); got != "False InvalidSpec" || len(p.Objects) != 0 {
		t.Errorf("Validated is %s, objects %v", got, kinds(p))
	}
}

func TestAnEngineOfALaterReleaseIsNamed(t *testing.T) {
	s := settled()
	s.Database.Spec.Engine, s.Database.Spec.Version = dbv1.MongoDB, "7.0"
	p := engine.New(s.Observation, nil)
	if len(p.Objects)+len(p.Actions) != 0 || condition(p, dbv1.ConditionProvisioned) != "False NotSupported" || p.Status.Phase != dbv1.PhasePending {
		t.Errorf("objects %v, actions %v, Provisioned %s", kinds(p), actions(p), condition(p, dbv1.ConditionProvisioned))
	}
}

func TestAPrimaryWithoutItsLabelIsNotReached(t *testing.T) {
	s := settled()
	delete(s.Pods["db-0"].Labels, naming.LabelRole)
	p := s.plan()
	if condition(p, dbv1.ConditionPrimaryAvailable) == "True AsExpected" || condition(p, dbv1.ConditionReady) == "True AsExpected" {
		t.Errorf("PrimaryAvailable is %s, Ready is %s", condition(p, dbv1.ConditionPrimaryAvailable), condition(p, dbv1.ConditionReady))
	}
}

func TestAClaimThatSomebodyEditedIsMarkedAgain(t *testing.T) {
	for name, edit := range map[string]func(*corev1.PersistentVolumeClaim){
		"without annotations": func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil },
		"without labels":      func(c *corev1.PersistentVolumeClaim) { c.Labels = nil },
	} {
		s := settled()
		edit(s.Claims["data-db-0"])
		p := s.plan()
		if diff := cmp.Diff([]string{"annotate persistentvolumeclaims data-db-0"}, actions(p)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got := condition(p, dbv1.ConditionProvisioned); got != "True AsExpected" {
			t.Errorf("%s: Provisioned is %s", name, got)
		}
	}
}

// A version that was mistyped at first must not stay on the volume as a fact.
func TestTheFactsOfAClaimFollowWhatRuns(t *testing.T) {
	s := settled()
	s.Claims["data-db-0"].Annotations[naming.AnnotationMajorVersion] = "99"
	if diff := cmp.Diff([]string{"annotate persistentvolumeclaims data-db-0"}, actions(s.plan())); diff != "" {
		t.Error(diff)
	}
	s.Database.Status.CurrentVersion = ""
	if got := actions(s.plan()); len(got) != 0 {
		t.Errorf("%v: nothing of this version was ever seen to run", got)
	}
}

func TestProductionIsNotReadyWithoutWhatThisReleaseCannotDo(t *testing.T) {
	complete := func(db *dbv1.Database) {
		synchronous(3, 1)(db)
		db.Spec.Profile, db.Spec.Backup = dbv1.ProfileProd, &dbv1.BackupSpec{Enabled: true, Method: dbv1.BackupSnapshot, Schedule: "0 2 * * *"}
		db.Spec.Storage.Snapshots = true
		db.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi")}}
	}
	for name, c := range map[string]struct {
		change func(*dbv1.Database)
		says   []string
	}{
		"a backup, which is not taken": {func(*dbv1.Database) {}, []string{"not supported yet: backups"}},
		"no backup":                    {func(db *dbv1.Database) { db.Spec.Backup = nil }, []string{"spec.backup.enabled is false"}},
		"TLS, and nothing is encrypted": {func(db *dbv1.Database) {
			db.Spec.Networking = &dbv1.NetworkingSpec{TLS: &dbv1.TLSSpec{Enabled: true, CertManager: true}}
		}, []string{"not supported yet: backups", "not supported yet: networking.tls"}},
		"one instance, and the rest as is": {func(db *dbv1.Database) { replicated(1)(db); db.Spec.HighAvailability = nil }, []string{"not supported yet: backups", "spec.topology.replicas is 1"}},
	} {
		p := settled(complete, c.change).plan()
		got := message(p, dbv1.ConditionProductionReady)
		if condition(p, dbv1.ConditionProductionReady) != "False MissingForProduction" {
			t.Errorf("%s: ProductionReady is %s: %s", name, condition(p, dbv1.ConditionProductionReady), got)
		}
		for _, want := range c.says {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in: %s", name, want, got)
			}
		}
	}
}
