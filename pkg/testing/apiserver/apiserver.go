// Package apiserver gives tests a real kube-apiserver with the CRDs of this repository.
//
//  1. With TEST_KUBECONFIG set, that cluster is used; nothing is started.
//  2. Else the cluster tool (`make cluster-tool`; hack/cluster) starts etcd and kube-apiserver as a child, on
//     the loopback device, once for each set of flags in a test binary. It ends when its standard input is closed, that
//     is, with the test binary, however that ends; so there is nothing to clean up.
//  3. Without the tool the test is skipped, and says why; with TEST_REQUIRE_APISERVER set, it fails.
//
// There is no kubelet and, unless asked for by a flag, no controller: a namespace never finishes being deleted.
// So every test takes a Namespace of its own.
package apiserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platform-io/database-operator/pkg/testing/cache"
)

// The environment variables that say which API server tests use.
const (
	EnvKubeconfig = "TEST_KUBECONFIG"
	EnvRequire    = "TEST_REQUIRE_APISERVER"
)

// startLimit is how long the start may take on a busy machine.
const startLimit = 3 * time.Minute

// errNoTool: the cluster tool is not built.
var errNoTool = errors.New("the cluster tool is not built")

// server is one API server of this test binary.
type server struct {
	once   sync.Once
	config *rest.Config
	err    error
}

var (
	mu      sync.Mutex
	servers = map[string]*server{}
)

// Start gives the configuration of an API server that has the CRDs. Calls with the same flags share one. The flags
// are those of `cluster apiserver`, as "--controllers=namespace-controller", "--", "--max-requests-inflight=10".
func Start(t testing.TB, flags ...string) *rest.Config {
	t.Helper()
	mu.Lock()
	key := strings.Join(flags, "\x00")
	s := servers[key]
	if s == nil {
		s = &server{}
		servers[key] = s
	}
	mu.Unlock()

	s.once.Do(func() { s.config, s.err = connect(flags) })
	switch {
	case errors.Is(s.err, errNoTool) && os.Getenv(EnvRequire) == "":
		t.Skipf("no API server: %v; `make cluster-tool` builds it, and %s names a cluster to use instead", s.err, EnvKubeconfig)
	case s.err != nil:
		t.Fatalf("starting an API server: %v", s.err)
	}
	return rest.CopyConfig(s.config)
}

// Namespace makes a namespace for one test, and deletes it in the end.
func Namespace(t testing.TB, config *rest.Config) string {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(config).CoreV1().Namespaces()
	namespace, err := client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("making a namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := client.Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("deleting namespace %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}

func connect(flags []string) (*rest.Config, error) {
	kubeconfig := os.Getenv(EnvKubeconfig)
	if kubeconfig == "" {
		var err error
		if kubeconfig, err = launch(flags); err != nil {
			return nil, err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	config.QPS = -1 // no limit
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	crds, err := CRDs()
	if err != nil {
		return nil, err
	}
	if err := InstallCRDs(ctx, config, crds...); err != nil {
		return nil, err
	}
	return config, nil
}

// launch starts the child and returns the path of the kubeconfig that it announces.
func launch(flags []string) (string, error) {
	tool, err := findTool()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "apiserver-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the API server: %w", err)
	}
	cmd := exec.Command(tool, append([]string{"apiserver", "--dir", dir}, flags...)...) //nolint:noctx // ends with its standard input
	if _, err := cmd.StdinPipe(); err != nil {
		return "", fmt.Errorf("connecting to the API server: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("connecting to the API server: %w", err)
	}
	// Not os.Stderr: `go test` would wait for a child that holds it.
	log := &lockedBuffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting %s: %w", tool, err)
	}
	keep = append(keep, cmd)
	timer := time.AfterFunc(startLimit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("waiting for the API server: %w; it says: %s", errors.Join(err, cmd.Wait()), log)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return strings.TrimSpace(line), nil
}

// keep holds the children's pipes: one that is collected is closed, and its child ends.
var keep []*exec.Cmd

func findTool() (string, error) {
	tool, err := cache.ClusterTool()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoTool, err)
	}
	if _, err := os.Stat(tool); err != nil {
		return "", fmt.Errorf("%w: %w", errNoTool, err)
	}
	return tool, nil
}

// lockedBuffer collects what the child says while it starts.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Shared says whether tests use a cluster that they did not start.
func Shared() bool { return os.Getenv(EnvKubeconfig) != "" }
