package elector

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// pulsePeriod is the pause between two tests.
const pulsePeriod = time.Second

// Pulse knows when the volume and the engine last answered.
type Pulse struct {
	clock func() time.Duration
	test  func(ctx context.Context) error
	at    atomic.Int64
	busy  atomic.Bool
}

// NewPulse makes one. The test writes and syncs a little on the volume, and asks the engine where it
// runs. It may hang for ever: then no other is begun.
func NewPulse(clock func() time.Duration, test func(ctx context.Context) error) *Pulse {
	p := &Pulse{clock: clock, test: test}
	p.at.Store(-1)
	return p
}

// At is when a test last succeeded, for Facts.HealthyAt; negative before the first.
func (p *Pulse) At() time.Duration { return time.Duration(p.at.Load()) }

// Run tests once a second until the context ends. It does not wait for a test that hangs.
func (p *Pulse) Run(ctx context.Context) {
	ticker := time.NewTicker(pulsePeriod)
	defer ticker.Stop()
	for {
		if p.busy.CompareAndSwap(false, true) {
			go p.once(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (p *Pulse) once(ctx context.Context) {
	defer p.busy.Store(false)
	// A query that gets no answer ends with this; a write that hangs in the kernel does not.
	ctx, cancel := context.WithTimeout(ctx, election.StallTimeout)
	defer cancel()
	if err := p.test(ctx); err != nil {
		klog.FromContext(ctx).V(2).Info("The volume or the engine does not answer", "err", err)
		return
	}
	p.at.Store(int64(p.clock()))
}
