package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/plural"
)

func (c *cli) fenceCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "fence INSTANCE...",
		Short: "Stop the engine of an instance, and keep it down",
		Long: `Stop the engine of an instance, and keep it down until it is unfenced: to look at its data, or because it must not
serve. The pod stays. A primary that is fenced hands its role over, and another instance takes it.

It adds the instance to the annotation ` + naming.AnnotationFenced + ` of its Database, and waits until the engine is down.`,
		Example:           `  kubectl database fence orders-1 -n shop`,
		Args:              usage(needsInstances),
		ValidArgsFunction: c.completeInstances,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.fence(cmd.Context(), args, patience) },
	}
	cmd.Flags().DurationVar(&patience, "wait", defaultWait, "how long to wait until the engine is down; 0 returns at once")
	return cmd
}

func (c *cli) unfenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "unfence INSTANCE...",
		Short:             "Let the engine of a fenced instance run again",
		Example:           `  kubectl database unfence orders-1 -n shop`,
		Args:              usage(needsInstances),
		ValidArgsFunction: c.completeInstances,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.unfence(cmd.Context(), args) },
	}
}

// needsInstances is the rule of commands that work on instances.
func needsInstances(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("the name of an instance is missing, as orders-1")
	}
	return nil
}

// fence goes on after an error: the other instances are no worse for it.
func (c *cli) fence(ctx context.Context, instances []string, patience time.Duration) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	var errs []error
	var stopping []string
	for _, name := range instances {
		waits, err := c.beginFence(ctx, clients, name)
		errs = append(errs, err)
		if waits && patience > 0 {
			stopping = append(stopping, name)
		}
	}
	deadline := time.Now().Add(patience)
	for _, name := range stopping {
		errs = append(errs, c.awaitFence(ctx, clients, name, time.Until(deadline)))
	}
	return errors.Join(errs...)
}

// beginFence is true when the instance is about to stop.
func (c *cli) beginFence(ctx context.Context, clients *clients, instance string) (bool, error) {
	dbi, db, err := setFenced(ctx, clients, instance, true)
	what := dbv1.Resource("databaseinstances")
	switch {
	case err != nil:
		return false, err
	case db == nil:
		return false, c.say("%s/%s is fenced already", what, instance)
	}
	until := "`kubectl database unfence " + instance + " -n " + clients.namespace + "`"
	if db.Spec.Lifecycle.Paused {
		return false, c.say("%s/%s will be fenced when Database %s is resumed, until %s", what, instance, db.Name, until)
	}
	return true, c.say("%s/%s is being fenced: its engine stops, and stays down until %s%s", what, instance, until, consequence(ctx, clients, db, dbi))
}

// awaitFence waits until the engine of an instance is down.
func (c *cli) awaitFence(ctx context.Context, clients *clients, instance string, patience time.Duration) error {
	last := "it has not reported yet"
	// The question is not given the end of the wait: see follow.
	err := wait.PollUntilContextTimeout(ctx, pollPeriod, patience, true, func(context.Context) (bool, error) {
		dbi, err := clients.Databases.DatabaseV1().DatabaseInstances(clients.namespace).Get(ctx, instance, metav1.GetOptions{})
		if err != nil {
			return false, fmt.Errorf("read instance %s: %w", instance, err)
		}
		if is := &dbi.Status; is.Phase != "" {
			last = strings.TrimSuffix("it is "+string(is.Phase)+": "+is.Message, ": ")
		}
		return dbi.Spec.Fenced && dbi.Status.ObservedGeneration >= dbi.Generation && dbi.Status.Phase == dbv1.InstanceStopped, nil
	})
	switch {
	case wait.Interrupted(err):
		return fmt.Errorf("the engine of instance %s is not known to be down (%s); it is still to stop", instance, last)
	case err != nil:
		return err
	}
	return c.say("%s/%s is fenced: its engine is down", dbv1.Resource("databaseinstances"), instance)
}

// unfence goes on after an error: the other instances are no worse for it.
func (c *cli) unfence(ctx context.Context, instances []string) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range instances {
		_, db, err := setFenced(ctx, clients, name, false)
		what := dbv1.Resource("databaseinstances")
		switch {
		case err != nil:
		case db == nil:
			err = c.say("%s/%s is not fenced", what, name)
		case db.Spec.Lifecycle.Paused:
			err = c.say("%s/%s unfenced: its engine starts again when Database %s is resumed", what, name, db.Name)
		default:
			err = c.say("%s/%s unfenced: its engine starts again", what, name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setFenced fences an instance or lifts its fence. It returns the Database if it changed it.
func setFenced(ctx context.Context, clients *clients, instance string, fenced bool) (*dbv1.DatabaseInstance, *dbv1.Database, error) {
	dbi, err := clients.Databases.DatabaseV1().DatabaseInstances(clients.namespace).Get(ctx, instance, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("there is no instance %q in namespace %q; kubectl database status NAME lists those of a Database", instance, clients.namespace)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read instance %s: %w", instance, err)
	}
	var changed *dbv1.Database
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		changed, err = writeFence(ctx, clients, dbi.Spec.DatabaseName, instance, fenced)
		return err
	})
	return dbi, changed, clients.explain(ctx, err, dbi.Spec.DatabaseName)
}

// consequence says what clients lose by the fence of an instance. Whoever may not see the others is told nothing.
func consequence(ctx context.Context, clients *clients, db *dbv1.Database, fencing *dbv1.DatabaseInstance) string {
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
	switch waitFor := int(dbv1.HighAvailability(db).SynchronousReplicas); {
	case left == 0:
		return "; no other instance serves, so nothing takes writes until then"
	case left <= waitFor:
		return fmt.Sprintf("; %s left, and each write must reach the primary and %s, so writes wait until then", plural.Of(left, "instance"), plural.Of(waitFor, "replica"))
	case fencing.Status.Role == dbv1.RolePrimary:
		return "; it is the primary: another instance takes over, clients are disconnected, and writes wait for some seconds"
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
