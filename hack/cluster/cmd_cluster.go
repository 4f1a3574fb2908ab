// The subcommands that concern the cluster itself, from `up` to `down`.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/cluster/internal/build"
	"github.com/platform-io/database-operator/hack/cluster/internal/cluster"
	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

func newUpCommand() *cobra.Command {
	var options cluster.UpOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or what of it is missing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			programs, err := buildAll(cmd.Context(), b)
			if err != nil {
				return err
			}
			return withCluster(programs, func(c *cluster.Cluster) error { return c.Up(cmd.Context(), options) })
		},
	}
	cmd.Flags().IntVar(&options.Nodes, "nodes", 0, "number of nodes; 0 means as many as there are, or one")
	cmd.Flags().BoolVar(&options.Audit, "audit", false, "let the API server write an audit log")
	return cmd
}

func newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the cluster down and remove everything but the caches, also after up was killed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := paths.Default()
			if err != nil {
				return err
			}
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error {
				return errors.Join(c.Down(cmd.Context()), build.Prune(cache))
			})
		},
	}
}

func newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what runs; fails if anything does not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCluster(cluster.Programs{}, os.Stderr)
			if err != nil {
				return err
			}
			return c.Status(cmd.Context(), os.Stdout)
		},
	}
}

func newKubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cache, err := paths.Default()
			if err != nil {
				return err
			}
			_, err = fmt.Println(cache.Kubeconfig())
			return err
		},
	}
}

func newExecCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "exec NODE|fab COMMAND...",
		Short:              "Run a command in the network namespace of a node, or of the control plane, and end as it does",
		Args:               cobra.MinimumNArgs(2),
		DisableFlagParsing: true,
		RunE: func(self *cobra.Command, args []string) error {
			c, err := openCluster(cluster.Programs{}, os.Stderr)
			if err != nil {
				return err
			}
			cmd, err := c.Command(self.Context(), args[0], args[1:]...)
			if err != nil {
				return err
			}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			err = cmd.Run()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				os.Exit(exit.ExitCode())
			}
			return err
		},
	}
}

func newLogsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logs [PROGRAM]",
		Short: "Print the log of a program of the cluster, or list the programs",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(self *cobra.Command, args []string) error {
			cache, err := paths.Default()
			if err != nil {
				return err
			}
			command := []string{"ls", cache.Cluster("logs")}
			if len(args) == 1 {
				command = []string{"cat", cache.Cluster("logs", args[0]+".log")}
			}
			cmd := exec.CommandContext(self.Context(), command[0], command[1:]...)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			return cmd.Run()
		},
	}
}

// newForwardCommand and newResolveCommand run inside the cluster's network; the cluster starts them by itself.
func newForwardCommand() *cobra.Command {
	return &cobra.Command{
		Use: cluster.ForwardCommand + " ADDRESS", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return cluster.Forward(cmd.Context(), args[0]) },
	}
}

func newResolveCommand() *cobra.Command {
	return &cobra.Command{
		Use: cluster.ResolveCommand + " NAME", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return cluster.Resolve(cmd.Context(), args[0]) },
	}
}

func openCluster(programs cluster.Programs, log io.Writer) (*cluster.Cluster, error) {
	cache, err := paths.Default()
	if err != nil {
		return nil, err
	}
	return cluster.New(cache, programs, log)
}

// withCluster does something with the cluster while no other command can.
func withCluster(programs cluster.Programs, do func(*cluster.Cluster) error) error {
	c, err := openCluster(programs, os.Stderr)
	if err != nil {
		return err
	}
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	return do(c)
}

// buildAll makes everything that `up` needs.
func buildAll(ctx context.Context, b build.Builder) (cluster.Programs, error) {
	var programs cluster.Programs
	if err := b.Packages(ctx); err != nil {
		return programs, err
	}
	files := map[string]string{}
	for _, program := range build.Programs {
		file, err := b.Program(ctx, program)
		if err != nil {
			return programs, err
		}
		files[program.Name] = file
	}
	cniDir, err := build.CNIDir()
	if err != nil {
		return programs, err
	}
	programs = cluster.Programs{
		Kube: files[build.Kube.Name], CoreDNS: files[build.CoreDNS.Name], CSI: files[build.CSI.Name], CNIDir: cniDir,
	}
	return programs, withCluster(programs, func(c *cluster.Cluster) error { return makeImages(ctx, c, b, files[build.Pause.Name]) })
}
