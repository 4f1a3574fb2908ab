//go:build integration

package controller_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/testing/simulation"
)

func TestADatabaseBecomesReady(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	db := w.waitReady("db")
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 1 {
		t.Errorf("%d databases were made on the volume, want 1", n)
	}
	if db.Status.Endpoint != "db."+w.namespace+".svc:5432" || db.Status.Ready != "1/1" || db.Status.Primary.Name != "db-0" || db.Status.CurrentVersion != "15.0" {
		t.Errorf("status %+v", db.Status)
	}
	secret := w.secret("db-credentials")
	if uri := string(secret.Data["uri"]); uri != "postgresql://app:"+string(secret.Data["password"])+"@db."+w.namespace+".svc:5432/app?connect_timeout=5&tcp_user_timeout=10000" {
		t.Errorf("uri %s", uri)
	}
}

// A settled Database causes no write at all: neither by the operator nor by what it set off.
func TestASettledDatabaseCausesNoWrite(t *testing.T) {
	w := newWorld(t)
	op, _ := w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	// Everything in flight has landed when two looks a while apart agree; from then on nothing may.
	before := w.versions()
	w.eventually("the last reports have landed", func() (bool, string) {
		time.Sleep(time.Second)
		now := w.versions()
		settled := maps.Equal(before, now)
		before = now
		return settled, "still moving"
	})
	writes := op.writes.Load()
	time.Sleep(time.Minute)
	if diff := cmp.Diff(before, w.versions()); diff != "" {
		t.Errorf("objects were written:\n%s", diff)
	}
	if n := op.writes.Load() - writes; n != 0 {
		t.Errorf("%d write requests", n)
	}
}

// What someone edits or deletes comes back.
func TestChildrenArePutBack(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	ctx, core := t.Context(), w.kube.CoreV1()
	password := string(w.secret("db-credentials").Data["password"])

	patch := []byte(`{"spec":{"selector":{"db.platform.io/role":"nobody"}}}`)
	if _, err := core.Services(w.namespace).Patch(ctx, "db", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the Service's selector is put back", func() (bool, string) {
		s, err := core.Services(w.namespace).Get(ctx, "db", metav1.GetOptions{})
		return err == nil && s.Spec.Selector[naming.LabelRole] == "primary", errorText(err)
	})
	if err := core.ConfigMaps(w.namespace).Delete(ctx, "db-config", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the ConfigMap is put back", func() (bool, string) {
		m, err := core.ConfigMaps(w.namespace).Get(ctx, "db-config", metav1.GetOptions{})
		return err == nil && m.Data["postgresql.conf"] != "", errorText(err)
	})
	for _, lose := range []func() error{
		func() error { return core.Secrets(w.namespace).Delete(ctx, "db-credentials", metav1.DeleteOptions{}) },
		func() error {
			_, err := core.Secrets(w.namespace).Patch(ctx, "db-credentials", types.MergePatchType, []byte(`{"stringData":{"password":"wrong"}}`), metav1.PatchOptions{})
			return err
		},
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		w.eventually("the credentials are put back with the same content", func() (bool, string) {
			s, err := core.Secrets(w.namespace).Get(ctx, "db-credentials", metav1.GetOptions{})
			return err == nil && string(s.Data["password"]) == password, errorText(err)
		})
	}
	strip := []byte(`{"metadata":{"labels":null,"annotations":null}}`)
	if _, err := core.PersistentVolumeClaims(w.namespace).Patch(ctx, "data-db-0", types.MergePatchType, strip, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the claim's facts and labels are put back", func() (bool, string) {
		c, err := core.PersistentVolumeClaims(w.namespace).Get(ctx, "data-db-0", metav1.GetOptions{})
		return err == nil && c.Labels[naming.LabelDatabase] == "db" && c.Annotations[naming.AnnotationSystemID] != "", errorText(err)
	})
	if err := w.kube.AppsV1().StatefulSets(w.namespace).Delete(ctx, "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the StatefulSet is put back", func() (bool, string) {
		s, err := w.kube.AppsV1().StatefulSets(w.namespace).Get(ctx, "db", metav1.GetOptions{})
		return err == nil && s.DeletionTimestamp == nil, errorText(err)
	})
	w.waitReady("db")
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 1 {
		t.Errorf("%d databases were made on the volume, want 1", n)
	}
}

