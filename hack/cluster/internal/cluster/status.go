// What runs and what does not.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNotReady says that the cluster is down, or that a part of it does not work.
var ErrNotReady = errors.New("the cluster is not ready")

// Status prints what runs and what does not.
func (c *Cluster) Status(ctx context.Context, out io.Writer) error {
	s, err := c.loadState()
	if err != nil {
		return err
	}
	if s.Nodes == 0 {
		_, _ = fmt.Fprintln(out, "down")
		return ErrNotReady
	}
	records, err := filepath.Glob(filepath.Join(c.table.Records, "*.json"))
	if err != nil {
		return fmt.Errorf("listing process records: %w", err)
	}
	ready := true
	report := func(what string, err error) {
		result := "ok"
		if err != nil {
			ready, result = false, err.Error()
		}
		_, _ = fmt.Fprintf(out, "%-26s %s\n", what, result)
	}
	for _, file := range records {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		r, err := c.table.Record(name)
		if err == nil && !r.Alive() {
			err = errors.New("ended, see " + c.table.Log(name))
		}
		report(name, err)
	}
	client, err := newAPI(c.pki(), "https://127.0.0.1:"+strconv.Itoa(s.Port))
	if err != nil {
		return err
	}
	for _, n := range c.nodes(s.Nodes) {
		report("node "+n.name, client.nodeReady(ctx, n.name))
	}
	report("dns", c.dnsReady(ctx))
	if !ready {
		return ErrNotReady
	}
	return nil
}
