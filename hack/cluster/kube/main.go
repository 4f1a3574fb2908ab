// Command kube is a whole Kubernetes in one program: etcd, the control plane, the node agents and kubectl. Each is an ordinary
// Go package, so the local cluster needs no release download and no image registry; and because the seven programs share most of
// their code, one binary costs a quarter of what seven would, to build as on disk.
//
// The program to be is named by argv[0] (a symbolic link, as `kubectl`), else by the first argument (`kube kubectl get pods`).
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // time zones of CronJobs, on machines without a zone database

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // credential plugins for kubectl
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics of every component
	_ "k8s.io/component-base/metrics/prometheus/version"  // the build_info metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs maps the name of each component to what runs it with os.Args already set, and gives the exit code.
var programs = map[string]func() int{
	"etcd":                    runEtcd,
	"kube-apiserver":          component(apiserver.NewAPIServerCommand),
	"kube-controller-manager": component(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          component(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubelet":                 component(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kube-proxy":              component(proxy.NewProxyCommand),
	"kubectl":                 runKubectl,
}

func main() {
	run := choose()
	if run == nil {
		names := make([]string, 0, len(programs))
		for name := range programs {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "usage: kube {%s} [arguments]\n", strings.Join(names, "|"))
		os.Exit(2)
	}
	os.Exit(run())
}

// choose finds the program by argv[0], then by the first argument, which it removes.
func choose() func() int {
	if run := programs[filepath.Base(os.Args[0])]; run != nil {
		return run
	}
	if len(os.Args) < 2 {
		return nil
	}
	run := programs[os.Args[1]]
	os.Args = os.Args[1:]
	return run
}

// component runs a command of the control plane or a node the way its own main function does. The command is made only when
// it is chosen: its constructor registers flags and feature gates for the whole process.
func component(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

func runEtcd() int {
	etcdmain.Main(os.Args) // ends the process itself when it fails
	return 0
}

func runKubectl() int {
	// The verbosity must be known before the command is made: plugins and kuberc are read during its construction.
	if _, err := logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints it as kubectl does, and ends the process
	}
	return 0
}
