package agent

import (
	"os"
	"strconv"
	"strings"
)

// Files that limit memory: of a container, in either version of cgroups.
var memoryLimitFiles = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}

// MemoryLimit is the memory that there can be, in bytes: the smaller one of the container's limit
// and the machine's memory; 0 when neither is known.
func MemoryLimit() int64 { return memoryLimit(os.ReadFile) }

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
