package env

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The checking client (hack/checker) runs as a process of this machine in the network of a node: it needs neither the API server nor a
// kubelet while they are away, and all of them on all nodes have one clock.

// Checker is a checking client that works.
type Checker struct {
	// Log has the outcomes.
	Log    string
	cmd    *exec.Cmd
	output bytes.Buffer
	wait   func() error
}

// BuildChecker builds the checking client, once.
func (e *Env) BuildChecker(ctx context.Context) error {
	cmd := e.command(ctx, ".", "go", "build", "-o", e.checkerProgram(), "./hack/checker")
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the checking client: %w\n%s", err, output)
	}
	return nil
}

func (e *Env) checkerProgram() string { return filepath.Join(e.Root, "out", "checker") }

// StartChecker starts `checker ARGS --log LOG` on a node and waits until it works.
func (e *Env) StartChecker(ctx context.Context, node, log string, args ...string) (*Checker, error) {
	c := &Checker{Log: log}
	c.cmd = e.command(context.WithoutCancel(ctx), ".", e.clusterTool(), append([]string{"exec", node, e.checkerProgram()}, append(args, "--log", log)...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the checking client: %w", err)
	}
	var exit error
	ended := make(chan struct{})
	go func() {
		exit = c.cmd.Wait()
		close(ended)
	}()
	c.wait = func() error { <-ended; return exit }
	err := Poll(ctx, time.Minute, "the checking client to work", func(context.Context) (string, error) {
		select {
		case <-ended:
			return "", nil
		default:
		}
		content, err := os.ReadFile(log)
		if err == nil && !bytes.Contains(content, []byte(`"outcome":"acknowledged"`)) && !bytes.Contains(content, []byte(`"state":"opened"`)) {
			return "nothing was acknowledged yet", nil
		}
		return "", err //nolint:wrapcheck // shown as the last state
	})
	select {
	case <-ended:
		err = fmt.Errorf("the checking client ended: %w: %s", exit, c.output.String())
	default:
	}
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Stop asks the client to end, and waits until it has written its last line.
func (c *Checker) Stop() error {
	// The signal is for the client alone: the program between us and it would end at once, and it with that. A thread of that one started it.
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.cmd.Process.Pid))
	if err != nil {
		return fmt.Errorf("looking for the checking client: %w", err)
	}
	for _, file := range files {
		pids, _ := os.ReadFile(file) // a thread, or all, may just have ended
		for text := range strings.FieldsSeq(string(pids)) {
			if pid, err := strconv.Atoi(text); err == nil {
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	}
	if err := c.wait(); err != nil {
		return fmt.Errorf("the checking client: %w: %s", err, c.output.String())
	}
	return nil
}

// VerifyLogs compares what the clients were told with the rows that are there. The report's failures are no error.
func (e *Env) VerifyLogs(ctx context.Context, node, uriFile string, logs ...string) (history.Report, error) {
	args := []string{"exec", node, e.checkerProgram(), "verify", "--uri-file", uriFile, "--json", "-"}
	for _, log := range logs {
		args = append(args, "--log", log)
	}
	cmd := e.command(ctx, ".", e.clusterTool(), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var report history.Report
	if jsonErr := json.Unmarshal(stdout.Bytes(), &report); jsonErr != nil {
		return report, fmt.Errorf("verifying: %w: %s", errors.Join(err, jsonErr), stderr.String())
	}
	return report, nil
}

// WriteURI writes a file with the address of a Service and the application's credentials.
func (e *Env) WriteURI(ctx context.Context, namespace, database, file string) error {
	uri, err := e.URI(ctx, namespace, database)
	if err != nil {
		return err
	}
	return e.writeNumeric(ctx, uri, namespace, naming.Service(database), file)
}

// WriteReadOnlyURI does so for the Service of replicas.
func (e *Env) WriteReadOnlyURI(ctx context.Context, namespace, database, file string) error {
	uri, err := e.ReadOnlyURI(ctx, namespace, database)
	if err != nil {
		return err
	}
	return e.writeNumeric(ctx, uri, namespace, naming.ReadOnlyService(database), file)
}

// writeNumeric writes an address with the Service's number in it: nodes do not resolve names of Services.
func (e *Env) writeNumeric(ctx context.Context, text, namespace, service, file string) error {
	uri, err := url.Parse(text)
	if err != nil {
		return errors.New("the uri of the credentials cannot be parsed") // the error would have the password
	}
	found, err := e.Kube.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the Service: %w", err)
	}
	uri.Host = net.JoinHostPort(found.Spec.ClusterIP, uri.Port())
	if err := os.WriteFile(file, []byte(uri.String()), 0o600); err != nil {
		return fmt.Errorf("writing the address: %w", err)
	}
	return nil
}