func TestBothSecretsLostGetANewPasswordThatLogsIn(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	old := string(w.secret("db-credentials").Data["password"])
	for _, name := range []string{"db-credentials", "db-accounts"} {
		if err := w.kube.CoreV1().Secrets(w.namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	claim, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data-db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the published password logs in", func() (bool, string) {
		s, err := w.kube.CoreV1().Secrets(w.namespace).Get(t.Context(), "db-credentials", metav1.GetOptions{})
		return err == nil && w.sim.Login(claim.UID, "app", string(s.Data["password"])), "not yet"
	})
	// One of the two may have been derived again before the other was lost: then nothing changed.
	t.Logf("password changed: %v", old != string(w.secret("db-credentials").Data["password"]))
	w.waitReady("db")
}

func TestAForeignObjectIsLeftAloneAndNamed(t *testing.T) {
	w := newWorld(t)
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: w.namespace},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "other"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	before, err := w.kube.CoreV1().Services(w.namespace).Create(t.Context(), foreign, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.start(unlimited)
	w.create(w.basic("db"))
	db := w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonResourceConflict)
	if text := describe(db); !strings.Contains(text, "services db belongs to somebody else") || db.Status.Phase != dbv1.PhaseFailed {
		t.Errorf("the condition does not name it: %s", text)
	}
	after, err := w.kube.CoreV1().Services(w.namespace).Get(t.Context(), "db", metav1.GetOptions{})
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the foreign Service was touched: %v", err)
	}
	if pods, err := w.kube.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(pods.Items) != 0 {
		t.Errorf("%d pods were made, %v", len(pods.Items), err)
	}
}

func TestAForeignSecretIsLeftAloneAndNamed(t *testing.T) {
	w := newWorld(t)
	before, err := w.kube.CoreV1().Secrets(w.namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: w.namespace}, StringData: map[string]string{"host": "mine"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonResourceConflict)
	if after := w.secret("db-credentials"); after.ResourceVersion != before.ResourceVersion {
		t.Error("the foreign Secret was touched")
	}
}

func TestAPausedDatabaseIsNotChanged(t *testing.T) {
	w := newWorld(t)
	op, _ := w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	w.update("db", func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = true })
	w.eventually("the phase is Paused", func() (bool, string) {
		db := w.get("db")
		return db.Status.Phase == dbv1.PhasePaused && db.Status.ObservedGeneration == db.Generation, describe(db)
	})
	if err := w.kube.CoreV1().ConfigMaps(w.namespace).Delete(t.Context(), "db-config", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	writes := op.writes.Load()
	w.update("db", func(db *dbv1.Database) { db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"work_mem": "8MB"} })
	w.eventually("the change was seen", func() (bool, string) {
		db := w.get("db")
		return db.Status.ObservedGeneration == db.Generation, describe(db)
	})
	if _, err := w.kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "db-config", metav1.GetOptions{}); err == nil {
		t.Error("a paused Database was changed")
	}
	if err := w.kube.CoreV1().Services(w.namespace).Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.waitFor("db", dbv1.ConditionReady, metav1.ConditionFalse, dbv1.ReasonPaused)
	if n := op.writes.Load() - writes; n > 4 {
		t.Errorf("%d writes while paused; only the status is written", n)
	}
	w.update("db", func(db *dbv1.Database) { db.Spec.Lifecycle.Paused = false })
	w.waitReady("db")
	if _, err := w.kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "db-config", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestARetainedVolumeIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	password := string(w.secret("db-credentials").Data["password"])
	w.delete("db")
	w.gone("db", true)
	w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionDelete }))
	w.waitReady("db")
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 1 {
		t.Errorf("%d databases were made on the volume, want the one that was retained", n)
	}
	if again := string(w.secret("db-credentials").Data["password"]); again != password {
		t.Error("the password changed")
	}
	// What was taken over is this one's now, to delete as well.
	w.delete("db")
	w.gone("db", false)
}

