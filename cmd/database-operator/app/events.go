package app

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	dbscheme "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/scheme"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Events are written beside the syncs that made them. Those of the last syncs outlive the signal that ends the
// process: the recorder is not bound to it, and stopping it waits for what is on its way.

// How long the last events are waited for, and how long they take at most to get to the sink.
const (
	eventsLimit = 3 * time.Second
	eventsQuiet = 200 * time.Millisecond
)

// countingSink knows how many events are being written.
type countingSink struct {
	events.EventSink
	writing atomic.Int32
}

func (s *countingSink) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	return s.EventSink.Create(ctx, event)
}

func (s *countingSink) Patch(ctx context.Context, event *eventsv1.Event, data []byte) (*eventsv1.Event, error) {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	return s.EventSink.Patch(ctx, event, data)
}

// record starts a recorder of events. Whoever stops it waits for the last ones.
func record(ctx context.Context, kube kubernetes.Interface) (recorder events.EventRecorder, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	sink := &countingSink{EventSink: &events.EventSinkImpl{Interface: kube.EventsV1()}}
	broadcaster := events.NewBroadcaster(sink)
	stop = func() {
		limited, end := context.WithTimeout(ctx, eventsLimit)
		defer end()
		_ = wait.PollUntilContextCancel(limited, eventsQuiet, false, func(context.Context) (bool, error) { return sink.writing.Load() == 0, nil })
		cancel()
		broadcaster.Shutdown()
	}
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		stop()
		return nil, nil, fmt.Errorf("record events: %w", err)
	}
	return broadcaster.NewRecorder(dbscheme.Scheme, naming.ManagedBy), stop, nil
}
