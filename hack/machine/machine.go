// Package machine describes where something was measured: numbers of another machine do not compare.
package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is where and when something was measured.
type Machine struct {
	Time   time.Time `json:"time"`
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Memory int64     `json:"memoryBytes"`
	System string    `json:"system"`
	// Load is the load average of the last minute when it began: what else ran.
	Load     string `json:"load"`
	Go       string `json:"go"`
	Revision string `json:"revision"`
}

// Describe describes this machine, now. What cannot be read stays unknown.
func Describe(ctx context.Context) Machine {
	m := Machine{Time: time.Now().UTC(), Cores: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPU: "unknown", Revision: "unknown"}
	if cpu := field("/proc/cpuinfo", "model name"); cpu != "" {
		m.CPU = cpu
	}
	if kilobytes, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kilobytes << 10
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += ", Linux " + strings.TrimSpace(string(data))
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(data), " ")
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Revision = strings.TrimSpace(string(out))
	}
	return m
}

// field is the first value of that name in a file of lines "name: value".
func field(path, wanted string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == wanted {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// String is a line for a person.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %d MiB memory, %s, %s, revision %s, %s, load before %s",
		m.CPU, m.Cores, m.Memory>>20, m.System, m.Go, m.Revision, m.Time.Format(time.RFC3339), m.Load)
}
