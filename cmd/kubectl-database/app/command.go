// Package app is the command line of the plugin: flags in, text and an exit code out.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is what all commands share.
type cli struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	// connect makes the clients, when a command needs them.
	connect func() (*clients, error)
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

// Run runs the plugin and returns its exit code.
func Run(args []string, streams genericiooptions.IOStreams) int {
	c := &cli{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true).WithWrapConfigFn(configure)}
	c.connect = c.dial
	return c.run(args)
}

func (c *cli) run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := c.root()
	cmd.SetArgs(args)
	cmd.SetIn(c.In)
	cmd.SetOut(c.Out)
	cmd.SetErr(c.ErrOut)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(c.ErrOut, "Error: "+err.Error()) // there is nowhere else to say it
	if errors.As(err, &usageError{}) {
		return exitUsage
	}
	return exitFailed
}

// configure makes room for the requests of one command, which are few and sent at once.
func configure(config *rest.Config) *rest.Config {
	config.QPS, config.Burst = 50, 100
	config.UserAgent = "kubectl-database"
	// Only requests fail then, not with warnings of the API server that a table would be torn by.
	config.WarningHandler = rest.NoWarnings{}
	return config
}

func (c *cli) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubectl-database",
		Short: "Look at Databases and work with them",
		Long: `Look at Databases of the database operator, and work with them.

Exit codes: 0 done; 1 failed; 2 the command line is wrong.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl database"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	c.flags.AddFlags(cmd.PersistentFlags())
	// It only fails for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("namespace", c.completeNamespaces)
	cmd.AddCommand(c.statusCommand(), c.switchoverCommand(), c.failoverCommand(), c.fenceCommand(), c.unfenceCommand(),
		c.pauseCommand(), c.resumeCommand(), c.versionCommand())
	return cmd
}

// usage makes a rule about arguments fail as a usage error.
func usage(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := rule(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// needsNames is the rule of commands that work on Databases.
func needsNames(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("the name of a Database is missing")
	}
	return nil
}

// say writes a line of a command's result.
func (c *cli) say(format string, args ...any) error {
	return write(c.Out, fmt.Sprintf(format+"\n", args...))
}

func write(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
