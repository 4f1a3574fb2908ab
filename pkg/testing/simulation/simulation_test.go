//go:build integration

package simulation_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
	"github.com/platform-io/database-operator/pkg/testing/simulation"
)

// world is an API server with a simulation, in which the test is the operator.
type world struct {
	*testing.T
	ns   string
	kube kubernetes.Interface
	db   versioned.Interface
	sim  *simulation.Simulation
}

func newWorld(t *testing.T, options simulation.Options) *world {
	t.Helper()
	config := apiserver.Start(t)
	w := &world{T: t, ns: apiserver.Namespace(t, config), kube: kubernetes.NewForConfigOrDie(config), db: versioned.NewForConfigOrDie(config)}
	options.Namespace = w.ns
	ctx, cancel := context.WithCancel(t.Context())
	sim, err := simulation.Start(ctx, w.kube, w.db, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); sim.Wait() })
	w.sim = sim
	return w
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.Fatalf("in vain: %s\ninstance %s", what, w.dump())
}

func (w *world) dump() string {
	instance, err := w.db.DatabaseV1().DatabaseInstances(w.ns).Get(w.Context(), "shop-0", metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	data, _ := json.MarshalIndent(instance.Status, "", " ")
	return string(data)
}

func (w *world) instance() *dbv1.DatabaseInstance {
	w.Helper()
	return must[*dbv1.DatabaseInstance](w.T)(w.db.DatabaseV1().DatabaseInstances(w.ns).Get(w.Context(), "shop-0", metav1.GetOptions{}))
}

func (w *world) pod() *corev1.Pod {
	pod, err := w.kube.CoreV1().Pods(w.ns).Get(w.Context(), "shop-0", metav1.GetOptions{})
	if err != nil {
		return &corev1.Pod{}
	}
	return pod
}

func (w *world) ready() bool {
	pod := w.pod()
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			is := w.instance().Status
			return c.Status == corev1.ConditionTrue && is.Ready && is.PodUID == string(pod.UID)
		}
	}
	return false
}

// create makes a Database and, as the operator would, its objects.
func (w *world) create() *dbv1.Database {
	w.Helper()
	db := must[*dbv1.Database](w.T)(w.db.DatabaseV1().Databases(w.ns).Create(w.Context(), &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.PostgreSQL, Version: "15.4", Storage: &dbv1.StorageSpec{Size: new(resource.MustParse("1Gi"))},
		},
	}, metav1.CreateOptions{}))
	owner := []metav1.OwnerReference{*metav1.NewControllerRef(db, dbv1.SchemeGroupVersion.WithKind("Database"))}
	meta := metav1.ObjectMeta{Name: "shop", Labels: naming.SelectorLabels("shop"), OwnerReferences: owner}

	_, err := w.kube.CoreV1().Secrets(w.ns).Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-accounts"}, Data: map[string][]byte{"password": []byte("first")},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
	config := w.config(meta, "max_connections = '100'\nwork_mem = '4MB'\n")
	instance := &dbv1.DatabaseInstance{ObjectMeta: meta, Spec: dbv1.DatabaseInstanceSpec{
		DatabaseName: "shop", Engine: dbv1.PostgreSQL, Bootstrap: true, ConfigHash: config,
		Accounts: []dbv1.InstanceAccount{{
			Username: "app", PasswordVersion: "1", State: dbv1.AccountPresent,
			PasswordRef: &dbv1.SecretKeyReference{Name: "shop-accounts", Key: "password"},
		}},
	}}
	instance.Name = "shop-0"
	must[*dbv1.DatabaseInstance](w.T)(w.db.DatabaseV1().DatabaseInstances(w.ns).Create(w.Context(), instance, metav1.CreateOptions{}))
	must[*appsv1.StatefulSet](w.T)(w.kube.AppsV1().StatefulSets(w.ns).Create(w.Context(), statefulSet(meta), metav1.CreateOptions{}))
	return db
}

func (w *world) config(meta metav1.ObjectMeta, content string) string {
	w.Helper()
	meta.Name = "shop-config"
	config := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"postgresql.conf": content}}
	client := w.kube.CoreV1().ConfigMaps(w.ns)
	_, err := client.Create(w.Context(), config, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.Update(w.Context(), config, metav1.UpdateOptions{})
	}
	if err != nil {
		w.Fatal(err)
	}
	return confighash.ConfigHash(config.Data)
}

func statefulSet(meta metav1.ObjectMeta) *appsv1.StatefulSet {
	labels := naming.SelectorLabels("shop")
	return &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(1)), ServiceName: "shop-headless", Selector: &metav1.LabelSelector{MatchLabels: labels},
		PodManagementPolicy: appsv1.ParallelPodManagement, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{naming.AnnotationTemplateHash: "a"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: naming.ContainerDatabase, Image: "docker.io/library/postgres:15.4"}}},
		},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
			ObjectMeta: metav1.ObjectMeta{Name: naming.ClaimTemplate, Annotations: map[string]string{naming.AnnotationEngine: "PostgreSQL"}},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}},
	}}
}

