package driver

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory.
//
// Nodes of Kubernetes overcommit memory, so a server whose shared memory is larger than there is
// starts all the same, and takes the node's memory with it until something is killed. The server's
// program tells how much it would ask for, but only while no server runs; so that is asked before
// each start, and a start that cannot end well is not tried.

// sharedMemorySince is the first version that tells its need.
const sharedMemorySince = 15

// Files that limit memory: of a container, in either version of cgroups.
var memoryLimitFiles = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}

// checkMemory says when the configuration needs more memory than there can be.
func (d *Driver) checkMemory(ctx context.Context, path, major, configDir string) error {
	// What is no number is older than that.
	if version, _ := strconv.Atoi(major); version < sharedMemorySince {
		return nil
	}
	need, known := d.sharedMemory(ctx, path, configDir)
	limit := memoryLimit(os.ReadFile) >> 20
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

// memoryLimit is the memory that there can be, in bytes: the smaller one of the container's limit
// and the machine's memory; 0 when neither is known.
func memoryLimit(read func(string) ([]byte, error)) int64 {
	limit := int64(0)
	lower := func(bytes int64) {
		if bytes > 0 && (limit == 0 || bytes < limit) {
			limit = bytes
		}
	}
	for _, path := range memoryLimitFiles {
		// "max" is no number, and no limit.
		if content, err := read(path); err == nil {
			if bytes, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64); err == nil {
				lower(bytes)
			}
		}
	}
	if content, err := read("/proc/meminfo"); err == nil {
		fields := strings.Fields(string(content))
		if len(fields) > 1 && fields[0] == "MemTotal:" {
			if kilobytes, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				lower(kilobytes << 10)
			}
		}
	}
	return limit
}
