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
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Probes, from memory: no query and no API call.
//
//	/livez     the loop turns. An engine that is down is the agent's task, not the kubelet's.
//	/startupz  the loop turns and the engine was started, is being made, waits for others (an election,
//	           a primary to copy from, the API server), or a person must act: a restart of the container
//	           would help none of these.
//	/readyz    the engine answers, its role is settled, its data is the recorded one.

// deadAfter is how long the loop may not turn.
const deadAfter = 30 * time.Second

// health is what the probes tell.
type health struct {
	state atomic.Pointer[healthState]
}

type healthState struct {
	started, ready bool
	message        string
}

// set notes what the loop found.
func (h *health) set(status dbv1.DatabaseInstanceStatus, m *memory, next step) {
	old := h.state.Load()
	started := old != nil && old.started || m.process != nil ||
		status.Phase != dbv1.InstanceStarting || next.reason == ReasonElecting || next.reason == ReasonWaiting
	h.state.Store(&healthState{started: started, ready: status.Ready, message: string(status.Phase) + ": " + status.Message})
}

// serve answers probes and gives metrics until the context ends.
func (a *Agent) serve(ctx context.Context, group *sync.WaitGroup) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", a.probeHandler(func(*healthState) bool { return true }))
	mux.HandleFunc("GET /startupz", a.probeHandler(func(s *healthState) bool { return s.started }))
	mux.HandleFunc("GET /readyz", a.probeHandler(func(s *healthState) bool { return s.ready }))
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
