// The subcommands that make things: programs, packages and images.

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/platform-io/database-operator/hack/cluster/internal/build"
	"github.com/platform-io/database-operator/hack/cluster/internal/cluster"
	"github.com/platform-io/database-operator/hack/cluster/internal/image"
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
			_, err = buildAll(cmd.Context(), b)
			return err
		},
	}
}

func newEnginesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "engines",
		Short: "Install the programs of database engines where there are none, for tests without a cluster; no server is started",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := newBuilder()
			if err != nil {
				return err
			}
			return b.Engines(cmd.Context())
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

// makeImages makes the images that every cluster has: that of the sandboxes and the known ones.
func makeImages(ctx context.Context, c *cluster.Cluster, b build.Builder, pause string) error {
	defer c.EndBuild()
	k := image.Kitchen{Cache: b.Cache, Command: c.BuildCommand, Log: b.Log}
	if _, err := k.Pause(pause); err != nil {
		return err
	}
	for _, recipe := range image.Recipes {
		if _, err := k.Archive(ctx, recipe); err != nil {
			return err
		}
	}
	return nil
}

func newImageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Make image archives"}
	cmd.AddCommand(newImageBuildCommand(), newImagePackCommand())
	return cmd
}

func newImageBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build NAME",
		Short: "Make a known image of Debian's packages in the cache, and print the path of its archive",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			recipe, err := image.Find(args[0])
			if err != nil {
				return err
			}
			b, err := newBuilder()
			if err != nil {
				return err
			}
			if err := b.Packages(cmd.Context()); err != nil {
				return err
			}
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error {
				defer c.EndBuild()
				file, err := image.Kitchen{Cache: b.Cache, Command: c.BuildCommand, Log: b.Log}.Archive(cmd.Context(), recipe)
				if err != nil {
					return err
				}
				_, err = fmt.Println(file)
				return err
			})
		},
	}
}

// imageFlags are the flags by which an image is described.
type imageFlags struct {
	spec image.Spec
}

func (f *imageFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.spec.Rootfs, "rootfs", "", "folder of the root file system, whose files become root's, or a tar file of it")
	flags.StringArrayVar(&f.spec.Config.Entrypoint, "entrypoint", nil, "program of the image, and further arguments (repeat)")
	flags.StringArrayVar(&f.spec.Config.Cmd, "cmd", nil, "arguments unless others are given (repeat)")
	flags.StringArrayVar(&f.spec.Config.Env, "env", nil, "NAME=VALUE of the environment (repeat)")
	flags.StringVar(&f.spec.Config.User, "user", "", "UID[:GID] of the processes")
	flags.StringVar(&f.spec.Config.WorkingDir, "workdir", "", "working folder of the processes")
}

func newImagePackCommand() *cobra.Command {
	var f imageFlags
	out := ""
	cmd := &cobra.Command{
		Use:   "pack --name NAME:TAG --rootfs DIR --out FILE.tar",
		Short: "Write an image archive of a root file system; the same files give the same bytes",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return image.Pack(out, f.spec) },
	}
	f.add(cmd)
	cmd.Flags().StringArrayVar(&f.spec.Names, "name", nil, "full name of the image, such as docker.io/library/postgres:15 (repeat)")
	cmd.Flags().StringVar(&out, "out", "", "file of the archive")
	for _, name := range []string{"name", "rootfs", "out"} {
		_ = cmd.MarkFlagRequired(name) // fails only if the flag does not exist
	}
	return cmd
}

func newLoadImageCommand() *cobra.Command {
	var f imageFlags
	archive := ""
	cmd := &cobra.Command{
		Use:   "load-image [NAME:TAG...] --tar FILE | --rootfs DIR",
		Short: "Import an image into all nodes, from an archive, or from a root file system with names for it",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.spec.Names = args
			return withCluster(cluster.Programs{}, func(c *cluster.Cluster) error { return loadImage(cmd.Context(), c, archive, f.spec) })
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&archive, "tar", "", "image archive as of `image pack` or `docker save`, or a tar file of a root file system")
	cmd.MarkFlagsOneRequired("tar", "rootfs")
	cmd.MarkFlagsMutuallyExclusive("tar", "rootfs")
	return cmd
}

// loadImage imports an archive, or packs one first.
func loadImage(ctx context.Context, c *cluster.Cluster, archive string, spec image.Spec) error {
	if archive != "" {
		ready, err := image.IsArchive(archive)
		if err != nil {
			return err
		}
		if ready {
			return c.LoadImage(ctx, archive)
		}
		spec.Rootfs = archive
	}
	cache, err := paths.Default()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache.Temp(), 0o750); err != nil {
		return fmt.Errorf("making the folder of unfinished work: %w", err)
	}
	packed := cache.Temp(image.FileName(spec.Names))
	defer func() { _ = os.Remove(packed) }()
	if err := image.Pack(packed, spec); err != nil {
		return err
	}
	return c.LoadImage(ctx, packed)
}
