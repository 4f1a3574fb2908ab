// Package env gives the demo and the end-to-end tests a cluster with the operator in it.
//
//  1. Open takes the cluster of KUBECONFIG, or, without one or with that of the local cluster, brings up the local one of
//     hack/cluster, with what it needs.
//  2. InstallOperator puts the CRDs, the RBAC rules and the Deployment of the working tree into it. On the local cluster the image
//     is built and loaded; elsewhere the cluster must be able to get the image that IMAGE names.
//  3. Close takes the local cluster down again, if Open brought it up.
package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/testing/cache"
)

// DefaultImage is the operator's image in the manifests.
const DefaultImage = "docker.io/platform-io/database-operator:dev"

// nodes is how many nodes the local cluster gets: one for each of three instances that are kept apart.
const nodes = "3"

// Env is a cluster.
type Env struct {
	Config *rest.Config
	Kube   kubernetes.Interface
	DB     versioned.Interface
	// Local says that it is the local cluster: its processes are those of this machine.
	Local bool
	// Started says that this Open brought it up.
	Started bool
	// Root is the folder of the repository.
	Root string

	kubeconfig, cache string
	log               io.Writer
}

// Open connects to the cluster, and brings the local one up if it has to. What it does it writes to log.
func Open(ctx context.Context, log io.Writer) (*Env, error) {
	e := &Env{log: log, kubeconfig: os.Getenv("KUBECONFIG")}
	if err := e.findFolders(ctx); err != nil {
		return nil, err
	}
	if e.namesLocal() {
		if err := e.up(ctx); err != nil {
			return nil, err
		}
	}
	return e, e.connect()
}

// Attach connects to the cluster if there is one, and returns nil without an error if there is none.
func Attach(ctx context.Context, log io.Writer) (*Env, error) {
	e := &Env{log: log, kubeconfig: os.Getenv("KUBECONFIG")}
	if err := e.findFolders(ctx); err != nil {
		return nil, err
	}
	if e.namesLocal() {
		e.Local, e.kubeconfig = true, e.localKubeconfig()
		if _, err := os.Stat(e.kubeconfig); errors.Is(err, os.ErrNotExist) && !e.Marked() {
			return nil, nil //nolint:nilnil // there is none, which is no error
		}
	}
	if err := e.connect(); err != nil && !e.Marked() {
		return nil, err
	}
	return e, nil
}

func (e *Env) findFolders(ctx context.Context) error {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("looking for the repository: %w", err)
	}
	e.Root = filepath.Dir(strings.TrimSpace(string(mod)))
	e.cache, err = cache.Dir()
	return err
}

func (e *Env) localKubeconfig() string { return filepath.Join(e.cache, "cluster", "kubeconfig") }

// namesLocal is true when nobody chose another cluster: who looks around in the local one has KUBECONFIG set to its file.
func (e *Env) namesLocal() bool {
	return e.kubeconfig == "" || filepath.Clean(e.kubeconfig) == e.localKubeconfig()
}

// marker is a file that says that the local cluster was brought up here, and not by a person with `make cluster-up`. It goes with the
// cluster, whoever takes that down.
func (e *Env) marker() string { return e.ClusterFile("started-by-env") }

// Marked says whether the local cluster was brought up by the demo or the tests.
func (e *Env) Marked() bool {
	_, err := os.Stat(e.marker())
	return e.Local && err == nil
}

func (e *Env) clusterTool() string { return filepath.Join(e.cache, "bin", "cluster") }

// up brings up the local cluster.
func (e *Env) up(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the local cluster needs root; run as root, or set KUBECONFIG to use another cluster")
	}
	e.Local, e.kubeconfig = true, e.localKubeconfig()
	if err := e.run(ctx, "hack/cluster", nil, "go", "build", "-o", e.clusterTool(), "."); err != nil {
		return err
	}
	if err := e.claim(ctx); err != nil {
		return err
	}
	args := []string{"up"}
	if e.Started {
		args = append(args, "--nodes", nodes, "--audit")
	}
	return e.run(ctx, ".", nil, e.clusterTool(), args...)
}

// claim decides whether this Open brings the cluster up, and then notes that it is ours, before there is anything of it. A cluster
// whose folder is there without the note is a person's, also if it does not answer, as after a reboot.
func (e *Env) claim(ctx context.Context) error {
	_, err := os.Stat(e.ClusterFile())
	if person := err == nil && !e.Marked(); person || e.connect() == nil && e.answers(ctx) == nil {
		return nil
	}
	if err := errors.Join(os.MkdirAll(e.ClusterFile(), 0o750), os.WriteFile(e.marker(), nil, 0o600)); err != nil {
		return fmt.Errorf("noting that the cluster is ours: %w", err)
	}
	e.Started = true
	return nil
}

func (e *Env) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return e.Kube.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (e *Env) connect() error {
	// KUBECONFIG may name several files, which are read as one.
	files := clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(e.kubeconfig)}
	loaded, err := files.Load()
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.kubeconfig, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.kubeconfig, err)
	}
	config.QPS = -1 // no limit
	config.WarningHandlerWithContext = rest.NoWarnings{}
	e.Config = config
	if e.Kube, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	if e.DB, err = versioned.NewForConfig(config); err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	return nil
}

// Close takes the local cluster down if Open brought it up.
func (e *Env) Close(ctx context.Context) error {
	if !e.Started {
		return nil
	}
	return e.Down(ctx)
}

// Down takes the local cluster down.
func (e *Env) Down(ctx context.Context) error {
	if !e.Local {
		return nil
	}
	return e.run(ctx, ".", nil, e.clusterTool(), "down")
}

// Logf writes a line to the log.
func (e *Env) Logf(format string, args ...any) { _, _ = fmt.Fprintf(e.log, format+"\n", args...) }

// Kubectl runs kubectl and returns what it printed.
func (e *Env) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := e.command(ctx, ".", filepath.Join(e.Root, "hack", "kubectl"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// run runs a program in a folder of the repository and shows its output.
func (e *Env) run(ctx context.Context, dir string, stdin io.Reader, program string, args ...string) error {
	cmd := e.command(ctx, dir, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, e.log, e.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return nil
}

func (e *Env) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = filepath.Join(e.Root, dir)
	cmd.Env = append(os.Environ(), "GOWORK=off", cache.Env+"="+e.cache)
	if e.kubeconfig != "" && !e.Local {
		cmd.Env = append(cmd.Env, "KUBECONFIG="+e.kubeconfig)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd
}
