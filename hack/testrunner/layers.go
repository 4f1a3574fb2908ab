package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// layer is a kind of test.
type layer struct {
	name, what string
	// onlyByName keeps a layer out of "all".
	onlyByName bool
	run        func(context.Context, *repo) []result
}

var layers = []layer{
	{name: "verify", what: "generated code, manifests, formatting, lint, documentation, modules", run: runVerify},
	{name: "lint", what: "golangci-lint alone", onlyByName: true, run: runLint},
	{name: "unit", what: "planners, state machines, validation, parsers", run: runUnit},
	{name: "simulation", what: "many instances of the pure machines, with faults after every step", run: runSimulation},
	{name: "integration", what: "the controller and the agent against a real API server without nodes", run: runIntegration},
	{name: "e2e", what: "real databases on a cluster, with real clients", run: runE2E},
	{name: "faults", what: "every fault many times, with percentiles", onlyByName: true, run: runFaults},
	{name: "peers", what: "the same faults on databases of this operator and of Patroni, side by side", onlyByName: true, run: runPeers},
}

// simulationTests are the tests that simulate many instances; they run as a layer of their own.
const simulationTests = "^Test.*Simulation"

func runLayers(ctx context.Context, r *repo, chosen []layer) *summary {
	s := &summary{}
	for _, l := range chosen {
		if ctx.Err() != nil {
			s.add(l.name, 0, []result{{name: l.name, outcome: failed, reason: "interrupted"}})
			continue
		}
		r.line("\n=== %s: %s", l.name, l.what)
		start := time.Now()
		results := l.run(ctx, r)
		s.add(l.name, time.Since(start), results)
	}
	return s
}

func runUnit(ctx context.Context, r *repo) []result {
	results := r.goTest(ctx, goTest{dir: ".", args: []string{"-skip", simulationTests, "./..."}})
	return append(results, r.goTest(ctx, goTest{dir: "hack/cluster", args: []string{"./..."}})...)
}

func runSimulation(ctx context.Context, r *repo) []result {
	return r.goTest(ctx, goTest{dir: ".", args: []string{"-run", simulationTests, "./pkg/..."}})
}

func runIntegration(ctx context.Context, r *repo) []result {
	packages, tests, err := r.packagesWithTag(ctx, "integration")
	if err != nil {
		return []result{{name: "integration", outcome: failed, reason: err.Error()}}
	}
	if len(packages) == 0 {
		return nil
	}
	if runtime.GOOS != "linux" {
		return skippedLayer("integration", "etcd and kube-apiserver are started as processes of this machine: that needs Linux")
	}
	if err := errors.Join(r.prepareAPIServer(ctx), r.prepareEngines(ctx)); err != nil {
		return []result{{name: "integration", outcome: failed, reason: "preparing: " + err.Error()}}
	}
	_ = os.Setenv("TEST_REQUIRE_APISERVER", "1") // it was tried: a test without it has failed
	// The other tests of these packages ran before, as unit tests.
	args := append([]string{"-tags", "integration", "-count=1", "-timeout=15m", "-run", onlyThese(tests)}, append(r.testArgs, packages...)...)
	return r.goTest(ctx, goTest{dir: ".", args: args})
}

// prepareEngines installs the programs of PostgreSQL and Redis, which tests of the agent, the drivers and the checker start. Who is not root,
// or has no apt-get, cannot install them: the tests of an engine that is missing are skipped, and say why.
func (r *repo) prepareEngines(ctx context.Context) error {
	if !canInstall() {
		return nil
	}
	cluster, err := r.clusterTool(ctx)
	if err != nil {
		return err
	}
	if err := r.exec(ctx, ".", cluster, "engines"); err != nil {
		return err
	}
	for _, name := range []string{"TEST_REQUIRE_POSTGRES", "TEST_REQUIRE_REDIS"} {
		_ = os.Setenv(name, "1") // they are there: a test without them has failed
	}
	return nil
}

func canInstall() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}

