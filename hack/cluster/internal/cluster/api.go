// The few calls of the API server by which `up` applies its objects and sees that the cluster works.

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/controlplane"
	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

// fieldManager is our name for server-side apply.
const fieldManager = "hack-cluster"

// api is the little of a client that is needed here; client-go would make this program slow to build.
type api struct {
	server string
	client *http.Client
}

func newAPI(certs pki.Dir, server string) (*api, error) {
	tls, err := certs.Client(pki.Admin.Name)
	if err != nil {
		return nil, err
	}
	return &api{server: server, client: controlplane.NewHTTPClient(tls)}, nil
}

// apply applies an object by server-side apply.
func (a *api) apply(ctx context.Context, r resource) error {
	body, err := json.Marshal(r.object)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", r.path, err)
	}
	return a.call(ctx, http.MethodPatch, r.path+"?force=true&fieldManager="+fieldManager, body, nil)
}

// get reads an object.
func (a *api) get(ctx context.Context, path string, out any) error {
	return a.call(ctx, http.MethodGet, path, nil, out)
}

func (a *api) call(ctx context.Context, method, path string, body []byte, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("calling the API server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the API server's answer: %w", err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(data)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// The parts of Node, CSINode and ServiceAccount that are looked at.
type (
	nodeObject struct {
		Status struct {
			Addresses  []struct{ Address string }
			Conditions []struct {
				Type, Status, Message string
				LastHeartbeatTime     time.Time
			}
		}
	}
	csiNodeObject struct {
		Spec struct {
			Drivers []struct{ Name string }
		}
	}
)

// nodeKnown returns nil if a node has registered, with its addresses.
func (a *api) nodeKnown(ctx context.Context, name string) error {
	var n nodeObject
	if err := a.get(ctx, "/api/v1/nodes/"+name, &n); err != nil {
		return err
	}
	if len(n.Status.Addresses) == 0 {
		return errors.New("node " + name + " has no address yet")
	}
	return nil
}

// nodeReady returns nil if Pods with volumes can run on a node, as its kubelet has reported since it was started.
func (c *Cluster) nodeReady(ctx context.Context, client *api, n node) error {
	since, err := c.table.Started(n.process("kubelet"))
	if err != nil {
		return err
	}
	return client.nodeReady(ctx, n.name, since)
}

// nodeReady returns nil if Pods with volumes can run on a node, and it has reported since then.
func (a *api) nodeReady(ctx context.Context, name string, since time.Time) error {
	var n nodeObject
	if err := a.get(ctx, "/api/v1/nodes/"+name, &n); err != nil {
		return err
	}
	ready := false
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			if c.Status != "True" {
				return errors.New("node " + name + " is not ready: " + c.Message)
			}
			// Times in the API are whole seconds.
			ready = !c.LastHeartbeatTime.Before(since.Truncate(time.Second))
		}
	}
	if !ready {
		return errors.New("node " + name + " has not reported yet")
	}
	var drivers csiNodeObject
	if err := a.get(ctx, "/apis/storage.k8s.io/v1/csinodes/"+name, &drivers); err != nil {
		return err
	}
	for _, d := range drivers.Spec.Drivers {
		if d.Name == csiDriver {
			return nil
		}
	}
	return errors.New("the CSI driver has not registered on node " + name)
}

// retry calls until there is no error, or the context ends, or a program has.
func retry(ctx context.Context, call func() error) error {
	for {
		err := call()
		if _, ended := errors.AsType[*endedError](err); err == nil || ended {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
