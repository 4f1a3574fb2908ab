package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Requests that change the primary. The plugin writes one into an annotation of the Database, with an
// id, and then follows status.operation of that id to its end. The operator takes each id up once, so
// nothing is lost or doubled when the plugin is stopped.

// request is a command line that becomes a request.
type request struct {
	dbv1.OperationRequest
	// wait is how long to follow it; 0 is not at all.
	wait time.Duration
}

const defaultWait = 5 * time.Minute

func (c *cli) switchoverCommand() *cobra.Command {
	r := &request{OperationRequest: dbv1.OperationRequest{Kind: dbv1.OperationSwitchover}}
	cmd := &cobra.Command{
		Use:   "switchover NAME",
		Short: "Make another instance the primary, without losing anything",
		Long: `Make another instance the primary, without losing anything: the primary stops, the other one has all that it
wrote, and takes over. Clients of the primary are disconnected, and writes wait for about two seconds. When it is not
possible in time, all is as it was before, and the command says why.`,
		Example: `  kubectl database switchover orders -n shop
  kubectl database switchover orders --to orders-1 -n shop`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: c.completeNames(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return c.ask(cmd.Context(), args[0], r) },
	}
	cmd.Flags().StringVar(&r.To, "to", "", "the instance that is to be the primary (default: the best replica)")
	cmd.Flags().DurationVar(&r.wait, "wait", defaultWait, "how long to wait for the end; 0 returns at once")
	// It only fails for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("to", c.completeInstancesOf)
	return cmd
}

func (c *cli) failoverCommand() *cobra.Command {
	r := &request{OperationRequest: dbv1.OperationRequest{Kind: dbv1.OperationFailover}}
	cmd := &cobra.Command{
		Use:   "failover NAME --to INSTANCE --accept-data-loss",
		Short: "Make an instance the primary although others that may know more are lost",
		Long: `Make an instance the primary although too few of the others are left to know that it has everything. Failover is
otherwise automatic: this is for when status says that nobody can take over, and those that are missing will not come
back. What only they have is lost. It is refused while there is a primary.`,
		Example:           `  kubectl database failover orders --to orders-2 --accept-data-loss -n shop`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: c.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case r.To == "":
				return usageError{errors.New("--to is missing: name the instance that is to be the primary")}
			case !r.AcceptDataLoss:
				return usageError{errors.New("--accept-data-loss is missing: what only the lost instances have would be lost")}
			}
			return c.ask(cmd.Context(), args[0], r)
		},
	}
	cmd.Flags().StringVar(&r.To, "to", "", "the instance that is to be the primary")
	cmd.Flags().BoolVar(&r.AcceptDataLoss, "accept-data-loss", false, "what only the lost instances have may be lost")
	cmd.Flags().DurationVar(&r.wait, "wait", 2*defaultWait, "how long to wait for the end; 0 returns at once")
	// It only fails for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("to", c.completeInstancesOf)
	return cmd
}

// ask writes a request, and follows it to its end.
func (c *cli) ask(ctx context.Context, name string, r *request) error {
	clients, err := c.connect()
	if err != nil {
		return err
	}
	databases := clients.Databases.DatabaseV1().Databases(clients.namespace)
	db, err := databases.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return clients.explain(ctx, err, name)
	}
	if op := db.Status.Operation; op != nil && (op.Phase == dbv1.OperationPending || op.Phase == dbv1.OperationRunning) {
		return fmt.Errorf("%s %s is under way (%s); wait for its end", op.Kind, op.Target, op.Message)
	}
	if db.Spec.Lifecycle.Paused {
		return fmt.Errorf("Database %s is paused: the operator changes nothing; resume it first", name) //nolint:staticcheck // a kind's name
	}
	r.ID, r.NotAfter = rand.String(10), new(metav1.NewTime(time.Now().Add(cmp.Or(r.wait, defaultWait)).Truncate(time.Second)))
	text, err := r.Render()
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{naming.AnnotationRequest: text}}})
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	if _, err := databases.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}); err != nil {
		return clients.explain(ctx, err, name)
	}
	if r.wait == 0 {
		return c.say("%s/%s: %s asked for, request %s; kubectl database status %s shows how it goes", dbv1.Resource("databases"), name, r.Kind, r.ID, name)
	}
	return c.follow(ctx, clients, name, r)
}

// pollPeriod is the pause between looks at an operation.
const pollPeriod = 500 * time.Millisecond

// follow waits for the end of a request.
func (c *cli) follow(ctx context.Context, clients *clients, name string, r *request) error {
	var op *dbv1.OperationStatus
	var available *metav1.Condition
	// The question is not given the end of the wait: what it would say of that hides what is said below.
	err := wait.PollUntilContextTimeout(ctx, pollPeriod, r.wait, true, func(context.Context) (bool, error) {
		db, err := clients.Databases.DatabaseV1().Databases(clients.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, clients.explain(ctx, err, name)
		}
		if now := db.Status.Operation; now != nil && now.ID == r.ID {
			op, available = now, meta.FindStatusCondition(db.Status.Conditions, dbv1.ConditionPrimaryAvailable)
		}
		return op != nil && op.FinishedAt != nil, nil
	})
	switch {
	case wait.Interrupted(err) && op == nil:
		return fmt.Errorf("the operator has not taken request %s up within %s; is it running?", r.ID, r.wait)
	case wait.Interrupted(err):
		return fmt.Errorf("%s has not ended within %s (%s); kubectl database status %s shows how it goes on", r.Kind, r.wait, op.Message, name)
	case err != nil:
		return err
	case op.Phase != dbv1.OperationSucceeded:
		return fmt.Errorf("%s %s: %s", r.Kind, op.Phase, op.Message)
	case available != nil && available.Reason == dbv1.ReasonWritesWait:
		// It did what was asked, and who asked wants to write.
		return fmt.Errorf("%s %s, and nothing can be written yet: %s", r.Kind, op.Phase, op.Message)
	}
	return c.say("%s/%s: %s", dbv1.Resource("databases"), name, op.Message)
}

// completeInstancesOf completes instances of the Database on the command line.
func (c *cli) completeInstancesOf(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, dbi := range c.listInstances(cmd.Context()) {
		if len(args) == 0 || dbi.Spec.DatabaseName == args[0] {
			names = append(names, cobra.CompletionWithDesc(dbi.Name, string(dbi.Status.Role)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// listInstances is for completion: it is silent when the cluster does not answer.
func (c *cli) listInstances(ctx context.Context) []dbv1.DatabaseInstance {
	clients, err := c.connect()
	if err != nil {
		return nil
	}
	list, err := clients.Databases.DatabaseV1().DatabaseInstances(clients.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	return list.Items
}
