package engine_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// wrote are the managed fields of an object whose mark this manager wrote.
func wrote(manager string) []metav1.ManagedFieldsEntry {
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes([]byte(`{"f:metadata":{"f:annotations":{"f:` + naming.AnnotationDatabaseUID + `":{}}},"f:spec":{"f:x":{}}}`))
	return []metav1.ManagedFieldsEntry{{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields}}
}

func TestIsOurs(t *testing.T) {
	mark := func(uid string) map[string]string { return map[string]string{naming.AnnotationDatabaseUID: uid} }
	for name, c := range map[string]struct {
		object metav1.ObjectMeta
		want   bool
	}{
		"controlled":                               {metav1.ObjectMeta{OwnerReferences: controlledBy("db-uid")}, true},
		"controlled, without a mark of ours":       {metav1.ObjectMeta{OwnerReferences: controlledBy("db-uid"), Annotations: mark("other")}, true},
		"controlled by somebody else":              {metav1.ObjectMeta{OwnerReferences: controlledBy("other")}, false},
		"controlled by somebody else, though ours": {metav1.ObjectMeta{OwnerReferences: controlledBy("other"), Annotations: mark("db-uid"), ManagedFields: wrote(naming.FieldManager)}, false},
		"orphaned, with our mark":                  {metav1.ObjectMeta{Annotations: mark("db-uid"), ManagedFields: wrote(naming.FieldManager)}, true},
		"orphaned, owned but not controlled":       {metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "x"}}, Annotations: mark("db-uid"), ManagedFields: wrote(naming.FieldManager)}, true},
		"orphaned, with a mark that is not ours":   {metav1.ObjectMeta{Annotations: mark("db-uid"), ManagedFields: wrote("kubectl")}, false},
		"orphaned, made for an earlier Database":   {metav1.ObjectMeta{Annotations: mark("earlier"), ManagedFields: wrote(naming.FieldManager)}, false},
		"without anything":                         {metav1.ObjectMeta{}, false},
	} {
		if got := engine.IsOurs(settled().Database, &corev1.Service{ObjectMeta: c.object}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAPodThatLostItsLabelsGetsThemBackWhenItIsKnownToBeOurs(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(s scene, pod *corev1.Pod)
		want bool
	}{
		"all of them":                       {func(_ scene, pod *corev1.Pod) { pod.Labels = nil }, true},
		"its group":                         {func(_ scene, pod *corev1.Pod) { delete(pod.Labels, naming.LabelGroup) }, true},
		"one that nobody selects by":        {func(_ scene, pod *corev1.Pod) { delete(pod.Labels, naming.LabelRole) }, false},
		"none":                              {func(scene, *corev1.Pod) {}, false},
		"let go by the StatefulSet":         {func(_ scene, pod *corev1.Pod) { pod.Labels, pod.OwnerReferences = nil, nil }, true},
		"let go, before its agent reported": {func(_ scene, pod *corev1.Pod) { pod.Labels, pod.OwnerReferences, pod.UID = nil, nil, "new" }, false},
		"let go, made from our template": {func(_ scene, pod *corev1.Pod) {
			pod.Labels, pod.OwnerReferences, pod.UID = nil, nil, "new"
			pod.Annotations = map[string]string{naming.AnnotationDatabaseUID: "db-uid"}
		}, true},
		"let go, and the report is not ours": {func(s scene, pod *corev1.Pod) {
			pod.Labels, pod.OwnerReferences = nil, nil
			s.Instances["db-0"].OwnerReferences = controlledBy("other")
		}, false},
		"taken by another controller": {func(_ scene, pod *corev1.Pod) { pod.Labels, pod.OwnerReferences = nil, controlledBy("other") }, false},
		"of a StatefulSet that is not ours": {func(s scene, pod *corev1.Pod) {
			pod.Labels = nil
			s.StatefulSets["db"].OwnerReferences = controlledBy("other")
		}, false},
		"on its way out": {func(_ scene, pod *corev1.Pod) { pod.Labels, pod.DeletionTimestamp = nil, new(metav1.NewTime(now)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := settled()
			pod := s.Pods["db-0"]
			c.edit(s, pod)
			var want []engine.Action
			if c.want {
				want = append(want, engine.Annotate{Resource: engine.Pods, Name: "db-0", UID: pod.UID, Labels: resources.PodLabels(s.Database, "db")})
			}
			if diff := cmp.Diff(want, s.plan().Actions); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnlyWhatIsOursIsDeletedWithTheDatabase(t *testing.T) {
	s := settled()
	s.Database.DeletionTimestamp = new(metav1.NewTime(now))
	s.StatefulSets["theirs"] = &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "theirs", UID: "theirs"}}
	pod := s.Pods["db-0"].DeepCopy()
	pod.Name, pod.UID, pod.OwnerReferences = "theirs-0", types.UID("theirs-0"), controlledBy("theirs")
	s.Pods["theirs-0"] = pod
	if diff := cmp.Diff([]string{"delete statefulsets db"}, actions(s.plan())); diff != "" {
		t.Error(diff)
	}
	s.Pods["db-0"].OwnerReferences = nil
	if diff := cmp.Diff([]string{"delete statefulsets db", "delete pods db-0"}, actions(s.plan())); diff != "" {
		t.Errorf("a pod that its StatefulSet let go: %s", diff)
	}
}

func TestARestartDeletesNoPodOfSomebodyElse(t *testing.T) {
	s := outdated()
	if diff := cmp.Diff([]string{"delete pods db-0"}, actions(s.plan())); diff != "" {
		t.Error(diff)
	}
	s.Pods["db-0"].OwnerReferences = controlledBy("other")
	if p := s.plan(); len(p.Actions) != 0 {
		t.Errorf("actions %v", actions(p))
	}
}
