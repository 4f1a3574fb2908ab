// Command demo shows the operator at work: `make demo` and `make demo-down`.
//
//  1. A cluster: the one of KUBECONFIG, or the local one, which is brought up.
//  2. The operator, as a Deployment, from an image of the working tree.
//  3. artifacts/examples/postgres-basic.yaml, unchanged, in a namespace that enforces restricted Pod Security.
//  4. A row, written and read by a client in another pod, through the Service, with the credentials of the Secret.
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

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/hack/e2e/env"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

const (
	namespace    = "database-demo"
	example      = "artifacts/examples/postgres-basic.yaml"
	readyTimeout = 10 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "up":
		return up(ctx)
	case len(args) == 1 && args[0] == "down":
		return down(ctx)
	}
	return errors.New("usage: demo up|down")
}

func up(ctx context.Context) error {
	start := time.Now()
	title("Cluster (the first time, it is built: 15 to 30 minutes)")
	e, err := env.Open(ctx, os.Stdout)
	if err != nil {
		return err
	}
	title("Operator")
	if err := e.InstallOperator(ctx); err != nil {
		return err
	}
	if err := show(ctx, e, "", "get", "pods", "--namespace", env.OperatorNamespace, "--output=wide"); err != nil {
		return err
	}
	title("Database: " + example)
	name, err := apply(ctx, e)
	if err != nil {
		return err
	}
	if err := waitReady(ctx, e, name); err != nil {
		return explain(ctx, e, err)
	}
	if err := show(ctx, e, "", "get", "databases", "--namespace", namespace); err != nil {
		return err
	}
	title("A row, from another pod, through the Service, with the Secret's credentials")
	if err := writeAndRead(ctx, e, name); err != nil {
		return explain(ctx, e, err)
	}
	fmt.Printf("\nThe demo took %s. Look around with `hack/kubectl --namespace %s get databases,databaseinstances,pods`;\n"+
		"`make demo-down` undoes it.\n", time.Since(start).Round(time.Second), namespace)
	return nil
}

func title(text string) { fmt.Printf("\n==> %s\n", text) }

// show runs kubectl and shows the command and what it printed.
func show(ctx context.Context, e *env.Env, stdin string, args ...string) error {
	output, err := e.Kubectl(ctx, stdin, args...)
	fmt.Printf("$ kubectl %s\n%s", strings.Join(args, " "), output)
	return err
}

// apply applies the example and returns the name of its Database.
func apply(ctx context.Context, e *env.Env) (string, error) {
	if err := e.EnsureNamespace(ctx, namespace); err != nil {
		return "", err
	}
	file := filepath.Join(e.Root, example)
	name, err := e.Kubectl(ctx, "", "create", "--dry-run=client", "--filename", file, "--output=jsonpath={.metadata.name}")
	if err != nil {
		return "", err
	}
	return name, show(ctx, e, "", "apply", "--server-side", "--namespace", namespace, "--filename", file)
}

// waitReady waits until the Database is ready and prints every change of what is waited for.
func waitReady(ctx context.Context, e *env.Env, name string) error {
	start, printed := time.Now(), ""
	return env.Poll(ctx, readyTimeout, "the Database to be ready", func(ctx context.Context) (string, error) {
		db, err := e.DB.DatabaseV1().Databases(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err //nolint:wrapcheck // shown as the last state
		}
		text := progress(db)
		if text != printed {
			fmt.Printf("%6s  %s\n", time.Since(start).Round(100*time.Millisecond), text)
			printed = text
		}
		if db.Status.Phase == dbv1.PhaseReady && db.Status.ObservedGeneration == db.Generation {
			return "", nil
		}
		return text, nil
	})
}

// progress says in a line how the Database is, and what it waits for.
func progress(db *dbv1.Database) string {
	if db.Status.Phase == "" {
		return "the operator has not seen it yet"
	}
	text := string(db.Status.Phase)
	for _, kind := range []string{dbv1.ConditionValidated, dbv1.ConditionProvisioned, dbv1.ConditionStorageReady, dbv1.ConditionReady} {
		c := meta.FindStatusCondition(db.Status.Conditions, kind)
		if c != nil && c.Status != metav1.ConditionTrue {
			return text + ": " + c.Message
		}
	}
	return text
}

func writeAndRead(ctx context.Context, e *env.Env, name string) error {
	client, err := e.StartClient(ctx, namespace, env.Psql)
	if err != nil {
		return err
	}
	uri, err := e.URI(ctx, namespace, name)
	if err != nil {
		return err
	}
	const sql = "create table if not exists demo (id serial primary key, said text, at timestamptz default now());\n" +
		"insert into demo (said) values ('hello from another pod');\n" +
		"select id, said, at from demo order by id desc limit 1;"
	rows, err := client.Query(ctx, uri, sql)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n", sql, rows)
	if !strings.Contains(rows, "hello from another pod") {
		return fmt.Errorf("the row was not read back: %q", rows)
	}
	return nil
}

// explain shows what is in the demo's namespace when something went wrong.
func explain(ctx context.Context, e *env.Env, err error) error {
	text, diagnoseErr := e.Diagnose(ctx, namespace, filepath.Join(e.Root, "out", "demo"))
	fmt.Println(text)
	return errors.Join(err, diagnoseErr)
}

func down(ctx context.Context) error {
	e, err := env.Attach(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if e == nil {
		fmt.Println("there is no cluster")
		return nil
	}
	if e.Marked() {
		title("Taking the local cluster down")
		return e.Down(ctx)
	}
	title("Deleting namespace " + namespace)
	if err := e.DeleteNamespace(ctx, namespace, 5*time.Minute); err != nil {
		return err
	}
	title("Removing the operator")
	if err := e.UninstallOperator(ctx); err != nil {
		return err
	}
	fmt.Println("the cluster was there before the demo, and stays")
	return nil
}
