// Command database-operator runs Databases on Kubernetes: in the cluster, or outside of it with
// --kubeconfig.
package main

import (
	"os"

	"k8s.io/component-base/cli"

	"github.com/platform-io/database-operator/cmd/database-operator/app"
)

func main() {
	os.Exit(cli.Run(app.NewCommand()))
}
