package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/platform-io/database-operator/cmd/kubectl-database/status"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// watchPeriod is the pause between two looks with --watch.
const watchPeriod = 2 * time.Second

type statusOptions struct {
	output        string
	watch         bool
	allNamespaces bool
}

func (c *cli) statusCommand() *cobra.Command {
	o := statusOptions{}
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show how a Database is, or list all with their problems",
		Long: `Show how a Database is: what is wrong and since when, its instances, volumes, credentials and backups, what is
under way, what waits and for what, and recent warnings. Without a name, list all Databases with their problems.

Passwords are not read: the text says how to. Times are UTC. Colours are used on a terminal, unless NO_COLOR is set.`,
		Example: `  kubectl database status orders -n shop
  kubectl database status orders --watch
  kubectl database status -A
  kubectl database status orders -o json | jq .database.status.phase`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: c.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return c.status(cmd.Context(), name, o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text, json or yaml: json and yaml hold the objects themselves.")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Show it again whenever it changes, until interrupted.")
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "List the Databases of all namespaces.")
	// It only fails for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o statusOptions) validate(name string) error {
	switch {
	case o.output != "text" && o.output != "json" && o.output != "yaml":
		return usageError{fmt.Errorf("-o %s is not known; choose text, json or yaml", o.output)}
	case o.watch && o.output != "text":
		return usageError{errors.New("--watch goes with text only")}
	case o.allNamespaces && name != "":
		return usageError{errors.New("-A lists Databases; with a name, say its namespace with -n")}
	}
	return nil
}

func (c *cli) status(ctx context.Context, name string, o statusOptions) error {
	if err := o.validate(name); err != nil {
		return err
	}
	clients, err := c.connect()
	if err != nil {
		return err
	}
	show := func() (string, error) {
		text, err := c.statusText(ctx, clients, name, o)
		return text, clients.explain(ctx, err, name)
	}
	if o.watch {
		return c.watch(ctx, show)
	}
	text, err := show()
	if err != nil {
		return err
	}
	return write(c.Out, text)
}

func (c *cli) statusText(ctx context.Context, clients *clients, name string, o statusOptions) (string, error) {
	if name != "" {
		report, err := clients.Gather(ctx, clients.namespace, name)
		if err != nil {
			return "", err
		}
		if o.output != "text" {
			return encode(report, o.output)
		}
		return status.Text(report, c.rendering()), nil
	}
	namespace := clients.namespace
	if o.allNamespaces {
		namespace = metav1.NamespaceAll
	}
	databases, err := clients.List(ctx, namespace)
	if err != nil {
		return "", err
	}
	if o.output != "text" {
		list := dbv1.DatabaseList{Items: databases}
		list.SetGroupVersionKind(dbv1.SchemeGroupVersion.WithKind("DatabaseList"))
		return encode(list, o.output)
	}
	if len(databases) == 0 {
		return c.none(namespace)
	}
	return status.Table(databases, o.allNamespaces, c.rendering()), nil
}

// none says that there is nothing where scripts do not read it, as kubectl does.
func (c *cli) none(namespace string) (string, error) {
	where := "in any namespace"
	if namespace != metav1.NamespaceAll {
		where = fmt.Sprintf("in namespace %q; -A lists those of all", namespace)
	}
	return "", write(c.ErrOut, "There is no Database "+where+".\n")
}

func encode(value any, output string) (string, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	if output == "json" {
		return buffer.String(), nil
	}
	text, err := yaml.JSONToYAML(buffer.Bytes())
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	return string(text), nil
}

// watch shows again what changed. It looks every few seconds rather than watching six kinds: ages
// grow, too.
func (c *cli) watch(ctx context.Context, show func() (string, error)) error {
	last := ""
	for ctx.Err() == nil {
		text, err := show()
		if err != nil && ctx.Err() == nil {
			return err
		}
		if text != "" && text != last {
			if err := write(c.Out, c.separator(last == "")+text); err != nil {
				return err
			}
			last = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPeriod):
		}
	}
	return nil // interrupted, as it is meant to end
}

// separator stands before a text that follows another: a clear screen where there is one.
func (c *cli) separator(first bool) string {
	switch {
	case c.terminal():
		return "\x1b[H\x1b[2J"
	case first:
		return ""
	default:
		return "\n"
	}
}

// rendering is how text is shown where the output goes.
func (c *cli) rendering() status.Options {
	o := status.Options{Now: time.Now(), Width: 100, Colour: c.terminal() && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if file, ok := c.Out.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			o.Width = min(width, 140)
		}
	}
	return o
}

func (c *cli) terminal() bool {
	file, ok := c.Out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
