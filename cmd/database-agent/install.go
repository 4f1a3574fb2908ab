package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newInstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install DIR",
		Short: "Copies this program into a folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			return install(self, args[0])
		},
	}
}

// install copies a program into a folder, under the name database-agent. A container that starts
// meanwhile sees the old one or the new one, whole.
func install(program, dir string) error {
	source, err := os.Open(program)
	if err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	defer source.Close()
	temporary, err := os.CreateTemp(dir, ".database-agent-*")
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	_, err = io.Copy(temporary, source)
	err = errors.Join(err, temporary.Chmod(0o755), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), filepath.Join(dir, "database-agent"))
	}
	if err != nil {
		return fmt.Errorf("install: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}
