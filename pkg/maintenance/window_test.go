package maintenance

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestWindows(t *testing.T) {
	sunday := dbv1.MaintenanceWindow{DayOfWeek: 0, StartTime: "02:00", Duration: metav1.Duration{Duration: 4 * time.Hour}, TimeZone: "UTC"}
	overMidnight := dbv1.MaintenanceWindow{DayOfWeek: 6, StartTime: "23:00", Duration: metav1.Duration{Duration: 3 * time.Hour}, TimeZone: "UTC"}
	berlin := dbv1.MaintenanceWindow{DayOfWeek: 0, StartTime: "04:00", Duration: metav1.Duration{Duration: time.Hour}, TimeZone: "Europe/Berlin"}
	for name, c := range map[string]struct {
		windows []dbv1.MaintenanceWindow
		now     string
		open    bool
		changes string
	}{
		"no window is always open":                    {nil, "2026-11-23T12:00:00Z", true, ""},
		"before it opens":                             {[]dbv1.MaintenanceWindow{sunday}, "2026-11-23T12:00:00Z", false, "2026-11-29T02:00:00Z"},
		"the moment it opens":                         {[]dbv1.MaintenanceWindow{sunday}, "2026-11-29T02:00:00Z", true, "2026-11-29T06:00:00Z"},
		"the moment it closes":                        {[]dbv1.MaintenanceWindow{sunday}, "2026-11-29T06:00:00Z", false, "2026-12-06T02:00:00Z"},
		"a window that began yesterday":               {[]dbv1.MaintenanceWindow{overMidnight}, "2026-11-29T01:30:00Z", true, "2026-11-29T02:00:00Z"},
		"the window that closes last counts":          {[]dbv1.MaintenanceWindow{overMidnight, sunday}, "2026-11-29T01:59:59Z", true, "2026-11-29T02:00:00Z"},
		"the window that opens first is the next one": {[]dbv1.MaintenanceWindow{sunday, overMidnight}, "2026-11-28T12:00:00Z", false, "2026-11-28T23:00:00Z"},
		"a zone moves with its clocks, in winter":     {[]dbv1.MaintenanceWindow{berlin}, "2026-11-29T03:30:00Z", true, "2026-11-29T04:00:00Z"},
		"a zone moves with its clocks, in summer":     {[]dbv1.MaintenanceWindow{berlin}, "2026-07-05T02:30:00Z", true, "2026-07-05T03:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			got, err := At(&dbv1.MaintenanceSpec{Windows: c.windows}, now)
			if err != nil {
				t.Fatal(err)
			}
			changes := ""
			if !got.Changes.IsZero() {
				changes = got.Changes.UTC().Format(time.RFC3339)
			}
			if got.Open != c.open || changes != c.changes {
				t.Errorf("open=%v changes=%s, want open=%v changes=%s", got.Open, changes, c.open, c.changes)
			}
		})
	}
}

func TestAWindowThatCannotBeReadIsClosed(t *testing.T) {
	for _, w := range []dbv1.MaintenanceWindow{
		{StartTime: "02:00", TimeZone: "Atlantis/Poseidonis"},
		{StartTime: "2 o'clock", TimeZone: "UTC"},
	} {
		got, err := At(&dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{w}}, time.Now())
		if err == nil || got.Open {
			t.Errorf("%+v: got %+v and %v, want an error and no open window", w, got, err)
		}
	}
}
