// Command clientset shows how a program uses Databases through the generated packages: it applies one with an apply
// configuration, lists those of a namespace, and watches them with an informer until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/generated/informers/externalversions"
)

// fieldManager says whose fields these are; every program that applies objects has one.
const fieldManager = "clientset-example"

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file that says how to reach the cluster; without it, as kubectl: KUBECONFIG, ~/.kube/config, or the service account of the pod")
	namespace := flag.String("namespace", "", "namespace of the Databases; without it, the one of the kubeconfig's context")
	create := flag.String("create", "", "name of a PostgreSQL to create first; if it exists, it is made to have a volume of 10Gi")
	watch := flag.Bool("watch", true, "keep watching until interrupted")
	flag.Parse()

	if err := run(*kubeconfig, *namespace, *create, *watch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace, create string, watch bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cluster := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := cluster.ClientConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	if namespace == "" {
		if namespace, _, err = cluster.Namespace(); err != nil {
			return fmt.Errorf("read the kubeconfig: %w", err)
		}
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if create != "" {
		if err := apply(ctx, client, namespace, create); err != nil {
			return err
		}
	}
	if err := list(ctx, client, namespace); err != nil || !watch {
		return err
	}
	return follow(ctx, client, namespace)
}

// apply states the fields that this program cares about. Applied again it changes nothing, and it never touches
// what others have set.
func apply(ctx context.Context, client versioned.Interface, namespace, name string) error {
	db := dbv1ac.Database(name, namespace).WithSpec(dbv1ac.DatabaseSpec().
		WithEngine(dbv1.PostgreSQL).
		WithVersion("15.0").
		WithStorage(dbv1ac.StorageSpec().WithSize(resource.MustParse("10Gi"))))
	applied, err := client.DatabaseV1().Databases(namespace).Apply(ctx, db, metav1.ApplyOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("apply Database %s/%s: %w", namespace, name, err)
	}
	fmt.Fprintf(os.Stdout, "applied  %s\n", describe(applied))
	return nil
}

func list(ctx context.Context, client versioned.Interface, namespace string) error {
	databases, err := client.DatabaseV1().Databases(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Databases in %s: %w", namespace, err)
	}
	for i := range databases.Items {
		fmt.Fprintf(os.Stdout, "listed   %s\n", describe(&databases.Items[i]))
	}
	return nil
}

// follow prints every change until the context ends. The informer keeps a cache that a lister reads without asking the
// API server.
func follow(ctx context.Context, client versioned.Interface, namespace string) error {
	factory := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithNamespace(namespace))
	databases := factory.Database().V1().Databases()
	handle, err := databases.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { show("found", o) },
		UpdateFunc: func(before, after any) {
			if before.(*dbv1.Database).ResourceVersion != after.(*dbv1.Database).ResourceVersion {
				show("changed", after)
			}
		},
		DeleteFunc: func(o any) { show("deleted", o) },
	})
	if err != nil {
		return fmt.Errorf("watch Databases in %s: %w", namespace, err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !cache.WaitForCacheSync(bounded.Done(), handle.HasSynced) {
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return errors.New("the Databases cannot be read; is the CRD installed, and may this user list and watch them?")
	}
	<-ctx.Done()
	return nil
}

func show(what string, o any) {
	switch object := o.(type) {
	case *dbv1.Database:
		fmt.Fprintf(os.Stdout, "%-8s %s\n", what, describe(object))
	case cache.DeletedFinalStateUnknown: // the end was missed while the watch was down
		fmt.Fprintf(os.Stdout, "%-8s %s\n", what, object.Key)
	}
}

// describe says what is known: a Database that the operator has not looked at has no status yet.
func describe(db *dbv1.Database) string {
	text := fmt.Sprintf("%s/%s: %s %s", db.Namespace, db.Name, db.Spec.Engine, db.Spec.Version)
	if db.Status.Phase == "" {
		return text + ", the operator has not looked at it yet"
	}
	text += ", " + string(db.Status.Phase)
	if db.Status.Ready != "" {
		text += ", " + db.Status.Ready + " ready"
	}
	if db.Status.Endpoint != "" {
		text += ", at " + db.Status.Endpoint
	}
	return text
}
