// Command testrunner runs the layers of tests and the checks of the repository, installs what they need, and says in the end what
// passed, what failed, and what was skipped and why. It needs nothing but the standard library, so that it starts at once.
//
//  1. Every layer is a function that returns results; a layer that cannot run here returns one skipped result that says why.
//  2. Layers run one after the other, the cheap ones first, and all of them, whatever failed before.
//  3. The exit status is 0 only if nothing failed. The last line is always "N passed, N failed, N skipped".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

const usage = `usage: testrunner LAYER... [-- ARGUMENT...]
       testrunner tool NAME [ARGUMENT...]

LAYER is all, verify, lint, unit, simulation, integration, e2e, faults or peers. Arguments after -- go to "go test".
`

var errFailed = errors.New("something failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, errFailed) {
		_, _ = fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	repo, err := openRepo(ctx, out)
	if err != nil {
		return err
	}
	if args[0] == "tool" {
		return runTool(ctx, repo, args[1:])
	}
	names := args
	if i := slices.Index(args, "--"); i >= 0 {
		names, repo.testArgs = args[:i], args[i+1:]
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	summary := runLayers(ctx, repo, chosen)
	summary.print(out)
	if summary.count(failed) > 0 || ctx.Err() != nil {
		return errFailed
	}
	return nil
}

// choose returns the layers of these names, in the order in which they run.
func choose(names []string) ([]layer, error) {
	var chosen []layer
	for _, l := range layers {
		if slices.Contains(names, l.name) || (slices.Contains(names, "all") && !l.onlyByName) {
			chosen = append(chosen, l)
		}
	}
	for _, name := range names {
		if name != "all" && !slices.ContainsFunc(layers, func(l layer) bool { return l.name == name }) {
			return nil, fmt.Errorf("there is no layer %q\n%s", name, usage)
		}
	}
	return chosen, nil
}

// runTool runs a tool of the repository at its pinned version, in the folder where the command was given.
func runTool(ctx context.Context, r *repo, args []string) error {
	i := -1
	if len(args) > 0 {
		i = slices.IndexFunc(tools, func(t tool) bool { return t.name == args[0] })
	}
	if i < 0 {
		return fmt.Errorf("the tools are: %v", tools)
	}
	program, err := r.install(ctx, tools[i])
	if err != nil {
		return err
	}
	return r.exec(ctx, ".", program, args[1:]...)
}

// line prints one line of progress.
func (r *repo) line(format string, args ...any) {
	_, _ = fmt.Fprintln(r.out, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}
