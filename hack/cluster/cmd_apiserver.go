// The subcommand `apiserver`: the API server of integration tests, and when it has to end.

package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/cluster/internal/apiserver"
	"github.com/platform-io/database-operator/hack/cluster/internal/build"
)

func newAPIServerCommand() *cobra.Command {
	config := apiserver.Config{}
	keep := false
	cmd := &cobra.Command{
		Use:   "apiserver --dir DIR [-- KUBE-APISERVER-FLAG...]",
		Short: "Run etcd and kube-apiserver alone, on the loopback device, until told to stop",
		Long: `Runs etcd and kube-apiserver alone, for integration tests. When the API server is ready, the path of a kubeconfig of the
administrator (DIR/kubeconfig) is printed. It runs until SIGTERM, until its standard input, if that is a pipe, is closed, or until
its parent ends (not with --outlive-parent); then it removes DIR. Needs no root.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if !keep {
				go cancelWithParent(ctx, cancel)
			}
			go cancelWithStdin(cancel)
			kube, err := buildKube(ctx)
			if err != nil {
				return err
			}
			config.Kube, config.ExtraArgs = kube, args
			return apiserver.Run(ctx, config, os.Stdout)
		},
	}
	cmd.Flags().StringVar(&config.Dir, "dir", "", "folder for everything; removed in the end")
	cmd.Flags().IntVar(&config.Port, "port", 0, "port of the API server on 127.0.0.1; 0 chooses a free one")
	cmd.Flags().StringVar(&config.Controllers, "controllers", "",
		"also run these controllers of kube-controller-manager, comma-separated (such as namespace-controller,garbage-collector-controller)")
	cmd.Flags().BoolVar(&config.Audit, "audit", false, "write an audit log, DIR/audit.log")
	cmd.Flags().BoolVar(&keep, "outlive-parent", false, "do not end with the parent process")
	_ = cmd.MarkFlagRequired("dir") // fails only if the flag does not exist
	return cmd
}

// cancelWithParent cancels when the parent process has ended. Polling is used because the kernel's own signal for this is bound to the
// thread that forked, and threads of a Go test come and go.
func cancelWithParent(ctx context.Context, cancel func()) {
	parent := os.Getppid()
	for ctx.Err() == nil {
		if os.Getppid() != parent {
			cancel()
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// cancelWithStdin cancels when standard input is closed, if it is a pipe; a terminal or /dev/null says nothing.
func cancelWithStdin(cancel func()) {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
}

func buildKube(ctx context.Context) (string, error) {
	b, err := newBuilder()
	if err != nil {
		return "", err
	}
	return b.Program(ctx, build.Kube)
}
