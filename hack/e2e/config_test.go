//go:build e2e

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestReloadableSettingThereAndBackRestartsNothing(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before, first := s.life("pg"), s.query("pg", "show work_mem;")

	s.edit("pg", config("work_mem", "7MB"))
	s.ready("pg")
	same(s, "work_mem", s.query("pg", "show work_mem;"), "7MB")
	same(s, "pod and engine after the change", s.life("pg"), before)

	s.edit("pg", withoutConfig("work_mem"))
	s.ready("pg")
	same(s, "work_mem", s.query("pg", "show work_mem;"), first)
	same(s, "pod and engine after the way back", s.life("pg"), before)
}

func TestSettingThatNeedsARestartThereAndBackRestartsTheEngineTwice(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	want := s.life("pg")

	s.edit("pg", config("max_connections", "123"))
	s.ready("pg")
	same(s, "max_connections", s.query("pg", "show max_connections;"), "123")
	want.starts++
	same(s, "pod and engine after the change", s.life("pg"), want)

	s.edit("pg", withoutConfig("max_connections"))
	s.ready("pg")
	same(s, "max_connections", s.query("pg", "show max_connections;"), "100")
	want.starts++
	same(s, "pod and engine after the way back", s.life("pg"), want)
}

func TestRefusedSettingKeepsTheLastGoodOnes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, setting, value string }{
		{"when it is read", "work_mem", "twelve parsecs"},
		{"out of range, and needs a restart", "max_connections", "99999999"},
		{"of a name that does not exist", "no_such_setting", "1"},
		{"when the engine starts", "shared_preload_libraries", "no_such_library"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScope(t)
			s.provision(standalone("pg", config("work_mem", "5MB")))
			s.writeRow("pg", "before")
			before := s.life("pg")

			s.edit("pg", config(test.setting, test.value))
			message := s.untilReason("pg", dbv1.ConditionUpToDate, dbv1.ReasonConfigRefused)
			if !strings.Contains(message, test.setting) && !strings.Contains(message, test.value) {
				t.Errorf("the condition does not name the setting: %q", message)
			}
			s.until("pg", "the database to serve with the last good settings", changeTimeout, func(db *dbv1.Database) string {
				if db.Status.ReadyReplicas != 1 {
					return "its instance is not ready"
				}
				return ""
			})
			same(s, "work_mem", s.query("pg", "show work_mem;"), "5MB")
			s.hasRow("pg", "before")
			same(s, "the pod", s.pod("pg").UID, corev1Pod(before))

			if test.setting == "work_mem" {
				s.edit("pg", config("work_mem", "5MB"))
			} else {
				s.edit("pg", withoutConfig(test.setting))
			}
			s.ready("pg")
			s.hasRow("pg", "before")
		})
	}
}

func TestOwnedSettingIsRefusedByName(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	before := s.life("pg")
	s.edit("pg", config("listen_addresses", "localhost"))
	if message := s.untilReason("pg", dbv1.ConditionValidated, dbv1.ReasonInvalidSpec); !strings.Contains(message, "listen_addresses") {
		t.Errorf("the condition does not name the setting: %q", message)
	}
	same(s, "pod and engine", s.life("pg"), before)
	s.edit("pg", withoutConfig("listen_addresses"))
	s.ready("pg")
	same(s, "pod and engine", s.life("pg"), before)
}

func TestChangedResourcesRestartThePodOnce(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("pg"))
	s.writeRow("pg", "before")
	before := s.pod("pg")
	seen := s.watchPods("pg")

	s.edit("pg", func(db *dbv1.Database) {
		memory := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("320Mi"), corev1.ResourceCPU: resource.MustParse("110m")}
		db.Spec.Resources = &corev1.ResourceRequirements{Requests: memory, Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("320Mi")}}
	})
	s.ready("pg")
	after := s.pod("pg")
	if after.UID == before.UID {
		t.Fatal("the pod was not restarted")
	}
	for _, c := range after.Spec.Containers {
		if c.Name == "database" {
			same(s, "the memory limit", c.Resources.Limits.Memory().String(), "320Mi")
		}
	}
	same(s, "the number of pods that there were", len(seen()), 2)
	s.hasRow("pg", "before")
}