func (w *world) tell(spec map[string]any) {
	w.Helper()
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		w.Fatal(err)
	}
	must[*dbv1.DatabaseInstance](w.T)(w.db.DatabaseV1().DatabaseInstances(w.ns).Patch(w.Context(), "shop-0", types.MergePatchType, patch, metav1.PatchOptions{}))
}

// provision brings the Database up, and returns the identity of its data.
func (w *world) provision() string {
	w.Helper()
	w.create()
	w.eventually("the agent makes a database and says which", func() bool { return w.instance().Status.SystemID != "" })
	if w.ready() {
		w.Error("the instance is ready before its identity is recorded")
	}
	id := w.instance().Status.SystemID
	w.tell(map[string]any{"systemID": id, "bootstrap": nil})
	w.eventually("the instance is ready", w.ready)
	return id
}

func (w *world) claim() *corev1.PersistentVolumeClaim {
	w.Helper()
	return must[*corev1.PersistentVolumeClaim](w.T)(w.kube.CoreV1().PersistentVolumeClaims(w.ns).Get(w.Context(), "data-shop-0", metav1.GetOptions{}))
}

func TestADatabaseIsProvisionedOnceAndServes(t *testing.T) {
	w := newWorld(t, simulation.Options{})
	id := w.provision()
	w.eventually("the account logs in", func() bool {
		is := w.instance().Status.Accounts
		return len(is) == 1 && is[0].Applied && is[0].Verified && is[0].PasswordVersion == "1"
	})
	claim := w.claim()
	if claim.Annotations[naming.AnnotationEngine] != "PostgreSQL" || claim.Labels[naming.LabelDatabase] != "shop" || claim.Status.Phase != corev1.ClaimBound {
		t.Errorf("the claim is not as the template says: %v %v %s", claim.Annotations, claim.Labels, claim.Status.Phase)
	}
	if !w.sim.Login(claim.UID, "app", "first") {
		t.Error("the account has another password than its Secret")
	}
	if pod := w.pod(); pod.Labels[naming.LabelRole] != "primary" || pod.Annotations[naming.AnnotationTemplateHash] != "a" {
		t.Errorf("the pod has labels %v and annotations %v", pod.Labels, pod.Annotations)
	}
	if n := w.sim.Bootstraps(w.ns, "data-shop-0"); n != 1 || w.sim.Volumes()[0].SystemID != id {
		t.Errorf("%d new databases were made: %+v", n, w.sim.Volumes())
	}
}

func TestAnAgentReportsWhatItsPodRuns(t *testing.T) {
	w := newWorld(t, simulation.Options{})
	w.provision()
	if w.sim.Login(w.claim().UID, "app", "other") {
		t.Error("the account has any password")
	}
	if is := w.instance().Status; is.ServerVersion != "15.4" || is.AppliedConfigHash != w.instance().Spec.ConfigHash || is.EngineStarts != 1 {
		t.Errorf("the report is wrong: %s", w.dump())
	}
}

