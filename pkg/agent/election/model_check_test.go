package election

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawSchedule draws what goes wrong.
func drawSchedule(t *rapid.T) schedule {
	s := schedule{
		Seed:  rapid.Uint64().Draw(t, "seed"),
		Nodes: rapid.IntRange(3, 5).Draw(t, "nodes"),
		W:     rapid.IntRange(0, 2).Draw(t, "w"),
	}
	for range rapid.IntRange(0, 8).Draw(t, "faults") {
		s.Faults = append(s.Faults, fault{
			At:   4*time.Second + time.Duration(rapid.IntRange(0, 30000).Draw(t, "at"))*time.Millisecond,
			Kind: faultKind(rapid.IntRange(0, int(faultKinds)-1).Draw(t, "kind")),
			Node: rapid.IntRange(0, 4).Draw(t, "node"),
			Arg:  rapid.IntRange(0, 9).Draw(t, "arg"),
			For:  time.Duration(rapid.IntRange(100, 15000).Draw(t, "for")) * time.Millisecond,
		})
	}
	return s
}

const modelTime = 40 * time.Second

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t)
		w := newWorld(s, "", false)
		if w.run(modelTime); w.violation != "" {
			traced := newWorld(s, "", true)
			traced.run(modelTime)
			t.Fatalf("%+v\n%s\n%s", s, traced.story(), w.violation)
		}
	})
}
