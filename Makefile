# Everything that is done to this repository is a target here; `make help` lists them.
# Needs Go, git and make. The local cluster also needs Linux and root; what else it lacks it installs with apt-get.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Where programs, images and the local cluster are kept.
CACHE := $(or $(DATABASE_OPERATOR_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/database-operator)
export DATABASE_OPERATOR_CACHE := $(CACHE)
CLUSTER := $(CACHE)/bin/cluster
# Not with `go run`, which does not pass on SIGTERM: the tests would go on, and the cluster stay.
TESTRUNNER := go build -o $(CACHE)/bin/testrunner ./hack/testrunner && exec $(CACHE)/bin/testrunner

# The operator's image. It also holds the agent.
IMAGE ?= docker.io/platform-io/database-operator:dev
export IMAGE
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo v0.0.0-dev)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
VERSION_PACKAGE := k8s.io/component-base/version
LDFLAGS := -s -w -X $(VERSION_PACKAGE).gitVersion=$(VERSION) -X $(VERSION_PACKAGE).gitCommit=$(COMMIT)

# How often test-faults repeats every fault, and a regular expression of their names.
REPEAT ?= 10
FAULTS ?=

# Arguments for a target's program, as in: make test-e2e ARGS='-run TestPause'
ARGS ?=

##@ Try it

demo: ## Start the operator and a PostgreSQL in a cluster, and write and read a row
	@go run ./hack/e2e/demo up

demo-down: ## Undo the demo, with the local cluster if the demo started it
	@go run ./hack/e2e/demo down

##@ Work on it

build: ## Build the three programs into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

image: cluster-tool ## Pack the programs into an image archive, out/operator.tar, without Docker
	@rm -rf out/rootfs
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o out/rootfs/usr/local/bin/ ./cmd/...
	@hack/image/pack.sh $(CLUSTER) "$(IMAGE)"

generate: ## Write the generated code anew, and the CRDs
	hack/update-codegen.sh

manifests: generate ## Write the CRDs and manifests/install.yaml anew
	hack/manifests.sh

fmt: ## Format the Go code
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')
	go run ./hack/testrunner tool golangci-lint fmt

lint: ## Run golangci-lint
	go run ./hack/testrunner lint

##@ Use it in a cluster

install: ## Put the CRDs into the current cluster
	hack/kubectl apply --server-side --force-conflicts -k manifests/crd

uninstall: ## Remove the CRDs, and with them every Database, from the current cluster
	hack/kubectl delete --ignore-not-found -k manifests/crd

# The local cluster, if that is the current one: nodes can get an image only if it is loaded into them.
LOCAL := $(if $(filter-out $(CACHE)/cluster/kubeconfig,$(KUBECONFIG)),,$(wildcard $(CACHE)/cluster/kubeconfig))

run: install $(if $(LOCAL),image) ## Run the operator here, against the current cluster; it waits while another one leads
	$(if $(LOCAL),$(CLUSTER) load-image --tar out/operator.tar)
	hack/kubectl apply --server-side -f manifests/operator/namespace.yaml
	@leader="$$(hack/kubectl get lease database-operator --namespace database-system --ignore-not-found --output jsonpath='{.spec.holderIdentity}')"; \
	if [ -n "$$leader" ]; then echo "The last leader was $$leader. While it runs, this operator waits; to end those of the cluster:" \
		"hack/kubectl scale deployment database-operator --namespace database-system --replicas 0"; fi
	KUBECONFIG="$$(hack/kubectl kubeconfig)" go run -ldflags '$(LDFLAGS)' ./cmd/database-operator --agent-image "$(IMAGE)" $(ARGS)

cluster-up: cluster-tool ## Start the local cluster
	$(CLUSTER) up $(ARGS)

cluster-down: cluster-tool ## Stop the local cluster and remove its state
	$(CLUSTER) down

cluster-tool:
	@go -C hack/cluster build -o $(CLUSTER) .

##@ Test it

test: ## Run every layer of tests, installing what they need; a summary is at the end
	@$(TESTRUNNER) all

test-unit: ## Run the tests that need nothing but Go
	go test ./...
	go -C hack/cluster test ./...

test-integration: ## Run the controller against a real API server without nodes
	@$(TESTRUNNER) integration

test-e2e: ## Run the end-to-end tests on a cluster
	@$(TESTRUNNER) e2e -- $(ARGS)

test-faults: ## Let every fault befall a database REPEAT times, or those that match FAULTS; results go to out/faults.json and .md
	@$(TESTRUNNER) faults -- -repeat $(REPEAT) -faults '$(FAULTS)' $(ARGS)

verify: ## Check generated code, manifests, formatting, lint, documentation and modules
	@$(TESTRUNNER) verify

bench: cluster-tool bench-election ## Measure the operator with 200 Databases on an API server without nodes; results go to out/
	@go run ./hack/bench $(ARGS)

bench-peers: ## Compare with Patroni: the same faults, REPEAT times (default 3), and requests; results go to out/peers.json and .md
	@$(TESTRUNNER) peers -- -repeat $(if $(filter file,$(origin REPEAT)),3,$(REPEAT)) -faults '$(FAULTS)' $(ARGS)

# How many random schedules the election's model goes through.
SCHEDULES ?= 1000000

bench-election: ## Go through a million random schedules of the election, and list what finds each rule's removal
	@mkdir -p out
	@go test ./pkg/agent/election -count=1 -timeout=0 -run '^(TestModel|TestMutation)$$' \
		-election.schedules=$(SCHEDULES) -rapid.seed=0 -election.report=$(CURDIR)/out/election.txt
	@cat out/election.txt

##@ Other

clean: ## Remove what was built here; the cache stays
	rm -rf bin out

help: ## Show this text
	@awk -f hack/help.awk $(MAKEFILE_LIST)

.PHONY: demo demo-down build image generate manifests fmt lint install uninstall run cluster-up cluster-down cluster-tool test \
	test-unit test-integration test-e2e test-faults verify bench bench-peers bench-election clean help
