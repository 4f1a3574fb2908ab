package env

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Cluster runs a command of the local cluster's program, as in Cluster(ctx, "partition", "n1").
func (e *Env) Cluster(ctx context.Context, args ...string) error {
	_, err := e.capture(ctx, e.clusterTool(), args...)
	return err
}

// BuildPlugin builds the kubectl plugin, once.
func (e *Env) BuildPlugin(ctx context.Context) error {
	_, err := e.capture(ctx, "go", "build", "-o", e.plugin(), "./cmd/kubectl-database")
	return err
}

// Plugin runs a command of the kubectl plugin, as in Plugin(ctx, "switchover", "ha").
func (e *Env) Plugin(ctx context.Context, args ...string) error {
	if e.Local { // else KUBECONFIG says it, which may name several files
		args = append([]string{"--kubeconfig", e.kubeconfig}, args...)
	}
	_, err := e.capture(ctx, e.plugin(), args...)
	return err
}

func (e *Env) plugin() string { return filepath.Join(e.Root, "out", "kubectl-database") }

// BuildImage makes an image that the local cluster does not have by itself, if the cache lacks it, and loads it into the nodes.
func (e *Env) BuildImage(ctx context.Context, name string) error {
	output, err := e.capture(ctx, e.clusterTool(), "image", "build", name)
	if err != nil {
		return err
	}
	lines := strings.Fields(output)
	return e.Cluster(ctx, "load-image", "--tar", lines[len(lines)-1]) // the last one is the archive's path
}

// capture runs a program in the folder of the repository and returns what it printed.
func (e *Env) capture(ctx context.Context, program string, args ...string) (string, error) {
	cmd := e.command(ctx, ".", program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(stdout.String()+stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// EndFaults ends every fault of the local cluster, and starts again what was killed.
func (e *Env) EndFaults(ctx context.Context) error { return e.Cluster(ctx, "up") }

// ClusterFile is the path of a file in the local cluster's folder.
func (e *Env) ClusterFile(elements ...string) string {
	return filepath.Join(append([]string{e.cache, "cluster"}, elements...)...)
}
