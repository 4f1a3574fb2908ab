package elector

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

const (
	// answerLimit is how long a question waits for its answer; its asker waits no longer.
	answerLimit = 500 * time.Millisecond
	// questionSize bounds a question.
	questionSize = 64 << 10
)

// serve implements peerAPI.
func (c *peerClient) serve(ctx context.Context, group *sync.WaitGroup, answer answerer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.options.Listen)
	if err != nil {
		return fmt.Errorf("listen for peers: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+electionPath, c.answering(answer))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second,
		IdleTimeout: 2 * time.Minute,
		// Whoever knocks without a certificate would fill the log.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	group.Go(func() {
		if err := server.Serve(tls.NewListener(listener, c.keys.server())); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "Peers get no answers any more")
		}
	})
	group.Go(func() {
		c.options.Addresses.watch(ctx)
		_ = server.Close()
	})
	return nil
}

// answering is the endpoint. Who may ask, TLS has settled.
func (c *peerClient) answering(answer answerer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerLimit)
		defer cancel()
		var q election.Question
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, questionSize)).Decode(&q); err != nil || q.From == "" || q.Kind == "" {
			http.Error(w, "this is no question", http.StatusBadRequest)
			return
		}
		if address, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			c.options.Addresses.heard(c.options.Host(q.From), address)
		}
		said, err := answer(ctx, q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(said)
	})
}
