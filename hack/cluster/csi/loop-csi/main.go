// Command loop-csi is the CSI driver of one node of the local cluster; see package csi.
package main

import (
	"context"
	"flag"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/hack/cluster/csi"
)

func main() {
	var config csi.Config
	flag.StringVar(&config.Node, "node", "", "name of the node")
	flag.StringVar(&config.Volumes, "volumes", "", "folder of the volumes' files")
	flag.StringVar(&config.KubeletDir, "kubelet-dir", "", "root folder of the node's kubelet")
	flag.StringVar(&config.Kubeconfig, "kubeconfig", "", "kubeconfig of the driver")
	flag.BoolVar(&config.TakesUnselected, "takes-unselected", false, "answer claims for which no node was selected; for one node of a cluster")
	klog.InitFlags(nil)
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := csi.Run(ctx, config); err != nil {
		klog.FromContext(ctx).Error(err, "The driver ended")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}
