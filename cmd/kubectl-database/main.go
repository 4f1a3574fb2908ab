// Command kubectl-database is the kubectl plugin of the operator: `kubectl database status` shows how
// Databases are, and other verbs edit them. Put the binary on the PATH; for completion of
// names, put kubectl_complete-database beside it.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/platform-io/database-operator/cmd/kubectl-database/app"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(app.Run(os.Args[1:], streams))
}
