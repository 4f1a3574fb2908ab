package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/logs"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/agent/elector"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	postgres "github.com/platform-io/database-operator/pkg/engine/postgres/driver"
	redis "github.com/platform-io/database-operator/pkg/engine/redis/driver"
	clientset "github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/reconnect"
	"github.com/platform-io/database-operator/pkg/record"
)

// runOptions are the flags of run, which the pod template gives.
type runOptions struct {
	engine, database, instance, namespace, podUID string
	port                                          int
	dataDir, configDir, runDir                    string
	gracePeriod                                   time.Duration
	logFormat, logLevel                           string
	listen, kubeconfig                            string
	listenPeers, tlsDir, replicationDir           string
}

func newRunCommand() *cobra.Command {
	o := &runOptions{}
	command := &cobra.Command{
		Use:   "run",
		Short: "Runs the engine, and keeps it as its DatabaseInstance says",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return o.run() },
	}
	flags := command.Flags()
	flags.StringVar(&o.engine, "engine", "", "the database engine: PostgreSQL or Redis")
	flags.StringVar(&o.database, "database", "", "name of the Database")
	flags.StringVar(&o.instance, "instance", "", "name of the instance, which is that of the pod")
	flags.StringVar(&o.namespace, "namespace", "", "namespace of the pod")
	flags.StringVar(&o.podUID, "pod-uid", "", "UID of the pod")
	flags.IntVar(&o.port, "port", 5432, "port of the engine")
	flags.StringVar(&o.dataDir, "data-dir", naming.PathVolume, "mount of the data volume")
	flags.StringVar(&o.configDir, "config-dir", naming.PathConfig, "folder with the engine's configuration, as it is mounted")
	flags.StringVar(&o.runDir, "run-dir", naming.PathRun, "folder for sockets")
	flags.DurationVar(&o.gracePeriod, "grace-period", time.Minute, "time from SIGTERM to SIGKILL")
	flags.StringVar(&o.logFormat, "log-format", "json", "format of the log: json or text")
	flags.StringVar(&o.logLevel, "log-level", "info", "lowest level that is logged: debug, info, warning or error")
	flags.StringVar(&o.listen, "listen", ":"+strconv.Itoa(naming.PortAgent), "address of probes and metrics")
	flags.StringVar(&o.listenPeers, "listen-peers", ":"+strconv.Itoa(naming.PortPeers), "address for the agents of other instances")
	flags.StringVar(&o.tlsDir, "tls-dir", naming.PathAgentTLS, "folder with the certificate by which agents know each other")
	flags.StringVar(&o.replicationDir, "replication-dir", naming.PathReplication, "folder with the password of the replication account")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; by default the pod's own account is used")
	return command
}

