package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// check is something that must hold of the repository. A check that fails returns what is wrong and how to put it right.
type check struct {
	name string
	run  func(context.Context, *repo) error
}

var checks = []check{
	{"gofmt", checkFormat},
	{"modules are tidy", checkTidy},
	{"one version of the Kubernetes modules", checkKubernetesVersions},
	{"the operator imports no driver", checkNoDriver},
	{"generated code", checkScript("hack/update-codegen.sh", "--verify")},
	{"manifests", checkScript("hack/manifests.sh", "--verify")},
	{"documentation of the CRDs", checkProgram("hack/verify/crddocs")},
}

func runVerify(ctx context.Context, r *repo) []result {
	var results []result
	for _, c := range checks {
		results = append(results, r.check(ctx, c))
	}
	return append(results, runLint(ctx, r)...)
}

// heavy are modules with hardly a line of ours, that take minutes to load.
var heavy = map[string]bool{"hack/cluster/kube": true, "hack/cluster/coredns": true}

func runLint(ctx context.Context, r *repo) []result {
	modules, err := r.modules(ctx)
	if err != nil {
		return []result{{name: "golangci-lint", outcome: failed, reason: err.Error()}}
	}
	var results []result
	for _, module := range modules {
		if heavy[module] {
			continue
		}
		results = append(results, r.check(ctx, check{"golangci-lint in " + module, func(ctx context.Context, r *repo) error {
			program, err := r.install(ctx, golangciLint)
			if err != nil {
				return err
			}
			output, err := r.capture(ctx, module, program, "run", "--allow-parallel-runners", "./...")
			return withOutput(err, output)
		}}))
	}
	return results
}

// check runs one check and shows how it went.
func (r *repo) check(ctx context.Context, c check) result {
	start := time.Now()
	err := c.run(ctx, r)
	took := time.Since(start).Round(time.Millisecond)
	if err != nil {
		r.line("fail  %s %s\n%v", c.name, took, err)
		return result{name: c.name, outcome: failed}
	}
	r.line("pass  %s %s", c.name, took)
	return result{name: c.name, outcome: passed}
}

func withOutput(err error, output string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\n%s", err, strings.TrimSpace(output))
}

func checkFormat(ctx context.Context, r *repo) error {
	files, err := r.files(ctx, "*.go")
	if err != nil {
		return err
	}
	output, err := r.capture(ctx, ".", "gofmt", append([]string{"-l"}, files...)...)
	if err == nil && output != "" {
		err = fmt.Errorf("these files are not formatted; run: make fmt")
	}
	return withOutput(err, output)
}

func checkTidy(ctx context.Context, r *repo) error {
	modules, err := r.modules(ctx)
	if err != nil {
		return err
	}
	for _, module := range modules {
		if output, err := r.capture(ctx, module, "go", "mod", "tidy", "-diff"); err != nil {
			return withOutput(fmt.Errorf("run in %s: go mod tidy: %w", module, err), output)
		}
	}
	return nil
}

// versioned are the modules that Kubernetes releases together; the others of k8s.io have versions of their own.
var versioned = regexp.MustCompile(`(?m)(?:^\s*(?:require )?|=> )k8s\.io/([a-z-]+) v([01])\.([0-9]+\.[0-9]+)(?: |$)`)

var ownVersions = map[string]bool{"klog": true, "utils": true, "kube-openapi": true, "gengo": true}

// checkKubernetesVersions looks for different versions in one go.mod, that is, in one program: k8s.io/kubernetes v1.37.2 goes with v0.37.2
// of the others.
func checkKubernetesVersions(ctx context.Context, r *repo) error {
	modules, err := r.modules(ctx)
	if err != nil {
		return err
	}
	for _, module := range modules {
		data, err := os.ReadFile(filepath.Join(r.root, module, "go.mod"))
		if err != nil {
			return fmt.Errorf("reading go.mod: %w", err)
		}
		found := map[string]string{}
		for _, match := range versioned.FindAllStringSubmatch(string(data), -1) {
			if !ownVersions[match[1]] && match[3] != "0.0" { // v0.0.0 stands for what a replace says
				found[match[3]] = match[1]
			}
		}
		if len(found) > 1 {
			return fmt.Errorf("module %s requires more than one version of the Kubernetes modules: %v", module, found)
		}
	}
	return nil
}

func checkNoDriver(ctx context.Context, r *repo) error {
	output, err := r.capture(ctx, ".", "go", "list", "-deps", "./cmd/database-operator")
	if err != nil {
		return withOutput(err, output)
	}
	for pkg := range strings.FieldsSeq(output) {
		if strings.HasPrefix(pkg, "github.com/platform-io/database-operator/pkg/engine/") && strings.HasSuffix(pkg, "/driver") {
			return fmt.Errorf("cmd/database-operator depends on %s; drivers run in the agent", pkg)
		}
	}
	return nil
}

func checkScript(script string, args ...string) func(context.Context, *repo) error {
	return func(ctx context.Context, r *repo) error {
		output, err := r.capture(ctx, ".", filepath.Join(r.root, script), args...)
		return withOutput(err, output)
	}
}

func checkProgram(pkg string, args ...string) func(context.Context, *repo) error {
	return func(ctx context.Context, r *repo) error {
		output, err := r.capture(ctx, ".", "go", append([]string{"run", "./" + pkg}, args...)...)
		return withOutput(err, output)
	}
}
