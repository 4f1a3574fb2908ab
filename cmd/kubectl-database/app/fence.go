package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
)

func (c *cli) fenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fence INSTANCE...",
		Short: "Stop the engine of an instance, and keep it down",
		Long: `Stop the engine of an instance, and keep it down until it is unfenced: to look at its data, or because it must not
serve. The pod stays. A primary that is fenced hands its role over, and another instance takes it.

It adds the instance to the annotation ` + naming.AnnotationFenced + ` of its Database.`,
		Example:           `  kubectl database fence orders-1 -n shop`,
		Args:              usage(needsInstances),
		ValidArgsFunction: c.completeInstances,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.setFenced(cmd.Context(), args, true) },
	}
}

func (c *cli) unfenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "unfence INSTANCE...",
		Short:             "Let the engine of a fenced instance run again",
		Example:           `  kubectl database unfence orders-1 -n shop`,
		Args:              usage(needsInstances),
		ValidArgsFunction: c.completeInstances,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.setFenced(cmd.Context(), args, false) },
	}
}

// needsInstances is the rule of commands that work on instances.
func needsInstances(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("the name of an instance is missing, as orders-1")
	}
	return nil
}

// setFenced goes on after an error: the other instances are no worse for it.
func (c *cli) setFenced(ctx context.Context, instances []string, fenced bool) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range instances {
		errs = append(errs, c.setOneFenced(ctx, clients, name, fenced))
	}
	return errors.Join(errs...)
}

func (c *cli) setOneFenced(ctx context.Context, clients *clients, instance string, fenced bool) error {
	dbi, err := clients.Databases.DatabaseV1().DatabaseInstances(clients.namespace).Get(ctx, instance, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no instance %q in namespace %q; kubectl database status NAME lists those of a Database", instance, clients.namespace)
	}
	if err != nil {
		return fmt.Errorf("read instance %s: %w", instance, err)
	}
	done, state := "unfenced: its engine starts again", "not fenced"
	if fenced {
		done, state = "is being fenced: its engine stops, and stays down until `kubectl database unfence "+instance+" -n "+clients.namespace+"`", "fenced already"
	}
	var changed *dbv1.Database
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		changed, err = writeFence(ctx, clients, dbi.Spec.DatabaseName, instance, fenced)
		return err
	})
	switch {
	case err != nil:
		return clients.explain(ctx, err, dbi.Spec.DatabaseName)
	case changed == nil:
		return c.say("%s/%s is %s", dbv1.Resource("databaseinstances"), instance, state)
	case fenced:
		done += consequence(ctx, clients, changed)
	}
	return c.say("%s/%s %s", dbv1.Resource("databaseinstances"), instance, done)
}

// consequence says that too few instances are left for writes, "" when enough are. Whoever may not see them is told
// nothing.
func consequence(ctx context.Context, clients *clients, db *dbv1.Database) string {
	all, err := clients.Databases.DatabaseV1().DatabaseInstances(db.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	left, fenced := 0, engine.FencedInstances(db)
	for i := range all.Items {
		dbi := &all.Items[i]
		if dbi.Spec.DatabaseName == db.Name && dbi.Status.Ready && !slices.Contains(fenced, dbi.Name) {
			left++
		}
	}
	switch wait := int(dbv1.HighAvailability(db).SynchronousReplicas); {
	case left == 0:
		return "; no other instance serves, so nothing takes writes until then"
	case left <= wait:
		return fmt.Sprintf("; %d more serve, and each write must reach the primary and %d others, so writes wait until then", left, wait)
	}
	return ""
}

// writeFence changes the list of fenced instances, unless somebody else changed the Database meanwhile. It returns
// the Database if it changed it.
func writeFence(ctx context.Context, clients *clients, database, instance string, fenced bool) (*dbv1.Database, error) {
	databases := clients.Databases.DatabaseV1().Databases(clients.namespace)
	db, err := databases.Get(ctx, database, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	names := engine.FencedInstances(db)
	if slices.Contains(names, instance) == fenced {
		return nil, nil //nolint:nilnil // nothing was to be changed
	}
	if fenced {
		names = append(names, instance)
		slices.Sort(names)
	} else {
		names = slices.DeleteFunc(names, func(n string) bool { return n == instance })
	}
	var value any // null removes the annotation
	if len(names) > 0 {
		value = strings.Join(names, ",")
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": db.ResourceVersion, "annotations": map[string]any{naming.AnnotationFenced: value},
	}})
	if err != nil {
		return nil, err
	}
	return databases.Patch(ctx, database, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
}

// completeInstances completes names of instances that are not on the command line yet.
func (c *cli) completeInstances(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, dbi := range c.listInstances(cmd.Context()) {
		if !slices.Contains(args, dbi.Name) {
			names = append(names, cobra.CompletionWithDesc(dbi.Name, string(dbi.Status.Role)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
