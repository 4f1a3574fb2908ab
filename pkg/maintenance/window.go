// Package maintenance says when disruptive steps may happen. It is pure: time comes in, a verdict
// comes out.
package maintenance

import (
	"fmt"
	"time"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Verdict says whether a window is open, and when that changes.
type Verdict struct {
	// Open is true inside a window, and always when there is none.
	Open bool
	// Changes is when the window closes, or the next one opens; zero when that never happens.
	Changes time.Time
}

// At judges the windows of a spec at a time. A window that cannot be read is an error: no window
// is then open, because a typing mistake must not allow a restart.
func At(spec *dbv1.MaintenanceSpec, now time.Time) (Verdict, error) {
	if spec == nil || len(spec.Windows) == 0 {
		return Verdict{Open: true}, nil
	}
	var out Verdict
	for i, w := range spec.Windows {
		open, changes, err := at(w, now)
		if err != nil {
			return Verdict{}, fmt.Errorf("spec.maintenance.windows[%d]: %w", i, err)
		}
		switch {
		case open && (!out.Open || changes.After(out.Changes)):
			out = Verdict{Open: true, Changes: changes}
		case !open && !out.Open && (out.Changes.IsZero() || changes.Before(out.Changes)):
			out.Changes = changes
		}
	}
	return out, nil
}

// at judges one window: the occurrence that began last, or the next one. Dates are counted in the
// window's own zone, so that a change of the clocks moves it with the people who live there.
func at(w dbv1.MaintenanceWindow, now time.Time) (open bool, changes time.Time, err error) {
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("timeZone: %w", err)
	}
	start, err := time.Parse("15:04", w.StartTime)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("startTime: %w", err)
	}
	local := now.In(zone)
	back := (int(local.Weekday()) - int(w.DayOfWeek) + 7) % 7
	begins := func(weeks int) time.Time {
		return time.Date(local.Year(), local.Month(), local.Day()-back+7*weeks, start.Hour(), start.Minute(), 0, 0, zone)
	}
	for weeks := -1; weeks <= 1; weeks++ {
		opens := begins(weeks)
		closes := opens.Add(w.Duration.Duration)
		if now.Before(opens) {
			return false, opens, nil
		}
		if now.Before(closes) {
			return true, closes, nil
		}
	}
	return false, begins(2), nil
}
