package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/platform-io/database-operator/pkg/testing/cache"
)

// The programs that are measured, and the one that they need: child processes of this one.

// apiServer is etcd and kube-apiserver. They end with their standard input.
type apiServer struct {
	cmd        *exec.Cmd
	stdin      io.Closer
	kubeconfig string
	auditLog   string
}

func startAPIServer(ctx context.Context, dir string) (*apiServer, error) {
	tool, err := clusterTool()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, tool, "apiserver", "--dir", dir, "--audit")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", tool, err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("wait for the API server: %w; it says: %s", errors.Join(err, cmd.Wait()), &log)
	}
	return &apiServer{cmd: cmd, stdin: stdin, kubeconfig: strings.TrimSpace(line), auditLog: filepath.Join(dir, "audit.log")}, nil
}

func (a *apiServer) stop() error {
	if err := a.stdin.Close(); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	if err := a.cmd.Wait(); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	return nil
}

func clusterTool() (string, error) {
	tool, err := cache.ClusterTool()
	if err != nil {
		return "", fmt.Errorf("find the cluster tool: %w", err)
	}
	if _, err := os.Stat(tool); err != nil {
		return "", fmt.Errorf("the cluster tool is not built; `make cluster-tool` does: %w", err)
	}
	return tool, nil
}

// operator is a running operator.
type operator struct {
	cmd             *exec.Cmd
	metrics, health string
	log             string
}

func startOperator(ctx context.Context, dir, kubeconfig string, args []string) (*operator, error) {
	binary := filepath.Join(dir, "database-operator")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/platform-io/database-operator/cmd/database-operator")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the operator: %w: %s", err, out)
	}
	metrics, health, err := freeAddresses()
	if err != nil {
		return nil, err
	}
	o := &operator{metrics: "http://" + metrics + "/metrics", health: "http://" + health + "/readyz", log: filepath.Join(dir, "operator.log")}
	log, err := os.Create(o.log)
	if err != nil {
		return nil, fmt.Errorf("make the operator's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	o.cmd = exec.CommandContext(ctx, binary, append([]string{
		"--kubeconfig=" + kubeconfig, "--metrics-bind-address=" + metrics, "--health-probe-bind-address=" + health,
		"--leader-elect=false", "--agent-image=bench",
	}, args...)...)
	o.cmd.Stdout, o.cmd.Stderr = log, log
	o.cmd.Cancel = func() error { return o.cmd.Process.Signal(syscall.SIGTERM) }
	o.cmd.WaitDelay = 30 * time.Second
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	for {
		if _, err = get(ctx, o.health); err == nil {
			return o, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for the operator: %w; it says: %s", err, o.lastWords())
		}
	}
}

func (o *operator) stop() error {
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the operator: %w; it says: %s", err, o.lastWords())
	}
	err := o.cmd.Wait()
	if status, ok := o.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM {
		return nil // how it ends is not measured here
	}
	if err != nil {
		return fmt.Errorf("stop the operator: %w; it says: %s", err, o.lastWords())
	}
	return nil
}

// lastWords is the end of the operator's log.
func (o *operator) lastWords() string {
	data, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// scrape reads the operator's metrics.
func (o *operator) scrape(ctx context.Context) (families, error) {
	body, err := get(ctx, o.metrics)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read the operator's metrics: %w", err)
	}
	return parsed, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	return body, nil
}

// freeAddresses finds two on the loopback device on which nothing listens.
func freeAddresses() (string, string, error) {
	var found [2]string
	for i := range found {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return "", "", fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		found[i] = listener.Addr().String()
	}
	return found[0], found[1], nil
}

func sleep(ctx context.Context, wait time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return nil
	}
}

// memory is the resident memory of the operator now, and the most that it ever was, in bytes. The
// kernel counts both.
func (o *operator) memory() (now, peak int64, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(o.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, 0, fmt.Errorf("read the operator's memory: %w", err)
	}
	return kilobytes(string(data), "VmRSS:"), kilobytes(string(data), "VmHWM:"), nil
}

// kilobytes is a line of /proc/PID/status or /proc/meminfo, in bytes; 0 when there is none.
func kilobytes(status, name string) int64 {
	for line := range strings.SplitSeq(status, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}
