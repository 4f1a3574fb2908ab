package agent

import (
	"os"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	const v2, v1, machine = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/meminfo"
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing is known":      {nil, 0},
		"no limit":              {map[string]string{v2: "max\n", machine: "MemTotal:        1024 kB\nMemFree: 1 kB\n"}, 1 << 20},
		"cgroup 2":              {map[string]string{v2: "4096\n", machine: "MemTotal: 1024 kB\n"}, 4096},
		"cgroup 1":              {map[string]string{v1: "8192\n", machine: "MemTotal: 1024 kB\n"}, 8192},
		"cgroup 1, no limit":    {map[string]string{v1: "9223372036854771712\n", machine: "MemTotal: 1024 kB\n"}, 1 << 20},
		"not what was expected": {map[string]string{v2: "?", machine: "?"}, 0},
	} {
		got := memoryLimit(func(path string) ([]byte, error) {
			if content, ok := test.files[path]; ok {
				return []byte(content), nil
			}
			return nil, os.ErrNotExist
		})
		if got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}
