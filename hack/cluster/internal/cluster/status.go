// What runs and what does not.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
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
	for _, name := range c.allPrograms(s.Nodes) {
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

// allPrograms are the names of all processes of a cluster.
func (c *Cluster) allPrograms(nodes int) []string {
	programs := slices.Clone(fabricPrograms)
	for _, n := range c.nodes(nodes) {
		programs = append(programs, n.programs()...)
	}
	return programs
}

// endedError says that a program has ended that is waited for, or needed for that.
type endedError struct{ name, log, words string }

func (e *endedError) Error() string {
	return fmt.Sprintf("%s has ended; its log %s ends so:\n%s", e.name, e.log, e.words)
}

// await calls until there is no error, or the context ends, or one of the programs does not run: nobody starts it again.
func (c *Cluster) await(ctx context.Context, programs []string, call func() error) error {
	return retry(ctx, func() error {
		err := call()
		for _, name := range programs {
			if c.runs(name) != nil {
				return &endedError{name: name, log: c.table.Log(name), words: lastLines(c.table.Log(name))}
			}
		}
		return err
	})
}

// lastLines are the last ones of a log.
func lastLines(file string) string {
	const lines = 10
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// runs returns nil if the program runs.
func (c *Cluster) runs(name string) error {
	r, err := c.table.Record(name)
	if err == nil && !r.Alive() {
		err = errors.New("does not run, see " + c.table.Log(name))
	}
	return err
}
