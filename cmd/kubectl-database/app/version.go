package app

import (
	"github.com/spf13/cobra"
	"k8s.io/component-base/version"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version of this plugin",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			v := version.Get()
			return c.say("kubectl-database %s (commit %s, %s, %s)", v.GitVersion, v.GitCommit, v.GoVersion, v.Platform)
		},
	}
}
