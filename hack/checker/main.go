package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/platform-io/database-operator/hack/checker/engine"
	"github.com/platform-io/database-operator/hack/checker/postgres"
)

const (
	exitBad        = 1
	exitCannotTell = 2
)

// errBad says that the report has failures.
var errBad = errors.New("the database did not keep its word")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	root := &cobra.Command{
		Use: "checker", Short: "Writes to a database while faults happen, and proves afterwards what it kept",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(writeCommand(), holdCommand(), verifyCommand())
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "checker: "+err.Error())
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBad):
		return exitBad
	default:
		return exitCannotTell
	}
}

// access are the flags that say how a database is reached.
type access struct {
	credentials, uri string
	engine.Access
}

func (a *access) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&a.credentials, "credentials-dir", "", "folder of a mounted credentials Secret")
	flags.StringVar(&a.uri, "uri-file", "", "file with the connection's URI, in place of uri in the folder of credentials")
	flags.StringVar(&a.Target, "target", "", "host:port of one instance, to use in place of the Service")
	flags.StringVar(&a.InstanceExpression, "instance-expression", "",
		"expression that names an instance, in the engine's language; the default for PostgreSQL is "+postgres.InstanceExpression)
	flags.DurationVar(&a.ConnectTimeout, "connect-timeout", time.Second, "limit of the time to connect")
	flags.DurationVar(&a.Timeout, "request-timeout", 2*time.Second, "limit of the time of a request, and of the transport's silence")
}

// open returns the engine whose URI is in the file, or in the folder of credentials under the key.
func (a *access) open(file, key string) (engine.Engine, error) {
	if file == "" && a.credentials == "" {
		return nil, errors.New("give --credentials-dir or a file with a URI")
	}
	access := a.Access
	if access.URIFile = file; file == "" {
		access.URIFile = filepath.Join(a.credentials, key)
	}
	uri, err := access.URI()
	if err != nil {
		return nil, err
	}
	switch scheme, _, _ := strings.Cut(uri, "://"); scheme {
	case "postgresql", "postgres":
		return postgres.New(access), nil
	default:
		return nil, fmt.Errorf("no engine for %s:// in %s", scheme, access.URIFile)
	}
}
