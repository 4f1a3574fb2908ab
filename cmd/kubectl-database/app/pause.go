package app

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// fieldManager is who the API server says has made our edits.
const fieldManager = "kubectl-database"

func (c *cli) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME...",
		Short: "Make the operator change nothing about a Database",
		Long: `Make the operator change nothing about a Database, until it is resumed: no restart, no upgrade, no repair. The
operator still reports, the database goes on serving, and failover goes on: that is the instances' own.

It sets spec.lifecycle.paused. Where a Git repository is applied regularly, change it there too, or it is undone.`,
		Example:           `  kubectl database pause orders -n shop`,
		Args:              usage(needsNames),
		ValidArgsFunction: c.completeNames(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return c.setPaused(cmd.Context(), args, true) },
	}
}

func (c *cli) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume NAME...",
		Short:             "Let the operator work on a paused Database again",
		Example:           `  kubectl database resume orders -n shop`,
		Args:              usage(needsNames),
		ValidArgsFunction: c.completeNames(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return c.setPaused(cmd.Context(), args, false) },
	}
}

// setPaused goes on after an error: the other Databases are no worse for it.
func (c *cli) setPaused(ctx context.Context, names []string, paused bool) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, c.setOnePaused(ctx, clients, name, paused))
	}
	return errors.Join(errs...)
}

func (c *cli) setOnePaused(ctx context.Context, clients *clients, name string, paused bool) error {
	databases := clients.Databases.DatabaseV1().Databases(clients.namespace)
	db, err := databases.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return clients.explain(ctx, err, name)
	}
	done, state, next := "resumed", "is not paused", ""
	// null removes the field: what was paused and resumed is as it was before.
	patch := `{"spec":{"lifecycle":{"paused":null}}}`
	if paused {
		done, state = "paused", "is paused already"
		next = ": the operator changes nothing until `kubectl database resume " + name + " -n " + clients.namespace + "`"
		patch = `{"spec":{"lifecycle":{"paused":true}}}`
	}
	what := dbv1.Resource("databases")
	if db.Spec.Lifecycle.Paused == paused {
		return c.say("%s/%s %s", what, name, state)
	}
	_, err = databases.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return clients.explain(ctx, err, name)
	}
	return c.say("%s/%s %s%s", what, name, done, next)
}
