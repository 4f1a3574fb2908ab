package driver

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/platform-io/database-operator/pkg/agent"
)

// Memory.
//
// Nodes of Kubernetes overcommit memory, so a server whose shared memory is larger than there is
// starts all the same, and takes the node's memory with it until something is killed. The server's
// program tells how much it would ask for, but only while no server runs; so that is asked before
// each start, and a start that cannot end well is not tried.

// sharedMemorySince is the first version that tells its need.
const sharedMemorySince = 15

// checkMemory says when the configuration needs more memory than there can be.
func (d *Driver) checkMemory(ctx context.Context, path, major, configDir string) error {
	// What is no number is older than that.
	if version, _ := strconv.Atoi(major); version < sharedMemorySince {
		return nil
	}
	need, known := d.sharedMemory(ctx, path, configDir)
	limit := agent.MemoryLimit() >> 20
	if known && limit > 0 && need > limit {
		return fmt.Errorf("the configuration needs %d MB of shared memory (shared_buffers, max_connections and others), but the container has only %d MB", need, limit)
	}
	return nil
}

// sharedMemory is how many megabytes the server would ask for. When its program does not tell, the
// start itself says better what is wrong.
func (d *Driver) sharedMemory(ctx context.Context, path, configDir string) (megabytes int64, known bool) {
	out, _, err := d.output(command(ctx, path, append(d.serverArgs(configDir), "-C", "shared_memory_size")...))
	if err != nil {
		return 0, false
	}
	megabytes, err = strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	return megabytes, err == nil
}
