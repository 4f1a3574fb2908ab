package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

func TestDeletion(t *testing.T) {
	policy := func(p dbv1.DeletionPolicy) func(scene) {
		return func(s scene) { s.Database.Spec.Lifecycle.DeletionPolicy = p }
	}
	noPods := func(s scene) { s.StatefulSets, s.Pods = nil, nil }
	noData := func(s scene) { s.Claims, s.Secrets = nil, nil }
	stop, let := "delete statefulsets db", "remove the finalizer"
	data := []string{"delete persistentvolumeclaims data-db-0", "delete secrets db-accounts", "delete secrets db-credentials"}
	for name, c := range map[string]struct {
		disturb []func(scene)
		want    []string
	}{
		"Retain stops the pods":                       {[]func(scene){policy(dbv1.DeletionRetain)}, []string{stop}},
		"Retain then lets go, and keeps the data":     {[]func(scene){policy(dbv1.DeletionRetain), noPods}, []string{let}},
		"no policy is Retain":                         {[]func(scene){noPods}, []string{let}},
		"Delete stops the pods first":                 {[]func(scene){policy(dbv1.DeletionDelete)}, []string{stop}},
		"Delete then deletes the data":                {[]func(scene){policy(dbv1.DeletionDelete), noPods}, data},
		"Delete lets go when the data is gone":        {[]func(scene){policy(dbv1.DeletionDelete), noPods, noData}, []string{let}},
		"Delete keeps what an earlier one retained":   {[]func(scene){policy(dbv1.DeletionDelete), noPods, func(s scene) { s.retainedByAnother() }}, []string{let}},
		"Snapshot waits, because it cannot be done":   {[]func(scene){policy(dbv1.DeletionSnapshot)}, nil},
		"Snapshot goes on when a person says so":      {[]func(scene){policy(dbv1.DeletionSnapshot), func(s scene) { s.Database.Annotations = map[string]string{naming.AnnotationSkipFinalBackup: "true"} }}, []string{stop}},
		"Snapshot does not hold up a namespace":       {[]func(scene){policy(dbv1.DeletionSnapshot), func(s scene) { s.NamespaceTerminating = true }}, []string{stop}},
		"a paused Database waits":                     {[]func(scene){func(s scene) { s.Database.Spec.Lifecycle.Paused = true }}, nil},
		"a paused Database does not hold a namespace": {[]func(scene){func(s scene) { s.Database.Spec.Lifecycle.Paused, s.NamespaceTerminating = true, true }}, []string{stop}},
	} {
		t.Run(name, func(t *testing.T) {
			s := settled()
			s.Database.DeletionTimestamp = new(metav1.NewTime(now))
			for _, d := range c.disturb {
				d(s)
			}
			p := s.plan()
			if diff := cmp.Diff(c.want, actions(p)); diff != "" {
				t.Error(diff)
			}
			if p.Status.Phase != dbv1.PhaseDeleting || len(p.Objects) != 0 {
				t.Errorf("phase %s, objects %v", p.Status.Phase, kinds(p))
			}
		})
	}
}

// What is not labelled is not seen to go, and so is looked for again.
func TestWhatLostItsLabelsIsDeletedAndLookedForAgain(t *testing.T) {
	s := settled(func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = dbv1.DeletionDelete })
	s.Database.DeletionTimestamp = new(metav1.NewTime(now))
	s.StatefulSets, s.Pods = nil, nil
	for _, secret := range s.Secrets {
		secret.Labels = naming.SelectorLabels("db")
	}
	if p := s.plan(); p.RequeueAfter != 0 {
		t.Errorf("all is seen to go, and is looked for again after %s", p.RequeueAfter)
	}
	s.Claims["data-db-0"].Labels = nil
	if p := s.plan(); p.RequeueAfter != time.Second || !slices.Contains(actions(p), "delete persistentvolumeclaims data-db-0") {
		t.Errorf("actions %v, looked for again after %s", actions(p), p.RequeueAfter)
	}
}

// A pod that only carries the labels holds nothing up, is not counted and not touched.
func TestAPodThatOnlyCarriesTheLabelsHoldsNothingUp(t *testing.T) {
	copied := func(s scene, change func(*corev1.Pod)) {
		pod := s.Pods["db-0"].DeepCopy()
		pod.Name, pod.UID, pod.OwnerReferences = "db-0-debug", "copy-uid", nil
		change(pod)
		s.Pods[pod.Name] = pod
	}
	orphan := func(s scene) {
		s.StatefulSets = nil
		s.Pods["db-0"].OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", UID: "set-uid", Controller: new(true)}}
	}
	for name, change := range map[string]func(*corev1.Pod){
		"a copy":                   func(*corev1.Pod) {},
		"a copy, with annotations": func(pod *corev1.Pod) { pod.Annotations = map[string]string{naming.AnnotationDatabaseUID: "db-uid"} },
		"a pod of somebody's": func(pod *corev1.Pod) {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "other", UID: "other-uid", Controller: new(true)}}
		},
	} {
		s := settled()
		copied(s, change)
		if p := s.plan(); p.Status.Replicas != 1 || len(p.Actions) != 0 {
			t.Errorf("%s: %d replicas, actions %v", name, p.Status.Replicas, actions(p))
		}
		s.Database.DeletionTimestamp = new(metav1.NewTime(now))
		orphan(s)
		if p := s.plan(); len(p.Actions) != 0 || !strings.Contains(message(p, dbv1.ConditionReady), "stopping: 1 pod") {
			t.Errorf("%s, and a pod of ours: actions %v, Ready says %s", name, actions(p), message(p, dbv1.ConditionReady))
		}
		s.stopped("db-0")
		if p := s.plan(); !slices.Equal(actions(p), []string{"remove the finalizer"}) || !strings.Contains(message(p, dbv1.ConditionReady), "db-0-debug") {
			t.Errorf("%s alone: actions %v, Ready says %s", name, actions(p), message(p, dbv1.ConditionReady))
		}
	}
}

// retainedByAnother makes volumes and Secrets those of an earlier Database of the same name.
func (s scene) retainedByAnother() {
	for _, claim := range s.Claims {
		claim.Annotations[naming.AnnotationDatabaseUID] = "an earlier one"
	}
	for _, name := range []string{"db-accounts", "db-credentials"} {
		secret := s.Secrets[name]
		secret.Annotations[naming.AnnotationDatabaseUID] = "an earlier one"
	}
}
