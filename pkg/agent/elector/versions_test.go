package elector

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func at(version string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
}

func TestVersionsAreSeenInOrder(t *testing.T) {
	const read, watched, wrote = "read", "watched", "wrote"
	for name, steps := range map[string][]struct {
		how     string
		version string // "" is no Lease
		sentAt  time.Duration
		at      time.Duration
		news    bool
	}{
		"reads count, also without news":      {{read, "5", 0, 1, true}, {read, "5", 2, 3, true}, {read, "6", 4, 5, true}},
		"the watch counts when it is newer":   {{read, "9", 0, 1, true}, {watched, "9", 0, 2, false}, {watched, "8", 0, 3, false}, {watched, "10", 0, 4, true}},
		"numbers, not texts":                  {{read, "100", 0, 1, true}, {watched, "99", 0, 2, false}},
		"a read that the watch overtook":      {{read, "5", 0, 1, true}, {watched, "6", 0, 3, true}, {read, "5", 2, 4, false}},
		"a read that a write overtook":        {{read, "5", 0, 1, true}, {wrote, "6", 0, 3, true}, {read, "5", 2, 4, false}, {read, "6", 2, 4, true}},
		"the Lease was restored":              {{read, "50", 0, 1, true}, {read, "5", 2, 3, true}, {watched, "6", 0, 4, true}},
		"the Lease is gone":                   {{read, "5", 0, 1, true}, {read, "", 2, 3, true}, {watched, "4", 0, 4, false}, {read, "8", 5, 6, true}},
		"gone, said before something newer":   {{read, "5", 0, 1, true}, {watched, "7", 0, 3, true}, {read, "", 2, 4, false}},
		"versions that are no numbers: reads": {{read, "abc", 0, 1, true}, {watched, "abd", 0, 2, false}, {read, "abd", 2, 3, true}},
	} {
		v := &versions{}
		for i, s := range steps {
			lease := at(s.version)
			if s.version == "" {
				lease = nil
			}
			got := true
			switch s.how {
			case read:
				got = v.read(lease, s.sentAt, s.at)
			case watched:
				got = v.watched(lease, s.at)
			case wrote:
				v.wrote(lease, s.at)
			}
			if got != s.news {
				t.Errorf("%s: step %d: got %v", name, i, got)
			}
			if got && lease != nil && v.object(s.version) == nil {
				t.Errorf("%s: step %d: the object is not there to be written", name, i)
			}
		}
	}
}

func TestOldVersionsAreForgotten(t *testing.T) {
	v := &versions{}
	for i, version := range []string{"1", "2", "3", "4", "5"} {
		v.read(at(version), time.Duration(2*i), time.Duration(2*i+1))
	}
	if v.object("1") != nil || v.object("2") == nil || v.last().ResourceVersion != "5" {
		t.Errorf("it has %d", len(v.objects))
	}
}
