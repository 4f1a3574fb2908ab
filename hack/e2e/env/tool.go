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
	cmd := e.command(ctx, ".", e.clusterTool(), args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cluster %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}

// EndFaults ends every fault of the local cluster, and starts again what was killed.
func (e *Env) EndFaults(ctx context.Context) error { return e.Cluster(ctx, "up") }

// ClusterFile is the path of a file in the local cluster's folder.
func (e *Env) ClusterFile(elements ...string) string {
	return filepath.Join(append([]string{e.cache, "cluster"}, elements...)...)
}
