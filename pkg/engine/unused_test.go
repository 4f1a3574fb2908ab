package engine_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

// abandoned is a Database that is deleted before the identity of its data was recorded.
func abandoned() scene {
	s := settled()
	s.Database.Status = dbv1.DatabaseStatus{}
	s.Database.DeletionTimestamp = new(metav1.NewTime(now))
	s.StatefulSets, s.Pods = nil, nil
	delete(s.Claims["data-db-0"].Annotations, naming.AnnotationSystemID)
	delete(s.Secrets["db-accounts"].Annotations, naming.AnnotationSystemID)
	return s
}

func TestADeletionSaysWhatIsOnARetainedVolume(t *testing.T) {
	const mark, let = "annotate persistentvolumeclaims data-db-0", "remove the finalizer"
	recorded := func(s scene) {
		s.Database.Status.EngineStatus = &dbv1.EngineStatus{PostgreSQL: &dbv1.PostgreSQLStatus{SystemID: systemID}}
	}
	annotate := func(key, value string) func(scene) {
		return func(s scene) { s.Claims["data-db-0"].Annotations[key] = value }
	}
	pending := func(s scene) { s.Claims["data-db-0"].Status.Phase = corev1.ClaimPending }
	for name, c := range map[string]struct {
		edit []func(scene)
		want []string
	}{
		"nobody was let in":                              {nil, []string{mark}},
		"nobody was let in, and it is said":              {[]func(scene){annotate(naming.AnnotationUnused, "db-uid")}, []string{let}},
		"nobody was let in by an earlier one":            {[]func(scene){annotate(naming.AnnotationUnused, "earlier")}, []string{mark}},
		"the volume is not this Database's":              {[]func(scene){annotate(naming.AnnotationDatabaseUID, "earlier")}, []string{let}},
		"the claim knows of data":                        {[]func(scene){annotate(naming.AnnotationSystemID, systemID)}, []string{let}},
		"there never was a volume":                       {[]func(scene){pending}, []string{"delete persistentvolumeclaims data-db-0"}},
		"there never was one, for an earlier one":        {[]func(scene){pending, annotate(naming.AnnotationDatabaseUID, "earlier")}, []string{let}},
		"the claim waits for a given volume":             {[]func(scene){pending, func(s scene) { s.Claims["data-db-0"].Spec.VolumeName = "pv" }}, []string{mark}},
		"the data is recorded, and not on the claim yet": {[]func(scene){recorded}, []string{mark, "annotate secrets db-accounts"}},
		"the data is recorded everywhere": {[]func(scene){recorded, annotate(naming.AnnotationSystemID, systemID), func(s scene) {
			s.Secrets["db-accounts"].Annotations[naming.AnnotationSystemID] = systemID
		}}, []string{let}},
	} {
		t.Run(name, func(t *testing.T) {
			s := abandoned()
			for _, edit := range c.edit {
				edit(s)
			}
			got := actions(s.plan())
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, a := range abandoned().plan().Actions {
		if diff := cmp.Diff(map[string]string{naming.AnnotationUnused: "db-uid"}, a.(engine.Annotate).Annotations); diff != "" {
			t.Error(diff)
		}
	}
}

// successor is a new Database of the name of one that was deleted before it let anybody in.
func successor(edit ...func(scene)) scene {
	s := abandoned()
	s.Database.DeletionTimestamp, s.Database.UID = nil, "next"
	s.Claims["data-db-0"].Annotations[naming.AnnotationUnused] = "db-uid"
	s.Instances = nil
	for _, e := range edit {
		e(s)
	}
	return s
}

func TestAVolumeThatWasNeverUsedIsTakenOver(t *testing.T) {
	s := successor()
	p := s.plan()
	if slices.Contains(kinds(p), "StatefulSet") || *s.instanceSpec().Bootstrap {
		t.Errorf("the volume is used before the claim to it was read back: %v", kinds(p))
	}
	var written map[string]string
	for _, a := range p.Actions {
		if write, ok := a.(engine.Annotate); ok && write.Resource == engine.Claims {
			written = write.Annotations
		}
	}
	if diff := cmp.Diff(map[string]string{naming.AnnotationDatabaseUID: "next"}, written); diff != "" {
		t.Fatalf("written to the claim: %s", diff)
	}
	s.Claims["data-db-0"].Annotations[naming.AnnotationDatabaseUID] = "next"
	if p := s.plan(); !slices.Contains(kinds(p), "StatefulSet") || !*s.instanceSpec().Bootstrap {
		t.Errorf("the volume is not used: %v", kinds(p))
	}
}

// What is not known is not empty.
func TestAVolumeThatIsNotKnownToBeUnusedIsNot(t *testing.T) {
	claim := func(key, value string) func(scene) {
		return func(s scene) { s.Claims["data-db-0"].Annotations[key] = value }
	}
	for name, edit := range map[string]func(scene){
		"nobody says so":                              func(s scene) { delete(s.Claims["data-db-0"].Annotations, naming.AnnotationUnused) },
		"it was said of an earlier Database":          claim(naming.AnnotationUnused, "earlier"),
		"it was said, and there is data":              claim(naming.AnnotationSystemID, systemID),
		"it was made for another major version":       claim(naming.AnnotationMajorVersion, "14"),
		"nobody knows which Database it was made for": func(s scene) { s.Claims["data-db-0"].Annotations = map[string]string{naming.AnnotationUnused: ""} },
		"this Database has data already": func(s scene) {
			s.Database.Status.EngineStatus = &dbv1.EngineStatus{PostgreSQL: &dbv1.PostgreSQLStatus{SystemID: systemID}}
		},
	} {
		p := successor(edit).plan()
		if got := condition(p, dbv1.ConditionProvisioned); got != "False AdoptionRequired" || len(p.Objects) != 0 || slices.Contains(actions(p), "annotate persistentvolumeclaims data-db-0") {
			t.Errorf("%s: %s, objects %v, actions %v", name, got, kinds(p), actions(p))
		}
	}
}
