package agent

import (
	"context"
	"errors"
	"time"

	"k8s.io/klog/v2"
)

// The health poll. It asks the engine, so that probes need not: often when it was just started, then
// every second. One answer that is late or lost says little under load; two in a row end readiness.

const (
	pollStarting  = 100 * time.Millisecond
	pollOften     = 5 * time.Second
	pollRunning   = time.Second
	probeTimeout  = 5 * time.Second
	probeFailures = 2
)

// poll asks until the engine ends.
func (a *Agent) poll(ctx context.Context, engine Engine) {
	period, begin := pollStarting, time.Now()
	for {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		report, err := a.Driver.Probe(probe)
		cancel()
		if err == nil || time.Since(begin) > pollOften {
			period = pollRunning
		}
		a.post(ctx, func(m *memory) { a.probed(m, engine, report, err) })
		timer := time.NewTimer(period)
		select {
		case <-timer.C:
		case <-engine.Done():
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// probed notes an answer, unless it is about an engine that has ended meanwhile.
func (a *Agent) probed(m *memory, engine Engine, report Report, err error) {
	if m.process != engine {
		return
	}
	logger := klog.FromContext(a.background)
	if err != nil {
		a.noAnswer(m, err)
		return
	}
	m.probeFailures, m.noAnswer = 0, ""
	m.silence.broken(time.Now())
	if m.readyAt.IsZero() && report.Refusal != nil && m.config.canFallBack() {
		m.shutOut, m.lastError = true, report.Refusal.Error()
		return
	}
	m.report = &report
	if m.engine == engineRunning {
		return
	}
	m.engine = engineRunning
	if !m.readyAt.IsZero() {
		logger.Info("The engine answers again")
		return
	}
	a.firstAnswer(m, &report)
	logger.Info("The engine answers", "version", report.ServerVersion, "role", report.Role)
}

func (a *Agent) noAnswer(m *memory, err error) {
	if now := time.Now(); errors.Is(err, ErrAlive) {
		m.silence.broken(now)
	} else {
		m.silence.goesOn(now)
	}
	m.noAnswer = err.Error()
	m.probeFailures++
	if m.engine == engineRunning && m.probeFailures >= probeFailures {
		m.engine, m.report = engineStarting, nil
		klog.FromContext(a.background).Info("The engine does not answer", "err", err)
	}
}

// firstAnswer is the first one since the engine was started.
func (a *Agent) firstAnswer(m *memory, report *Report) {
	m.readyAt = time.Now()
	m.lastError, m.config.pendingRestart = "", report.PendingRestart
	if report.Refusal == nil {
		if err := a.configs.MarkGood(m.config.current); err != nil {
			klog.FromContext(a.background).Error(err, "The configuration could not be marked as good")
		}
		m.config.good = a.configs.Good()
	}
}
