package plural

import "testing"

func TestOf(t *testing.T) {
	for n, want := range map[int32]string{0: "0 replicas", 1: "1 replica", 2: "2 replicas"} {
		if got := Of(n, "replica"); got != want {
			t.Errorf("Of(%d) is %q, want %q", n, got, want)
		}
	}
}
