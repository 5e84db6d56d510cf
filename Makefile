# The one spelling of commands: people and CI call the same targets. Longer steps are scripts under tests/.
CARGO ?= cargo
QUICKSTART := deploy/examples/quickstart.yaml
# Helm of the charts: built once, unless this names another.
HELM ?= target/cluster/bin/helm
# The file of `make check-config`.
F ?= $(QUICKSTART)
# Seconds per target of `make fuzz`.
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: bench bench-push bench-push-scale build charts check-config clean cluster cluster-binaries conformance crds deny fuzz fuzz-check helm help install-yaml interop lint matrix peers run test test-cluster

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

build: ## Compile all programs (debug)
	$(CARGO) build --locked --workspace

run: build ## Start a gateway on localhost with two backends and print how to use it
	exec target/debug/mcp-gateway --config $(QUICKSTART) --welcome

test: build peers ## Run all tests; installs what they need first
	$(CARGO) test --locked --workspace --no-fail-fast

lint: ## Formatting, clippy, documentation, layers, licences, file sizes
	tests/lint

deny: ## Banned crates, doubled versions, licences
	$(CARGO) test --locked -q -p bridge-tests --test supply
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo "cargo-deny is not installed; the test above checks the same rules"; fi

conformance: build peers ## The official MCP suites, directly and through the gateway, across generations, as tables
	$(CARGO) test --locked -q -p bridge-tests --test conformance

matrix: build ## Every frontend and backend transport, every pair of generations, as a table
	$(CARGO) test --locked -q -p bridge-tests --test matrix

interop: build peers ## Published clients through the gateway to published servers and bridges
	$(CARGO) test --locked -p bridge-tests $(patsubst tests/harness/tests/%.rs,--test %,$(wildcard tests/harness/tests/interop_*.rs))

bench: ## Cost of one hop beside a direct call, nginx and bare hyper
	tests/peers/install nginx=nginx
	$(CARGO) build --locked --release -p mcp-gateway -p bridge-bench
	target/release/bridge-bench all

bench-push: cluster-binaries ## How long a change takes from the API server to every pod; needs root
	$(CARGO) build --locked --release -p mcp-gateway -p mcp-operator -p mcp-test-server
	$(CARGO) test --locked -q -p bridge-cluster --test latency -- --nocapture
	$(MAKE) bench-push-scale

bench-push-scale: ## How long a change takes to 1,000 simulated pods of 10,000 backends, and what it costs
	$(CARGO) bench --locked -p mcp-operator --bench push

cluster: build cluster-binaries ## A Kubernetes cluster on this machine with pods as processes, for kubectl; needs root
	exec target/debug/bridge-cluster

test-cluster: build cluster-binaries helm ## The tests that need a Kubernetes cluster; needs root
	tests/peers/install redis-server=redis-server
	$(CARGO) test --locked -q -p bridge-cluster --test cluster --test operator --test faults --test install

cluster-binaries: ## Build the control plane of the test cluster once (Go), unless KUBEBUILDER_ASSETS is set
	@test -n "$$KUBEBUILDER_ASSETS" || tests/cluster/control-plane/build "$(CURDIR)/target/cluster/bin"

fuzz-check: ## Compile the fuzz targets and replay their corpus
	tests/fuzz-check

fuzz: ## Fuzz each target for FUZZ_SECONDS (needs nightly Rust and cargo-fuzz); finds stay in target/fuzz-corpus
	@targets=$$($(CARGO) +nightly fuzz list --fuzz-dir tests/fuzz) && for target in $$targets; do \
	    mkdir -p target/fuzz-corpus/$$target && \
	    $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target target/fuzz-corpus/$$target tests/fuzz/corpus/$$target \
	        -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

crds: ## Write crds/manifests/ and docs/resources.md from the types in crds/api
	UPDATE_REFERENCE=1 $(CARGO) test --locked -q -p bridge-api --test manifests

charts: ## Write what is generated in charts/ from crds/manifests, the operator's roles and the values' comments
	$(CARGO) build --locked -p mcp-operator
	UPDATE_REFERENCE=1 $(CARGO) test --locked -q -p bridge-tests --test charts what_is_generated

install-yaml: charts helm ## Write deploy/install.yaml from charts/ and deploy/install/
	deploy/install/render $(HELM) >target/install.yaml
	mv target/install.yaml deploy/install.yaml

helm: ## Build Helm once (Go), unless HELM names one
	@test "$(HELM)" != target/cluster/bin/helm || tests/cluster/helm/build "$(CURDIR)/target/cluster/bin"

check-config: ## Validate a configuration file: make check-config F=path
	$(CARGO) run --locked -q -p mcp-gateway -- check --config $(F)

peers: ## Install the published clients and servers of the tests under target/peers
	tests/peers/install

clean: ## Remove everything built or installed here
	$(CARGO) clean
