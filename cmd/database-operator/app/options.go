// Package app is the operator's process: flags, clients, leader election, servers, shutdown.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apiserveroptions "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // the JSON log format
	"k8s.io/component-base/version/verflag"
)

// options are the flags.
type options struct {
	kubeconfig    string
	namespace     string
	agentImage    string
	workers       int
	qps           float32
	burst         int
	leaderElect   bool
	leaseName     string
	leaseNS       string
	metricsAddr   string
	healthAddr    string
	shutdownLimit time.Duration
	logging       *logsapi.LoggingConfiguration
}

// NewCommand is the command line of the operator.
func NewCommand() *cobra.Command {
	o := &options{logging: logsapi.NewLoggingConfiguration()}
	cmd := &cobra.Command{
		Use:   "database-operator",
		Short: "Runs PostgreSQL, MongoDB, Redis, Elasticsearch and SQLite on Kubernetes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(o.logging, nil); err != nil {
				return err
			}
			defer logs.FlushLogs()
			if err := o.validate(); err != nil {
				return err
			}
			// The first signal asks for an orderly end; stop gives the next one back its default, to end at once.
			ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM, os.Interrupt)
			defer stop()
			context.AfterFunc(ctx, stop)
			return run(ctx, o)
		},
		SilenceUsage: true,
	}
	cmd.SetGlobalNormalizationFunc(apiserveroptions.WordSepNormalizeFunc)
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *options) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "File that says how to reach the cluster. Default: $KUBECONFIG, else the pod's own service account.")
	fs.StringVar(&o.namespace, "namespace", "", "Namespace to work in. Default: all.")
	fs.StringVar(&o.agentImage, "agent-image", "", "Image that holds the agent; in the cluster, the operator's own. Required.")
	fs.IntVar(&o.workers, "workers", 8, "Databases that are worked on at a time.")
	fs.Float32Var(&o.qps, "kube-api-qps", 200, "Requests a second to the API server, on average.")
	fs.IntVar(&o.burst, "kube-api-burst", 400, "Requests to the API server in a burst.")
	fs.BoolVar(&o.leaderElect, "leader-elect", true, "Work only while holding the leader's lease, so that several replicas can run.")
	fs.StringVar(&o.leaseName, "leader-election-name", "database-operator", "Name of the leader's Lease.")
	fs.StringVar(&o.leaseNS, "leader-election-namespace", "database-system", "Namespace of the leader's Lease.")
	fs.StringVar(&o.metricsAddr, "metrics-bind-address", ":8080", "Address of /metrics; empty for none.")
	fs.StringVar(&o.healthAddr, "health-probe-bind-address", ":8081", "Address of /livez and /readyz; empty for none.")
	fs.DurationVar(&o.shutdownLimit, "shutdown-timeout", 20*time.Second, "How long syncs under way may take to end at a stop; then they are cancelled.")
	logsapi.AddFlags(o.logging, fs)
	verflag.AddFlags(fs)
}

func (o *options) validate() error {
	var errs []error
	if o.agentImage == "" {
		errs = append(errs, errors.New("--agent-image is required: the image that every database pod copies the agent from; in the cluster, the operator's own"))
	}
	if o.workers < 1 {
		errs = append(errs, fmt.Errorf("--workers is %d: at least 1 is needed", o.workers))
	}
	return errors.Join(errs...)
}