func TestADeletedPodComesBackFromTheNewTemplateWithItsData(t *testing.T) {
	w := newWorld(t, simulation.Options{PodStop: 100 * time.Millisecond})
	id := w.provision()
	before := w.pod()
	patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"` + naming.AnnotationTemplateHash + `":"b"}}}}}`)
	must[*appsv1.StatefulSet](t)(w.kube.AppsV1().StatefulSets(w.ns).Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}))
	time.Sleep(300 * time.Millisecond)
	if pod := w.pod(); pod.UID != before.UID {
		t.Error("a new template alone replaced the pod")
	}
	if err := w.kube.CoreV1().Pods(w.ns).Delete(t.Context(), "shop-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("a new pod is ready", func() bool { return w.pod().UID != before.UID && w.ready() })
	if pod := w.pod(); pod.Annotations[naming.AnnotationTemplateHash] != "b" {
		t.Errorf("the new pod is of the old template: %v", pod.Annotations)
	}
	if is := w.instance().Status; is.SystemID != id || w.sim.Bootstraps(w.ns, "data-shop-0") != 1 {
		t.Errorf("the data changed: %s", w.dump())
	}
}

func TestASettingThatNeedsARestartWaitsForTheOperation(t *testing.T) {
	w := newWorld(t, simulation.Options{ConfigDelay: 50 * time.Millisecond, EngineStart: 50 * time.Millisecond})
	w.provision()
	db := must[*dbv1.Database](t)(w.db.DatabaseV1().Databases(w.ns).Get(t.Context(), "shop", metav1.GetOptions{}))
	hash := w.config(metav1.ObjectMeta{
		Labels: naming.SelectorLabels("shop"), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(db, dbv1.SchemeGroupVersion.WithKind("Database"))},
	}, "max_connections = '200'\nwork_mem = '8MB'\n")
	w.tell(map[string]any{"configHash": hash})
	w.eventually("max_connections alone waits", func() bool {
		is := w.instance().Status
		return is.AppliedConfigHash == hash && len(is.PendingRestart) == 1 && is.PendingRestart[0] == "max_connections"
	})
	w.tell(map[string]any{"operation": map[string]any{"id": "one", "kind": dbv1.OperationRestart}})
	w.eventually("the restart is done", func() bool {
		is := w.instance().Status
		return is.Operation != nil && is.Operation.ID == "one" && is.Operation.Phase == dbv1.OperationSucceeded && is.EngineStarts == 2 && len(is.PendingRestart) == 0
	})
	w.eventually("the instance is ready again", w.ready)
}

func TestWhatADatabaseOwnedGoesWithItAndItsDataStays(t *testing.T) {
	w := newWorld(t, simulation.Options{})
	id := w.provision()
	claim := w.claim()
	if err := w.db.DatabaseV1().Databases(w.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("nothing is left", func() bool {
		_, errInstance := w.db.DatabaseV1().DatabaseInstances(w.ns).Get(t.Context(), "shop-0", metav1.GetOptions{})
		_, errSet := w.kube.AppsV1().StatefulSets(w.ns).Get(t.Context(), "shop", metav1.GetOptions{})
		_, errPod := w.kube.CoreV1().Pods(w.ns).Get(t.Context(), "shop-0", metav1.GetOptions{})
		_, errConfig := w.kube.CoreV1().ConfigMaps(w.ns).Get(t.Context(), "shop-config", metav1.GetOptions{})
		return apierrors.IsNotFound(errInstance) && apierrors.IsNotFound(errSet) && apierrors.IsNotFound(errPod) && apierrors.IsNotFound(errConfig)
	})
	if again := w.claim(); again.UID != claim.UID {
		t.Error("the claim is another")
	}
	w.create()
	w.eventually("the new Database finds the data", func() bool { return w.instance().Status.SystemID == id })
	if n := w.sim.Bootstraps(w.ns, "data-shop-0"); n != 1 {
		t.Errorf("%d new databases were made", n)
	}
}

func TestAStatefulSetIsReplacedWithoutItsPodAndAClaimGoesWhenUnused(t *testing.T) {
	w := newWorld(t, simulation.Options{})
	w.provision()
	pod, set := w.pod(), must[*appsv1.StatefulSet](t)(w.kube.AppsV1().StatefulSets(w.ns).Get(t.Context(), "shop", metav1.GetOptions{}))
	orphan := metav1.DeletePropagationOrphan
	if err := w.kube.AppsV1().StatefulSets(w.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the StatefulSet is gone", func() bool {
		_, err := w.kube.AppsV1().StatefulSets(w.ns).Get(t.Context(), "shop", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	again := must[*appsv1.StatefulSet](t)(w.kube.AppsV1().StatefulSets(w.ns).Create(t.Context(),
		statefulSet(metav1.ObjectMeta{Name: "shop", Labels: set.Labels, OwnerReferences: set.OwnerReferences}), metav1.CreateOptions{}))
	w.eventually("the pod is adopted", func() bool { return metav1.IsControlledBy(w.pod(), again) })
	if w.pod().UID != pod.UID {
		t.Error("the pod was replaced")
	}

	if err := w.kube.CoreV1().PersistentVolumeClaims(w.ns).Delete(t.Context(), "data-shop-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if w.claim().DeletionTimestamp == nil {
		t.Error("the claim is not on its way out")
	}
	patch := []byte(`{"spec":{"replicas":0}}`)
	must[*appsv1.StatefulSet](t)(w.kube.AppsV1().StatefulSets(w.ns).Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}))
	w.eventually("the claim goes with the pod", func() bool {
		_, err := w.kube.CoreV1().PersistentVolumeClaims(w.ns).Get(t.Context(), "data-shop-0", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestTestsMayPlayABrokenAgent(t *testing.T) {
	broken := make(chan struct{})
	w := newWorld(t, simulation.Options{Report: func(_ *dbv1.DatabaseInstance, status *dbv1.DatabaseInstanceStatus) {
		select {
		case <-broken:
			status.Ready, status.Phase, status.Message = false, dbv1.InstanceFailed, "broken on purpose"
		default:
		}
	}})
	w.provision()
	close(broken)
	w.sim.Poke()
	w.eventually("the pod is not ready", func() bool { return !w.ready() && w.instance().Status.Message == "broken on purpose" })
}
