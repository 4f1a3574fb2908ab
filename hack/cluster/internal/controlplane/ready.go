// Talking to an API server that may not be there yet.

package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"
)

// auditPolicy records who did what to which object, but no contents: those include Secrets.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}
`

// AuditPolicy is the content of the audit policy file.
func AuditPolicy() []byte { return []byte(auditPolicy) }

// NewHTTPClient returns a client for the API server. It opens as few connections as it can, and none outlives a restart for long.
func NewHTTPClient(config *tls.Config) *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, IdleConnTimeout: 5 * time.Second},
	}
}

// WaitReady polls /readyz until the API server says that it is ready, or the context ends.
func WaitReady(ctx context.Context, client *http.Client, server string) error {
	var last error
	for {
		if last = get(ctx, client, server+"/readyz"); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the API server is not ready: %w", context.Cause(ctx), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
