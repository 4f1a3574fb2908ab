package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// goPackage is what "go list" says of a package.
type goPackage struct {
	Dir, ImportPath           string
	TestGoFiles, XTestGoFiles []string
}

func (p goPackage) testFiles() []string {
	return append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// packagesWithTag returns the packages that have test files only with the build tag, and the tests in those files.
func (r *repo) packagesWithTag(ctx context.Context, tag string) (packages, tests []string, err error) {
	with, err := r.listPackages(ctx, "-tags", tag)
	if err != nil {
		return nil, nil, err
	}
	without, err := r.listPackages(ctx)
	if err != nil {
		return nil, nil, err
	}
	for path, pkg := range with {
		always := without[path].testFiles()
		files := slices.DeleteFunc(pkg.testFiles(), func(file string) bool { return slices.Contains(always, file) })
		for _, file := range files {
			source, err := os.ReadFile(filepath.Join(pkg.Dir, file))
			if err != nil {
				return nil, nil, fmt.Errorf("reading tests: %w", err)
			}
			for _, match := range testFunction.FindAllStringSubmatch(string(source), -1) {
				tests = append(tests, match[1])
			}
		}
		if len(files) > 0 {
			packages = append(packages, path)
		}
	}
	slices.Sort(packages)
	slices.Sort(tests)
	return packages, slices.Compact(tests), nil
}

func (r *repo) listPackages(ctx context.Context, flags ...string) (map[string]goPackage, error) {
	args := append([]string{"list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles"}, flags...)
	output, err := r.command(ctx, ".", "go", append(args, "./...")...).Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	packages := map[string]goPackage{}
	for decoder := json.NewDecoder(strings.NewReader(string(output))); decoder.More(); {
		var pkg goPackage
		if err := decoder.Decode(&pkg); err != nil {
			return nil, fmt.Errorf("listing packages: %w", err)
		}
		packages[pkg.ImportPath] = pkg
	}
	return packages, nil
}

// onlyThese is an argument of "go test -run" that chooses these tests.
func onlyThese(tests []string) string { return "^(" + strings.Join(tests, "|") + ")$" }
