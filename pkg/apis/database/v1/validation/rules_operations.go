package validation

import (
	"fmt"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// The limits of durations.
const (
	minWindow, maxWindow = 10 * time.Minute, 24 * time.Hour
	minLease, maxLease   = 6 * time.Second, 5 * time.Minute
	minRenew             = time.Second
	minRetry             = 200 * time.Millisecond
	maxRotationWait      = 30 * 24 * time.Hour
)

// minLag is the least lag that is allowed, in bytes.
const minLag = 64 << 10

var startTime = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)

// operationRules are about maintenance, failover and observability.
var operationRules = []Rule{
	{
		ID: "window-start", Paths: []string{"spec.maintenance.windows[]"},
		CEL: `self.startTime.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')`,
		Message: "startTime of a maintenance window must be HH:MM of 24 hours, because a window opens at a minute of the day; " +
			`write it as "02:00" or "14:30"`,
		Check: func(s *subject) {
			s.eachWindow(func(path string, w *dbv1.MaintenanceWindow) {
				s.refuse(!startTime.MatchString(w.StartTime), path+".startTime", w.StartTime)
			})
		},
	},
	{
		ID: "window-duration", Paths: []string{"spec.maintenance.windows[]"},
		CEL: `duration(self.duration) >= duration('10m') && duration(self.duration) <= duration('24h')`,
		Message: "duration of a maintenance window must be between 10m and 24h, because a shorter one fits no restart and a longer one is no window; " +
			`set it, as "4h"`,
		Check: func(s *subject) {
			s.eachWindow(func(path string, w *dbv1.MaintenanceWindow) {
				s.refuse(w.Duration.Duration < minWindow || w.Duration.Duration > maxWindow, path+".duration", w.Duration.Duration.String())
			})
		},
	},
	{
		ID:      "window-zone",
		Message: "timeZone of a maintenance window must be known",
		Check: func(s *subject) {
			s.eachWindow(func(path string, w *dbv1.MaintenanceWindow) { s.timeZone(path+".timeZone", w.TimeZone) })
		},
	},
	{
		ID: "rotation-wait", Paths: []string{"spec.auth.rotationPolicy"},
		CEL: `(!has(self.gracePeriod) || duration(self.gracePeriod) <= duration('720h')) && (!has(self.maxDrain) || duration(self.maxDrain) <= duration('720h'))`,
		Message: "spec.auth.rotationPolicy.gracePeriod and maxDrain must be at most 720h, because an old password must end; " +
			"shorten the longer one",
		Check: func(s *subject) {
			if a := s.spec.Auth; a != nil && a.RotationPolicy != nil {
				s.refuse(longer(a.RotationPolicy.GracePeriod, maxRotationWait), "spec.auth.rotationPolicy.gracePeriod", text(a.RotationPolicy.GracePeriod))
				s.refuse(longer(a.RotationPolicy.MaxDrain, maxRotationWait), "spec.auth.rotationPolicy.maxDrain", text(a.RotationPolicy.MaxDrain))
			}
		},
	},
	{
		ID: "lease-duration", Paths: []string{"spec.highAvailability"},
		CEL: `!has(self.leaseDuration) || (duration(self.leaseDuration) >= duration('6s') && duration(self.leaseDuration) <= duration('5m'))`,
		Message: "spec.highAvailability.leaseDuration must be between 6s and 5m, because a shorter one fails over for a slow network and a longer one hardly at all; " +
			`set it, as "15s"`,
		Check: func(s *subject) {
			d := dbv1.HighAvailability(s.db).LeaseDuration.Duration
			s.refuse(d < minLease || d > maxLease, "spec.highAvailability.leaseDuration", d.String())
		},
	},
	{
		ID: "renew-period", Paths: []string{"spec.highAvailability"},
		CEL: `!has(self.renewPeriod) || duration(self.renewPeriod) >= duration('1s')`,
		Message: "spec.highAvailability.renewPeriod must be at least 1s, because every renewal is a write to the API server; " +
			`set it, as "5s"`,
		Check: func(s *subject) {
			d := dbv1.HighAvailability(s.db).RenewPeriod.Duration
			s.refuse(d < minRenew, "spec.highAvailability.renewPeriod", d.String())
		},
	},
	{
		ID: "retry-period", Paths: []string{"spec.highAvailability"},
		CEL: `!has(self.retryPeriod) || duration(self.retryPeriod) >= duration('200ms')`,
		Message: "spec.highAvailability.retryPeriod must be at least 200ms, because a struggling API server must not be hammered; " +
			`set it, as "1s"`,
		Check: func(s *subject) {
			d := dbv1.HighAvailability(s.db).RetryPeriod.Duration
			s.refuse(d < minRetry, "spec.highAvailability.retryPeriod", d.String())
		},
	},
	{
		ID: "renew-order", Paths: []string{"spec.highAvailability"},
		CEL: `!has(self.renewDeadline) || !has(self.renewPeriod) || !has(self.retryPeriod) || duration(self.renewPeriod) + duration(self.retryPeriod) <= duration(self.renewDeadline)`,
		Message: "spec.highAvailability.renewDeadline must be at least renewPeriod and retryPeriod together, because a failed renewal must be tried again before the primary stops; " +
			"raise renewDeadline or lower the periods",
		Check: func(s *subject) {
			ha := dbv1.HighAvailability(s.db)
			s.refuse(ha.RenewPeriod.Duration+ha.RetryPeriod.Duration > ha.RenewDeadline.Duration, "spec.highAvailability.renewDeadline", text(ha.RenewDeadline))
		},
	},
	{
		ID: "renew-deadline", Paths: []string{"spec.highAvailability"},
		CEL: `!has(self.renewDeadline) || !has(self.leaseDuration) || duration(self.renewDeadline) < duration(self.leaseDuration)`,
		Message: "spec.highAvailability.renewDeadline must be less than leaseDuration, because a primary must have stopped before another may start; " +
			"lower it to two thirds of leaseDuration",
		Check: func(s *subject) {
			ha := dbv1.HighAvailability(s.db)
			s.refuse(ha.RenewDeadline.Duration >= ha.LeaseDuration.Duration, "spec.highAvailability.renewDeadline", text(ha.RenewDeadline))
		},
	},
	{
		// A primary that cannot renew is stopped half-way between renewDeadline and leaseDuration, by its own clock. That
		// must be before leaseDuration by a clock that runs a tenth faster: 1.1 (lease+renew)/2 <= lease.
		ID: "clock-margin", Paths: []string{"spec.highAvailability"},
		CEL: `!has(self.renewDeadline) || !has(self.leaseDuration) || duration(self.leaseDuration) > duration('5m') || duration(self.renewDeadline) >= duration(self.leaseDuration) || 11 * int(duration(self.renewDeadline)) <= 9 * int(duration(self.leaseDuration))`,
		Message: "spec.highAvailability.renewDeadline must leave room for clocks that differ by 10 %, because an old primary could still write while a new one starts; " +
			"lower it to two thirds of leaseDuration",
		Check: func(s *subject) {
			ha := dbv1.HighAvailability(s.db)
			lease, renew := ha.LeaseDuration.Duration, ha.RenewDeadline.Duration
			s.refuse(lease <= maxLease && renew < lease && 11*renew > 9*lease, "spec.highAvailability.renewDeadline", renew.String())
		},
	},
	{
		ID: "max-lag", Paths: []string{"spec.highAvailability"},
		// The expression knows the order of magnitude, which is what a forgotten unit gets wrong.
		CEL: `!has(self.maxLag) || (type(self.maxLag) == int ? self.maxLag >= 65536 : self.maxLag.matches('^[+]?(0*[1-9][0-9]{4,}([.][0-9]*)?|0*[1-9][0-9]{7,}([.][0-9]*)?[num]|0*[1-9][0-9]+([.][0-9]*)?(k|Ki)|[0-9.]*[1-9][0-9.]*([MGTPE]i?|[eE][+]?[0-9]+))$'))`,
		Message: "spec.highAvailability.maxLag must be at least 64Ki, because a replica is always a little behind; " +
			`set it, as "16Mi" (a number without a unit is bytes, and m is a thousandth)`,
		Check: func(s *subject) {
			if ha := s.spec.HighAvailability; ha != nil && ha.MaxLag != nil {
				s.refuse(ha.MaxLag.CmpInt64(minLag) < 0, "spec.highAvailability.maxLag", ha.MaxLag.String())
			}
		},
	},
	{
		ID: "tracing-endpoint", Paths: []string{"spec.observability.tracing"},
		CEL: `!has(self.enabled) || !self.enabled || (has(self.endpoint) && size(self.endpoint) > 0)`,
		Message: "spec.observability.tracing.endpoint is required when tracing is enabled, because traces have nowhere else to go; " +
			`set it, as "otel-collector.monitoring:4317"`,
		Check: func(s *subject) {
			t := dbv1.Tracing(s.db)
			s.refuse(t != nil && t.Endpoint == "", "spec.observability.tracing.endpoint", "")
		},
	},
}

// eachWindow visits the maintenance windows.
func (s *subject) eachWindow(visit func(path string, w *dbv1.MaintenanceWindow)) {
	if s.spec.Maintenance == nil {
		return
	}
	for i := range s.spec.Maintenance.Windows {
		visit(fmt.Sprintf("spec.maintenance.windows[%d]", i), &s.spec.Maintenance.Windows[i])
	}
}

func longer(d *metav1.Duration, limit time.Duration) bool { return d != nil && d.Duration > limit }

func text(d *metav1.Duration) string {
	if d == nil {
		return ""
	}
	return d.Duration.String()
}
