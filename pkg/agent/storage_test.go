package agent

import (
	"testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestStorageIsSaidInPercentsAndDoesNotFlap(t *testing.T) {
	const capacity = 1000
	for name, c := range map[string]struct {
		before, used, want int64
	}{
		"at first, rounded up":             {-1, 52, 60},
		"a little more":                    {60, 61, 60},
		"a little less":                    {60, 51, 60},
		"a percent more":                   {60, 70, 70},
		"a percent less":                   {60, 50, 60},
		"nearly three percent less":        {60, 31, 60},
		"three percent less":               {60, 30, 30},
		"a volume that filled in one step": {60, 995, 1000},
	} {
		var before *dbv1.InstanceStorageStatus
		if c.before >= 0 {
			before = &dbv1.InstanceStorageStatus{UsedBytes: c.before, CapacityBytes: capacity}
		}
		if got := storageStatus(c.used, capacity, before); got.UsedBytes != c.want {
			t.Errorf("%s: %d, want %d", name, got.UsedBytes, c.want)
		}
	}
	if got := storageStatus(52, 2*capacity, &dbv1.InstanceStorageStatus{UsedBytes: 60, CapacityBytes: capacity}); got.CapacityBytes != 2*capacity {
		t.Errorf("a volume that grew: %+v", got)
	}
}
