// Command database-agent is PID 1 of every database container. An init container copies it there
// (install); the container runs it (run) on an image that has nothing but the engine.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	command := newCommand()
	if err := command.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	command := &cobra.Command{
		Use:           "database-agent",
		Short:         "Runs one instance of a database",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	command.AddCommand(newInstallCommand(), newRunCommand(), newWatchdogCommand())
	return command
}