// A Database that never took over what an earlier one retained does not delete it.
func TestARetainedVolumeSurvivesADatabaseThatDoesNotAdoptIt(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	w.delete("db")
	w.gone("db", true)
	w.create(w.basic("db", func(db *dbv1.Database) {
		db.Spec.Version, db.Spec.Lifecycle.DeletionPolicy = "16", dbv1.DeletionDelete
	}))
	w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonAdoptionRequired)
	w.delete("db")
	w.gone("db", true)
}

// Nobody was let in before the identity of the data was recorded: what there is on the volume is
// nobody's data.
func TestADatabaseThatIsDeletedWhileItIsMadeCanBeMadeAgain(t *testing.T) {
	w := newWorldWith(t, simulation.Options{Bootstrap: 2 * time.Second})
	w.start(unlimited)
	w.create(w.basic("db"))
	w.eventually("a new database is being made", func() (bool, string) {
		dbi, err := w.databases.DatabaseV1().DatabaseInstances(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
		return err == nil && dbi.Status.Phase == dbv1.InstanceInitializing, errorText(err)
	})
	w.delete("db")
	w.gone("db", true)
	w.create(w.basic("db"))
	w.waitReady("db")
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 1 {
		t.Errorf("%d databases were made on the volume, want 1", n)
	}
}

func TestAVolumeThatIsNotKnownToBeOursStopsTheOperator(t *testing.T) {
	for name, change := range map[string]func(*corev1.PersistentVolumeClaim){
		"of a major version that differs": func(c *corev1.PersistentVolumeClaim) { c.Annotations[naming.AnnotationMajorVersion] = "14" },
		"of another engine":               func(c *corev1.PersistentVolumeClaim) { c.Annotations[naming.AnnotationEngine] = "MongoDB" },
		"without facts":                   func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil; c.Labels = nil },
		"of another system identifier":    func(c *corev1.PersistentVolumeClaim) { c.Annotations[naming.AnnotationSystemID] = "42" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start(unlimited)
			w.create(w.basic("db"))
			w.waitReady("db")
			w.delete("db")
			w.gone("db", true)
			claims := w.kube.CoreV1().PersistentVolumeClaims(w.namespace)
			claim, err := claims.Get(t.Context(), "data-db-0", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			change(claim)
			if _, err := claims.Update(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			w.create(w.basic("db"))
			w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonAdoptionRequired)
			if sets, err := w.kube.AppsV1().StatefulSets(w.namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(sets.Items) != 0 {
				t.Errorf("%d StatefulSets were made, %v", len(sets.Items), err)
			}
		})
	}
}

func TestAPersonsWordAdoptsAVolume(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	claim, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data-db-0", Namespace: w.namespace},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.sim.SetData(claim, "7301234567890123456")
	w.create(w.basic("db"))
	w.waitFor("db", dbv1.ConditionProvisioned, metav1.ConditionFalse, dbv1.ReasonAdoptionRequired)
	w.update("db", func(db *dbv1.Database) {
		db.Annotations = map[string]string{naming.AnnotationAdopt: "7301234567890123456"}
	})
	db := w.waitReady("db")
	if id := db.Status.EngineStatus.PostgreSQL.SystemID; id != "7301234567890123456" {
		t.Errorf("system identifier %s", id)
	}
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 0 {
		t.Errorf("%d databases were made over the data", n)
	}
}

func TestDeletionPolicySnapshotWaitsAndSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionSnapshot }))
	w.waitReady("db")
	w.delete("db")
	db := w.waitFor("db", dbv1.ConditionReady, metav1.ConditionFalse, dbv1.ReasonDeleting)
	if text := describe(db); !strings.Contains(text, "not supported yet") || !strings.Contains(text, naming.AnnotationSkipFinalBackup) {
		t.Errorf("the condition does not say what to do: %s", text)
	}
	if _, err := w.kube.AppsV1().StatefulSets(w.namespace).Get(t.Context(), "db", metav1.GetOptions{}); err != nil {
		t.Errorf("something was removed: %v", err)
	}
	w.update("db", func(db *dbv1.Database) {
		db.Annotations = map[string]string{naming.AnnotationSkipFinalBackup: "true"}
	})
	w.gone("db", true)
}

