package app

import (
	"fmt"

	"k8s.io/client-go/kubernetes"

	"github.com/platform-io/database-operator/cmd/kubectl-database/status"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
)

// clients is the cluster that the command line names, and the namespace in it.
type clients struct {
	status.Reader
	namespace string
	// server is the address, for errors.
	server string
}

// dial reads the kubeconfig. It sends nothing yet.
func (c *cli) dial() (*clients, error) {
	namespace, _, err := c.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config, err := c.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	databases, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return &clients{Reader: status.Reader{Kube: kube, Databases: databases}, namespace: namespace, server: config.Host}, nil
}
