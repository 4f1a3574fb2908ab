package elector

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// The executor carries out what steps decided, one batch after the other, so that nothing overtakes a
// write of the memory that was asked for before it: not even what a later step decided, because that
// was decided with the earlier ones in mind. Nothing is left out either: each written state is one at
// which the machine really was.

// batch is what one step asks for.
type batch struct {
	// disk is kept first, when there is one.
	disk *election.Disk
	// want is then handed to the agent, when it changed.
	want *election.Want
	// actions do not wait for anything themselves.
	actions []func()
}

type executor struct {
	memory  Memory
	metrics *Metrics
	wants   *wants

	mu      sync.Mutex
	queue   []batch
	arrived chan struct{}
}

func newExecutor(memory Memory, metrics *Metrics, wants *wants) *executor {
	return &executor{memory: memory, metrics: metrics, wants: wants, arrived: make(chan struct{}, 1)}
}

// add never blocks.
func (x *executor) add(b batch) {
	x.mu.Lock()
	x.queue = append(x.queue, b)
	x.mu.Unlock()
	select {
	case x.arrived <- struct{}{}:
	default:
	}
}

func (x *executor) take() []batch {
	x.mu.Lock()
	defer x.mu.Unlock()
	taken := x.queue
	x.queue = nil
	return taken
}

// run ends with the context, or never, when a write hangs in the kernel.
func (x *executor) run(ctx context.Context) {
	for {
		for _, b := range x.take() {
			if b.disk != nil && !x.keep(ctx, b.disk) {
				return
			}
			if b.want != nil {
				x.wants.put(*b.want)
			}
			for _, action := range b.actions {
				action()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-x.arrived:
		}
	}
}

// keep tries until it has worked; false when the context ended before.
func (x *executor) keep(ctx context.Context, disk *election.Disk) bool {
	for failed := false; ; {
		err := saveDisk(x.memory, disk)
		if err == nil {
			return true
		}
		x.metrics.memoryErrors.Inc()
		if !failed {
			klog.FromContext(ctx).Error(err, "What is known of the election cannot be kept; what depends on it waits")
			failed = true
		}
		if !pause(ctx, time.Second) {
			return false
		}
	}
}

// wants hands the newest Want to the agent. One that ends the engine comes straight from the loop, past
// older ones that still wait for their batch: those are left out then.
type wants struct {
	hand func(election.Want)

	mu      sync.Mutex
	newest  election.Want
	arrived chan struct{}
}

func newWants(hand func(election.Want)) *wants {
	return &wants{hand: hand, arrived: make(chan struct{}, 1)}
}

// put never blocks.
func (w *wants) put(want election.Want) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if want.Seq <= w.newest.Seq {
		return
	}
	w.newest = want
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

func (w *wants) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.arrived:
		}
		w.mu.Lock()
		want := w.newest
		w.mu.Unlock()
		w.hand(want)
	}
}

// pause waits, and says whether the context still holds.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
