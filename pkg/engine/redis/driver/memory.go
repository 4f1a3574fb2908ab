package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// Memory.
//
// What data may take follows from the limit of the container that the server is in, which only the agent
// knows: the spec's may be that of the next pod. With more than there is, the kernel would kill the
// server. So maxmemory is given on the command line where the file does not say it, or says too much.

// memoryShare is the part of the memory limit, in percent, that data gets. While the append-only file is
// rewritten, a copy of every page that changes meanwhile is needed; so are buffers of clients. The agent
// and the server themselves need memoryOthers, whatever the limit.
const (
	memoryShare  = 70
	memoryOthers = 48 << 20
)

// maxmemoryLine is the setting as the operator writes it, in bytes.
var maxmemoryLine = regexp.MustCompile(`(?m)^maxmemory "(\d+)"$`)

// memoryArgs are the arguments for a server with the configuration of a folder.
func (d *Driver) memoryArgs(configDir string) ([]string, error) {
	content, err := os.ReadFile(filepath.Join(configDir, fileConf))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if bytes := maxmemory(string(content), d.memoryLimit()); bytes > 0 {
		return []string{"--maxmemory", strconv.FormatInt(bytes, 10)}, nil
	}
	return nil, nil
}

// maxmemory is what a container with a limit has in place of what the file says, 0 when that is fine, or no
// limit is known.
func maxmemory(config string, limit int64) int64 {
	if limit <= memoryOthers {
		return 0
	}
	// The last line counts.
	if lines := maxmemoryLine.FindAllStringSubmatch(config, -1); len(lines) > 0 {
		// What is no number here is far too large.
		if bytes, err := strconv.ParseInt(lines[len(lines)-1][1], 10, 64); err == nil && bytes <= limit {
			return 0
		}
	}
	return min(limit/100*memoryShare, limit-memoryOthers)
}