// prepareAPIServer builds kube-apiserver and etcd, outside of any time limit of a test.
func (r *repo) prepareAPIServer(ctx context.Context) error {
	cluster, err := r.clusterTool(ctx)
	if err != nil {
		return err
	}
	return r.once("apiserver", func() error {
		dir, err := os.MkdirTemp("", "testrunner-")
		if err != nil {
			return fmt.Errorf("making a folder for the API server: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cmd := r.command(ctx, ".", cluster, "apiserver", "--dir", filepath.Join(dir, "state"))
		cmd.Stderr = r.out
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return fmt.Errorf("starting the API server: %w", err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return fmt.Errorf("starting the API server: %w", err)
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting the API server: %w", err)
		}
		_, readErr := bufio.NewReader(stdout).ReadString('\n') // the kubeconfig's path: it is ready
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil || readErr != nil {
			return fmt.Errorf("trying the API server: %w (%w)", err, readErr)
		}
		return nil
	})
}

func runE2E(ctx context.Context, r *repo) []result {
	return r.onCluster(ctx, "e2e", "e2e", append([]string{"-timeout=60m", "-parallel=4"}, r.testArgs...))
}

// faultTests are the tests that let faults befall a database, which are also a part of the layer e2e, where each fault happens once.
const faultTests = "^Test(Asynchronous)?Replicated(Process|Data)?Faults$"

// runFaults repeats them. What the faults did goes to out/faults.json, and to out/faults.md as a table, which is printed, too.
func runFaults(ctx context.Context, r *repo) []result {
	return r.measure(ctx, "faults", "e2e", "-run", faultTests, "-outage=5m")
}

// runPeers lets the same faults befall others' databases. Results go to out/peers.json and .md.
func runPeers(ctx context.Context, r *repo) []result {
	return r.measure(ctx, "peers", "e2e,peers", "-run", "^TestPeers$", "-settled-for=2m")
}

// measure runs tests whose results go to files in out, of which it prints the one for people.
func (r *repo) measure(ctx context.Context, layer, tags string, args ...string) []result {
	name := filepath.Join(r.root, "out", layer)
	_ = os.Remove(name + ".md") // else an old one would be printed
	args = append(append(args, "-timeout=48h", "-results", name+".json"), r.testArgs...)
	results := r.onCluster(ctx, layer, tags, args)
	if table, err := os.ReadFile(name + ".md"); err == nil {
		r.line("\n%s", table)
	}
	return results
}

// onCluster runs tests with these build tags.
func (r *repo) onCluster(ctx context.Context, layer, tags string, args []string) []result {
	packages, _, err := r.packagesWithTag(ctx, tags)
	if err != nil {
		return []result{{name: layer, outcome: failed, reason: err.Error()}}
	}
	if len(packages) == 0 {
		return nil
	}
	if why := whyNoCluster(); why != "" {
		return skippedLayer(layer, why)
	}
	tests := goTest{dir: ".", args: append([]string{"-tags", tags, "-count=1", "-v"}, append(packages, args...)...), verbose: true}
	if os.Getenv("KUBECONFIG") != "" {
		return r.goTest(ctx, tests)
	}
	return r.onLocalCluster(ctx, layer, tests)
}

// onLocalCluster runs tests that bring up the local cluster if there is none. They take it down themselves, unless they are interrupted
// or take too long: then it is done here.
func (r *repo) onLocalCluster(ctx context.Context, layer string, tests goTest) []result {
	cluster, err := r.clusterTool(ctx)
	if err == nil {
		err = r.exec(ctx, ".", cluster, "build")
	}
	if err != nil {
		return []result{{name: layer, outcome: failed, reason: "preparing the local cluster: " + err.Error()}}
	}
	others := r.hasCluster()
	results := r.goTest(ctx, tests)
	if others || !r.hasCluster() || os.Getenv("E2E_KEEP") != "" {
		return results
	}
	r.line("\nTaking down the cluster, which the tests left")
	if err := r.exec(context.WithoutCancel(ctx), ".", cluster, "down"); err != nil {
		results = append(results, result{name: layer, outcome: failed, reason: "taking down the local cluster: " + err.Error()})
	}
	return results
}

// hasCluster says whether there is a local cluster, running or not.
func (r *repo) hasCluster() bool {
	_, err := os.Stat(filepath.Join(r.cache, "cluster"))
	return err == nil
}

// whyNoCluster returns why there can be no cluster here, or nothing.
func whyNoCluster() string {
	switch {
	case os.Getenv("KUBECONFIG") != "":
		return ""
	case runtime.GOOS != "linux":
		return "the local cluster needs Linux; set KUBECONFIG to use another one"
	case os.Geteuid() != 0:
		return "the local cluster needs root; run as root, or set KUBECONFIG to use another cluster"
	}
	return ""
}

func skippedLayer(name, reason string) []result {
	return []result{{name: name + " (the whole layer)", outcome: skipped, reason: reason}}
}
