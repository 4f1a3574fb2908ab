package validation

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the verdict on a time zone must not depend on the image

	"github.com/robfig/cron/v3"
)

// The cron expressions are those of a Kubernetes CronJob: five fields, or a macro.
var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// reference is when a schedule is asked for its next time. Any moment would do: a schedule that does not
// come within the five years that the parser looks ahead is one of 30 February.
var reference = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

// ParseSchedule reads a cron expression, and refuses one that means something else than it says.
func ParseSchedule(expression string) (cron.Schedule, error) {
	switch {
	case strings.HasPrefix(expression, "@every"):
		return nil, errors.New(`@every counts from each restart and would drift; name the times, as "0 */6 * * *"`)
	case strings.Contains(expression, "TZ="):
		return nil, errors.New("the time zone has a field of its own; set timeZone")
	}
	schedule, err := cronParser.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf(`not a cron expression: %w; write minute, hour, day of month, month and day of week, as "0 2 * * *", or a macro, as "@daily"`, err)
	}
	if schedule.Next(reference).IsZero() {
		return nil, errors.New("this time never comes, because no such date exists; choose a day that the month has")
	}
	return schedule, nil
}

// cron judges a schedule; an empty one is left to the rule that requires it.
func (s *subject) cron(path, expression string) {
	if expression == "" {
		return
	}
	if _, err := ParseSchedule(expression); err != nil {
		s.refuseWith(path, expression, err.Error())
	}
}

// timeZone judges the name of a time zone; an empty one is UTC.
func (s *subject) timeZone(path, name string) {
	if name == "" {
		return
	}
	if _, err := time.LoadLocation(name); err != nil || strings.EqualFold(name, "Local") {
		s.refuseWith(path, name, `not a known time zone; use an IANA name, as "Europe/Berlin", or "UTC"`)
	}
}
