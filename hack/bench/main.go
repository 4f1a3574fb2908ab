// Command bench measures the operator: many Databases are created at once on a real API server
// without nodes, whose nodes and agents are simulated in this process.
//
//  1. etcd and kube-apiserver start (`make cluster-tool` builds them), with an audit log.
//  2. The operator's own binary is built and started, and its memory is watched from then on.
//  3. The Databases are created; each is followed until it is Ready.
//  4. When nobody writes any more, the operator is watched at rest.
//  5. The result is printed, and written to out/ as text and JSON, with the machine's description.
//
// Requests are counted from the audit log, by the operator's user agent: by verb and resource, which
// the operator's own metrics do not tell. Everything runs on one machine and competes for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// options are the flags.
type options struct {
	databases    int
	concurrency  int
	rest         time.Duration
	limit        time.Duration
	out          string
	operatorArgs []string
}

func main() {
	o := options{}
	args := ""
	flag.IntVar(&o.databases, "databases", 200, "number of Databases")
	flag.IntVar(&o.concurrency, "concurrency", 20, "how many are created at a time")
	flag.DurationVar(&o.rest, "rest", 30*time.Second, "how long the operator is watched at rest")
	flag.DurationVar(&o.limit, "limit", 15*time.Minute, "when the benchmark gives up")
	flag.StringVar(&o.out, "out", "out", "folder for the results")
	flag.StringVar(&args, "operator-args", "", "more flags of the operator, separated by spaces, as in --kube-api-qps=200")
	flag.Parse()
	o.operatorArgs = strings.Fields(args)
	if o.databases < 1 || o.concurrency < 1 {
		fmt.Fprintln(os.Stderr, "bench: --databases and --concurrency must be positive")
		os.Exit(2)
	}
	klog.LogToStderr(false) // the simulation's retries are no news
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("gave up after %s", o.limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := &bench{options: o, dir: dir}
	if err := b.start(ctx); err != nil {
		return errors.Join(err, b.stop())
	}
	result, err := b.measure(ctx)
	if err = errors.Join(err, b.stop()); err != nil {
		return err
	}
	text := result.text()
	fmt.Print(text)
	path, err := result.save(o.out, text)
	if err != nil {
		return err
	}
	fmt.Printf("\nWritten to %s and .json\n", path)
	return result.verdict()
}