// validate says what is missing.
func (o *runOptions) validate() error {
	var missing []string
	for _, f := range []struct{ name, value string }{
		{"engine", o.engine}, {"database", o.database}, {"instance", o.instance}, {"namespace", o.namespace}, {"pod-uid", o.podUID},
	} {
		if f.value == "" {
			missing = append(missing, "--"+f.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("these flags are required: %s", strings.Join(missing, ", "))
	}
	if o.port < 1 || o.port > 65535 {
		return fmt.Errorf("--port: %d is not a port", o.port)
	}
	if o.gracePeriod < 5*time.Second {
		return errors.New("--grace-period: at least 5s")
	}
	return nil
}

func (o *runOptions) run() error {
	if err := o.validate(); err != nil {
		return err
	}
	logger, engineLog, err := setUpLogging(o.logFormat, o.logLevel, strings.ToLower(o.engine))
	if err != nil {
		return err
	}
	defer logs.FlushLogs()
	ctx, stop := signal.NotifyContext(klog.NewContext(context.Background(), logger), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	supervisor, err := agent.NewSupervisor(logger)
	if err != nil {
		return err
	}
	addresses := elector.NewAddresses()
	engine, err := o.driver(supervisor, engineLog, addresses)
	if err != nil {
		return err
	}
	metrics := agent.NewMetrics()
	config, err := o.restConfig(metrics)
	if err != nil {
		return err
	}
	kube, databases, err := clients(config)
	if err != nil {
		return err
	}
	logger.Info("Starting", "version", version(), "engine", o.engine, "instance", klog.KRef(o.namespace, o.instance), "pid", os.Getpid())
	watchdog, err := o.watchdog(supervisor)
	if err != nil {
		return err
	}
	return agent.New(agent.Options{
		Database: o.database, Instance: o.instance, Namespace: o.namespace, PodUID: o.podUID,
		VolumeDir: o.dataDir, ConfigDir: o.configDir, GracePeriod: o.gracePeriod, Listen: o.listen, Port: o.port, Version: version(), TokenFile: config.BearerTokenFile,
		Driver: engine, Supervisor: supervisor, Kube: kube, Databases: databases, Metrics: metrics,
		NewElector: o.elector(config, metrics, watchdog, addresses), Watchdog: watchdog,
	}).Run(ctx)
}

// driver is the one place that knows the engines.
func (o *runOptions) driver(supervisor *agent.Supervisor, log func(agent.LogEntry), addresses *elector.Addresses) (agent.Driver, error) {
	switch dbv1.Engine(o.engine) {
	case dbv1.PostgreSQL:
		return postgres.New(postgres.Options{
			VolumeDir: o.dataDir, RunDir: o.runDir, Port: o.port, Supervisor: supervisor, Log: log,
			Addresses: addresses.Of, PasswordFile: filepath.Join(o.replicationDir, naming.KeyReplication),
		}), nil
	case dbv1.Redis:
		return redis.New(redis.Options{VolumeDir: o.dataDir, RunDir: o.runDir, Port: o.port, Supervisor: supervisor, Log: log}), nil
	default:
		return nil, fmt.Errorf("--engine: this agent does not run %q", o.engine)
	}
}

// elector makes the elections' client, with connections to the API server of its own: a slow list
// elsewhere must not hold up a renewal.
func (o *runOptions) elector(config *rest.Config, metrics *agent.Metrics, watchdog *agent.Watchdog, addresses *elector.Addresses) func(elector.Memory, func(election.Want)) (agent.Elector, error) {
	own := elector.NewMetrics(metrics.Registerer())
	return func(memory elector.Memory, want func(election.Want)) (agent.Elector, error) {
		return elector.New(elector.Options{
			Instance: o.instance, Identity: record.Identity{Pod: o.instance, UID: o.podUID},
			Namespace: o.namespace, LeaseName: naming.Lease(o.database), API: rest.CopyConfig(config),
			Peers: elector.PeerOptions{
				Listen: o.listenPeers, TLSDir: o.tlsDir, Port: naming.PortPeers,
				Host:      func(instance string) string { return naming.InstanceHost(instance, o.database, o.namespace) },
				Addresses: addresses,
			},
			Memory: memory, Clock: elector.SystemClock{}, Metrics: own, NewName: rand.Text, Want: want,
			SetDeadline: watchdog.Set,
		})
	}
}

// watchdog is this very program, as a second process.
func (o *runOptions) watchdog(supervisor *agent.Supervisor) (*agent.Watchdog, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program for the watchdog: %w", err)
	}
	return agent.NewWatchdog(supervisor, program, "watchdog", "--log-format="+o.logFormat, "--log-level="+o.logLevel)
}

// restConfig says how to reach the API server.
func (o *runOptions) restConfig(metrics *agent.Metrics) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("configure the API client: %w", err)
	}
	config.UserAgent = rest.DefaultKubernetesUserAgent() + " " + naming.AgentFieldManager
	config.Wrap(metrics.CountRequests)
	config.Wrap(reconnect.Transport)
	return config, nil
}

// clients connects to the API server. It does not call it: the agent must start without.
func clients(config *rest.Config) (kubernetes.Interface, clientset.Interface, error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make the API client: %w", err)
	}
	databases, err := clientset.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make the API client: %w", err)
	}
	return kube, databases, nil
}
