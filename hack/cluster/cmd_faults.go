// The subcommands that cause faults and end them; what they do is in internal/cluster/faults.go.

package main

import (
	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/cluster/internal/cluster"
)

// controlPlanePrograms are what can be paused.
var controlPlanePrograms = []string{"etcd", "apiserver"}

func newPartitionCommand() *cobra.Command {
	var options cluster.PartitionOptions
	cmd := &cobra.Command{
		Use:   "partition NODE [--from api|NODE] [--one-way in|out]",
		Short: "Cut a node and its Pods off from the control plane and the other nodes: packets vanish, also those of open connections",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Partition(cmd.Context(), args[0], options) })
		},
	}
	cmd.Flags().StringVar(&options.From, "from", "", "cut it off only from the control plane (api; DNS stays), or only from that node")
	cmd.Flags().StringVar(&options.OneWay, "one-way", "", "let only packets to the node (in) or from the node (out) vanish")
	return cmd
}

func newHealCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "heal [NODE]",
		Short: "End the partitions that concern a node, or all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Heal(cmd.Context(), optional(args)) })
		},
	}
}

func newFreezeCommand() *cobra.Command {
	keepNetwork := false
	cmd := &cobra.Command{
		Use:   "freeze NODE",
		Short: "Let all processes of a node stand still, and nothing reach or leave it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Freeze(cmd.Context(), args[0], keepNetwork) })
		},
	}
	cmd.Flags().BoolVar(&keepNetwork, "keep-network", false, "only the processes: the kernel goes on acknowledging what is sent to them")
	return cmd
}

func newThawCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "thaw [NODE]",
		Short: "Continue a frozen node, or all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Thaw(cmd.Context(), optional(args)) })
		},
	}
}

func newKillCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kill NODE",
		Short: "End everything on a node at once, as a power failure does; volumes stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Kill(cmd.Context(), args[0]) })
		},
	}
}

func newStartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start NODE|apiserver",
		Short: "Start a killed node, or the stopped API server, and wait until it is ready",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			programs, err := buildAll(cmd.Context(), b)
			if err != nil {
				return err
			}
			return withCluster(programs, func(c *cluster.Cluster) error {
				if args[0] == "apiserver" {
					return c.StartAPIServer(cmd.Context())
				}
				return c.StartNode(cmd.Context(), args[0])
			})
		},
	}
}

func newStopCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "stop apiserver",
		Short:     "Stop the API server: connections are refused",
		ValidArgs: []string{"apiserver"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(*cobra.Command, []string) error {
			return withCluster(cluster.Programs{}, (*cluster.Cluster).StopAPIServer)
		},
	}
}

func newPauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "pause etcd|apiserver",
		Short:     "Let etcd or the API server stand still: connections stay open, and nobody answers",
		ValidArgs: controlPlanePrograms,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Pause(args[0]) })
		},
	}
}

func newResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "resume [etcd|apiserver]",
		Short:     "Continue what was paused",
		ValidArgs: controlPlanePrograms,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return c.Resume(optional(args)) })
		},
	}
}

// optional returns the only argument, or nothing.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
