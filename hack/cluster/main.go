// Command cluster runs a real Kubernetes on one Linux machine, without Docker and without an image registry, for the demo, the
// tests and development; see README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:gocritic // the signal handler needs no cleaning up at the end
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A local Kubernetes without Docker and without a registry",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newBuildCommand(), newEnginesCommand(), newUpCommand(), newDownCommand(), newStatusCommand(), newKubeconfigCommand(),
		newLoadImageCommand(), newImageCommand(), newExecCommand(), newLogsCommand(), newAPIServerCommand(),
		newPartitionCommand(), newHealCommand(), newFreezeCommand(), newThawCommand(), newKillCommand(), newStartCommand(),
		newPauseCommand(), newResumeCommand(), newStopCommand(),
		newShimCommand(), newForwardCommand(), newResolveCommand(),
	)
	return root
}

// newShimCommand is how this program starts others; see process.Exec.
func newShimCommand() *cobra.Command {
	return &cobra.Command{
		Use:    process.ShimCommand + " SPEC",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return process.Exec(args[0]) },
	}
}
