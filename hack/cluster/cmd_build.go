package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/cluster/internal/build"
	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

func newBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Install and build all that the cluster consists of, and cache it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			return buildAll(cmd.Context(), b)
		},
	}
}

func newBuilder() (build.Builder, error) {
	cache, err := paths.Default()
	if err != nil {
		return build.Builder{}, err
	}
	source, err := build.FindSource()
	if err != nil {
		return build.Builder{}, err
	}
	return build.Builder{Cache: cache, Source: source, Log: os.Stderr}, nil
}

// buildAll makes everything that `up` needs.
func buildAll(ctx context.Context, b build.Builder) error {
	if err := b.Packages(ctx); err != nil {
		return err
	}
	for _, program := range build.Programs {
		if _, err := b.Program(ctx, program); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintln(b.Log, "built")
	return nil
}
