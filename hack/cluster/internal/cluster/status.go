// What runs and what does not.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ErrNotReady says that the cluster is down, that a part of it does not work, or that a fault is in force.
var ErrNotReady = errors.New("the cluster is not ready")

// statusLimit is how long all answers together may take: of a cluster with faults some may never come.
const statusLimit = 5 * time.Second

// Status prints what runs, what does not, and which faults are in force.
func (c *Cluster) Status(ctx context.Context, out io.Writer) error {
	s, err := c.loadState()
	if err != nil {
		return err
	}
	if s.Nodes == 0 {
		_, _ = fmt.Fprintln(out, "down")
		return ErrNotReady
	}
	client, err := c.api(s)
	if err != nil {
		return err
	}
	ready := true
	report := func(what string, err error) {
		result := "ok"
		if err != nil {
			ready, result = false, err.Error()
		}
		_, _ = fmt.Fprintf(out, "%-26s %s\n", what, result)
	}
	ask, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	programs := slices.Clone(fabricPrograms)
	for _, n := range c.nodes(s.Nodes) {
		programs = append(programs, n.programs()...)
	}
	for _, name := range programs {
		report(name, c.runs(name))
	}
	report("dns", c.dnsReady(ask))
	for _, n := range c.nodes(s.Nodes) {
		report("node "+n.name, c.nodeReady(ask, client, n))
	}
	for _, f := range s.Faults {
		report("fault", errors.New(f.String()))
	}
	if !ready {
		return ErrNotReady
	}
	return nil
}

// runs returns nil if the program runs.
func (c *Cluster) runs(name string) error {
	r, err := c.table.Record(name)
	if err == nil && !r.Alive() {
		err = errors.New("does not run, see " + c.table.Log(name))
	}
	return err
}
