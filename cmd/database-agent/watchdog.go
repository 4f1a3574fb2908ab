package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/logs"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
)

// watchdogMemory is the file descriptor that the agent gives its watchdog.
const watchdogMemory = 3

// newWatchdogCommand is what the agent starts beside itself; nobody else does.
func newWatchdogCommand() *cobra.Command {
	var logFormat, logLevel string
	var container bool
	command := &cobra.Command{
		Use:    "watchdog",
		Short:  "Kills the engine when its time as primary is over and the agent does not run",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			logger, _, err := setUpLogging(logFormat, logLevel, "")
			if err != nil {
				return err
			}
			defer logs.FlushLogs()
			ctx := klog.NewContext(context.Background(), klog.LoggerWithName(logger, "watchdog"))
			return agent.RunWatchdog(ctx, os.NewFile(watchdogMemory, "watchdog"), os.Stdin, container)
		},
	}
	flags := command.Flags()
	flags.StringVar(&logFormat, "log-format", "json", "format of the log: json or text")
	flags.StringVar(&logLevel, "log-level", "info", "lowest level that is logged: debug, info, warning or error")
	flags.BoolVar(&container, agent.WatchdogContainerFlag, false, "the agent is PID 1 of a container")
	return command
}
