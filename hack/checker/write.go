package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/platform-io/database-operator/hack/checker/history"
	"github.com/platform-io/database-operator/hack/checker/workload"
)

// run are the flags of a run.
type run struct {
	access
	workload.Config
	readURI  string
	duration time.Duration
	path     string
}

func (r *run) addFlags(flags *pflag.FlagSet) {
	r.access.addFlags(flags)
	flags.DurationVar(&r.duration, "duration", 0, "how long; 0 means until a signal")
	flags.StringVar(&r.path, "log", "", "file that outcomes are appended to")
}

func writeCommand() *cobra.Command {
	r := &run{}
	cmd := &cobra.Command{
		Use: "write", Short: "Write numbered rows and record their outcomes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Workers < 1 {
				return errors.New("--workers must be positive")
			}
			return r.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	r.addFlags(flags)
	flags.IntVar(&r.Workers, "workers", 4, "number of writers, each with a connection of its own")
	flags.DurationVar(&r.Interval, "interval", 20*time.Millisecond, "time between the writes of a worker")
	flags.DurationVar(&r.Timeouts.Prepare, "prepare-timeout", time.Minute, "limit of the time until the table is there")
	flags.IntVar(&r.Readers, "readers", 0, "number of readers through the read-only Service")
	flags.DurationVar(&r.ReadInterval, "read-interval", 100*time.Millisecond, "time between the reads of a reader")
	flags.StringVar(&r.readURI, "read-uri-file", "", "file with the readers' URI, in place of readonly-uri in the folder of credentials")
	return cmd
}

func holdCommand() *cobra.Command {
	r := &run{}
	cmd := &cobra.Command{
		Use: "hold", Short: "Hold idle sessions and record what becomes of them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Sessions < 1 {
				return errors.New("--sessions must be positive")
			}
			return r.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	r.addFlags(cmd.Flags())
	cmd.Flags().IntVar(&r.Sessions, "sessions", 10, "number of sessions")
	return cmd
}

// run works, and prints the summary of the log.
func (r *run) run(ctx context.Context, out io.Writer) (err error) {
	if r.path == "" {
		return errors.New("--log must be given")
	}
	if r.Engine, err = r.open(r.uri, "uri"); err != nil {
		return err
	}
	if r.Readers > 0 {
		readers := r.access
		readers.Target = "" // it takes writes, and readers have a Service of their own
		if r.Reader, err = readers.open(r.readURI, "readonly-uri"); err != nil {
			return err
		}
	}
	log, err := history.OpenLog(r.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	r.Run, r.Log, r.Clock = strings.ToLower(rand.Text()[:10]), log, monotonic
	r.Start = history.Start{Target: r.Target, Workers: r.Workers, Clock: clockName()}
	r.Timeouts.Connect, r.Timeouts.Request = r.ConnectTimeout, r.Timeout
	if r.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.duration)
		defer cancel()
	}
	if err := workload.Run(ctx, r.Config); err != nil {
		return err
	}
	return r.summarize(out)
}

func (r *run) summarize(out io.Writer) error {
	h, err := history.LoadFiles(r.path)
	if err != nil {
		return err
	}
	for i := range h.Runs {
		if h.Runs[i].ID == r.Run {
			report := history.Summarize(&h.Runs[i])
			return report.WriteText(out)
		}
	}
	return fmt.Errorf("run %s is not in %s", r.Run, r.path)
}

// monotonic is the machine's clock, the same one in all of its containers.
func monotonic() history.Instant {
	now := unix.Timespec{}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic("no monotonic clock: " + err.Error())
	}
	return history.Instant(now.Nano())
}

// clockName is the same where monotonic is. A time namespace can shift it.
func clockName() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, _ := os.Readlink("/proc/self/ns/time")
	return strings.TrimSpace(string(boot)) + " " + namespace
}
