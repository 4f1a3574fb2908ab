// Package cache says where the tests and the tools keep programs, images and the local cluster. The cluster tool (hack/cluster, a module
// of its own), the Makefile and hack/kubectl have the same rule. It imports nothing but the standard library.
package cache

import (
	"fmt"
	"os"
	"path/filepath"
)

// Env is the environment variable that chooses another folder.
const Env = "DATABASE_OPERATOR_CACHE"

// Dir returns the folder.
func Dir() (string, error) {
	if dir := os.Getenv(Env); dir != "" {
		return dir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for the folder for caches (%s chooses one): %w", Env, err)
	}
	return filepath.Join(base, "database-operator"), nil
}

// ClusterTool returns the path of the cluster tool, built or not.
func ClusterTool() (string, error) {
	dir, err := Dir()
	return filepath.Join(dir, "bin", "cluster"), err
}
