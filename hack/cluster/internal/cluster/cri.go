// When a container runtime is ready for a kubelet, which asks once and ends without an answer.

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// runtimeReady returns nil if containerd answers as a kubelet wants: it listens a while before it does, longer on a busy machine. The
// call is gRPC, by hand: an empty message each way, and the status at the end. The library would make this program slow to build.
func runtimeReady(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	frame := make([]byte, 5) // not compressed, of no length
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/runtime.v1.RuntimeService/Version", bytes.NewReader(frame))
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("asking the container runtime: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("reading the container runtime's answer: %w", err)
	}
	status := response.Trailer
	if response.Header.Get("Grpc-Status") != "" {
		status = response.Header // an answer without a message
	}
	if code := status.Get("Grpc-Status"); code != "0" {
		return fmt.Errorf("the container runtime is not ready: %s, status %q: %s", response.Status, code, status.Get("Grpc-Message"))
	}
	return nil
}