// Two operators without an election must still make one database.
func TestTwoOperatorsMakeOneDatabase(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 1 {
		t.Errorf("%d databases were made on the volume, want 1", n)
	}
}

func TestAUsersCredentialsAreUsed(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	_, err := w.kube.CoreV1().Secrets(w.namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: w.namespace},
		StringData: map[string]string{"username": "shop", "password": "chosen by a person"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.create(w.basic("db"))
	w.waitReady("db")
	secret := w.secret("db-credentials")
	if string(secret.Data["password"]) != "chosen by a person" || string(secret.Data["username"]) != "shop" || string(secret.Data["database"]) != "shop" || len(secret.Data["uri"]) == 0 {
		t.Errorf("credentials of user %s, database %s, uri %s", secret.Data["username"], secret.Data["database"], secret.Data["uri"])
	}
	claim, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data-db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !w.sim.Login(claim.UID, "shop", "chosen by a person") {
		t.Error("the user's login is refused")
	}
}

func TestAUsersCredentialsThatCannotBeUsedAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		username, password string
		key, rule          string
	}{
		"a name that is too long":    {strings.Repeat("a", 64), "secret", "username", "at most 61 characters"},
		"a name that is no text":     {"shop\xff", "secret", "username", "letters, digits"},
		"a name of the engine's own": {"postgres", "secret", "username", "for itself"},
		"a password that is no text": {"shop", "secret\xff", "password", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "db-credentials", Namespace: w.namespace},
				Data:       map[string][]byte{"username": []byte(c.username), "password": []byte(c.password)},
			}
			secrets := w.kube.CoreV1().Secrets(w.namespace)
			if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			w.start(unlimited)
			w.create(w.basic("db"))
			db := w.waitFor("db", dbv1.ConditionReady, metav1.ConditionFalse, dbv1.ReasonInvalidCredentials)
			text := describe(db)
			if !strings.Contains(text, "Secret db-credentials") || !strings.Contains(text, "key "+c.key) || !strings.Contains(text, c.rule) || strings.Contains(text, "secret\xff") {
				t.Errorf("the condition says: %s", text)
			}
			if _, err := secrets.Get(t.Context(), "db-accounts", metav1.GetOptions{}); err == nil {
				t.Error("the accounts were made all the same")
			}
		})
	}
}

func TestAResourcesChangeRestartsThePodOnce(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	pods := func() types.UID {
		pod, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return pod.UID
	}
	seen := map[types.UID]bool{pods(): true}
	w.update("db", func(db *dbv1.Database) {
		db.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	})
	w.eventually("settles", func() (bool, string) {
		if uid := pods(); uid != "" {
			seen[uid] = true
		}
		db := w.get("db")
		return len(seen) > 1 && db.Status.Phase == dbv1.PhaseReady && isUpToDate(db) && db.Status.ObservedGeneration == db.Generation, describe(db)
	})
	if len(seen) != 2 {
		t.Errorf("%d pods were seen, want the old and the new one", len(seen))
	}
}

// A new release that renders pods differently restarts nothing by itself.
func TestANewReleaseRestartsNothing(t *testing.T) {
	w := newWorld(t)
	old, _ := w.start(unlimited)
	w.create(w.basic("db"))
	w.waitReady("db")
	before, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old.stop()
	w.startRelease("agent:next")
	w.eventually("the step waits in the plan", func() (bool, string) {
		db := w.get("db")
		return len(db.Status.Plan) == 1 && db.Status.Plan[0].HeldBy == engine.GuardOperatorRelease, describe(db)
	})
	w.eventually("the StatefulSet has the new template", func() (bool, string) {
		set, err := w.kube.AppsV1().StatefulSets(w.namespace).Get(t.Context(), "db", metav1.GetOptions{})
		return err == nil && initImage(set) == "agent:next", errorText(err)
	})
	after, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Errorf("the pod was replaced: %v", err)
	}
	if phase := w.get("db").Status.Phase; phase != dbv1.PhaseReady {
		t.Errorf("phase %s", phase)
	}
}

func initImage(set *appsv1.StatefulSet) string {
	return set.Spec.Template.Spec.InitContainers[0].Image
}
