// The cluster as the commands see it: where its parts are, what has to be remembered, how a program is started.

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/cgroup"
	"github.com/platform-io/database-operator/hack/cluster/internal/lock"
	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

// Programs are the paths of the programs that a cluster runs.
type Programs struct {
	Kube, CoreDNS, CSI, CNIDir string
}

// Cluster is the local cluster, running or not.
type Cluster struct {
	cache    paths.Cache
	programs Programs
	log      io.Writer
	tree     cgroup.Tree
	net      network
	table    process.Table
}

// New returns the cluster of a cache. The programs are needed only to bring it up.
func New(cache paths.Cache, programs Programs, log io.Writer) (*Cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the local cluster needs root: it makes network namespaces, control groups and mounts")
	}
	tree, err := cgroup.Detect(cache.Instance())
	if err != nil {
		return nil, err
	}
	return &Cluster{
		cache: cache, programs: programs, log: log, tree: tree, net: network(cache.Instance()),
		table: process.Table{Records: cache.Cluster("run"), Logs: cache.Cluster("logs")},
	}, nil
}

// Lock keeps other commands from changing the cluster until the returned function is called or this process ends.
func (c *Cluster) Lock() (func(), error) {
	return lock.Acquire(filepath.Join(string(c.cache), "cluster.lock"))
}

// state is what has to be remembered about a running cluster.
type state struct {
	Nodes int  `json:"nodes"`
	Port  int  `json:"port"` // of the API server on the host's loopback device
	Audit bool `json:"audit"`
	// Faults are in force.
	Faults []fault `json:"faults,omitempty"`
}

func (c *Cluster) loadState() (state, error) {
	var s state
	data, err := os.ReadFile(c.cache.Cluster("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading the cluster's state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("decoding the cluster's state (`down` will clean up): %w", err)
	}
	return s, nil
}

func (c *Cluster) saveState(s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the cluster's state: %w", err)
	}
	return writeFile(c.cache.Cluster("state.json"), data)
}

func (c *Cluster) nodes(count int) []node {
	nodes := make([]node, 0, count)
	for i := range count {
		nodes = append(nodes, newNode(c.cache, i+1))
	}
	return nodes
}

// node returns a node by its name, which is that of one.
func (c *Cluster) node(name string) node {
	number, _ := strconv.Atoi(strings.TrimPrefix(name, "n"))
	return newNode(c.cache, number)
}

// api returns a client of the API server.
func (c *Cluster) api(s state) (*api, error) {
	return newAPI(c.pki(), "https://127.0.0.1:"+strconv.Itoa(s.Port))
}

func (c *Cluster) pki() pki.Dir { return pki.Dir(c.cache.Cluster("pki")) }

// start starts a program in the namespace and the control group of a node or of the fabric.
func (c *Cluster) start(ctx context.Context, place, name string, args []string, files ...*os.File) error {
	if err := c.tree.Create(place, "system"); err != nil {
		return err
	}
	return c.table.Start(ctx, process.Spec{
		Name: name, Args: args, Netns: c.net.file(place), Cgroups: c.tree.JoinFiles(place, "system"), Files: files,
	})
}

// step tells what is being done and when that began.
func (c *Cluster) step(began time.Time, format string, args ...any) {
	_, _ = fmt.Fprintf(c.log, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// writeFile writes a file in one step, so that what exists is complete.
func writeFile(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
