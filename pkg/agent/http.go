package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Probes, from memory: no query and no API call.
//
//	/livez     the loop turns. An engine that is down is the agent's task, not the kubelet's.
//	/startupz  the loop turns and the engine was started, is being made, waits for others (an election,
//	           a primary to copy from, the API server), or a person must act: a restart of the container
//	           would help none of these.
//	/readyz    the engine answers, its role is settled, its data is the recorded one. Until it was ready once, the
//	           answer waits for that: a start that goes well then leaves no events of failed probes, and the kubelet
//	           learns of its end at once.

// firstPatience is how long the answer waits. It is less than the kubelet's time-out, which is for agents that hang.
const firstPatience = 4 * time.Second

// deadAfter is how long the loop may not turn.
const deadAfter = 30 * time.Second

// health is what the probes tell.
type health struct {
	state atomic.Pointer[healthState]
}

type healthState struct {
	started, ready bool
	// wasReady is true once it was ready in the life of this process.
	wasReady bool
	message  string
}

// set notes what the loop found.
func (h *health) set(status dbv1.DatabaseInstanceStatus, m *memory, next step) {
	old := h.state.Load()
	started := old != nil && old.started || m.process != nil ||
		status.Phase != dbv1.InstanceStarting || next.reason == ReasonElecting || next.reason == ReasonWaiting
	h.state.Store(&healthState{
		started: started, ready: status.Ready, wasReady: status.Ready || old != nil && old.wasReady,
		message: string(status.Phase) + ": " + status.Message,
	})
}

// awaitFirst waits for the first time that the engine is ready, but not for long.
func (h *health) awaitFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	// Its end without success is told by the state.
	_ = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		state := h.state.Load()
		return state != nil && state.wasReady, nil
	})
}

// serve answers probes and gives metrics until the context ends.
func (a *Agent) serve(ctx context.Context, group *sync.WaitGroup) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", a.probeHandler(func(*healthState) bool { return true }))
	mux.HandleFunc("GET /startupz", a.probeHandler(func(s *healthState) bool { return s.started }))
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics.registry, promhttp.HandlerOpts{}))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.Listen)
	if err != nil {
		return fmt.Errorf("listen for probes: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "The HTTP server ended")
		}
	})
	group.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	return nil
}

func (a *Agent) readyz(w http.ResponseWriter, r *http.Request) {
	a.health.awaitFirst(r.Context())
	a.probeHandler(func(s *healthState) bool { return s.ready })(w, r)
}

func (a *Agent) probeHandler(good func(*healthState) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		state := a.health.state.Load()
		if state == nil {
			state = &healthState{started: true, message: "the agent waits for its volume"}
		}
		if age := time.Since(time.Unix(0, a.heartbeat.Load())); age > deadAfter {
			http.Error(w, fmt.Sprintf("the agent's loop has not turned for %s", age.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		if !good(state) {
			http.Error(w, state.message, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
