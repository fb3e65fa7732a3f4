# The commands of the project. `make help` lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash

.PHONY: help
help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: ## install what is missing, bring up a cluster, install the hub, run a job (KUBE_CONTEXT=name for a cluster of yours)
	@scripts/up.sh

.PHONY: down
down: ## undo `make up`
	@scripts/down.sh

.PHONY: demo
demo: ## run the demonstration again on what `make up` brought up
	@scripts/demo.sh

.PHONY: test
test: ## run every test: unit, integration, operator, end to end
	@scripts/test.sh

.PHONY: test-unit
test-unit: ## run the tests that need no server
	@scripts/test.sh unit

.PHONY: test-network
test-network: ## check in a lab of its own that NetworkPolicies block everything but what is needed (KEEP_LAB=1)
	@scripts/test-network.sh

.PHONY: chaos
chaos: ## kill parts of a hub by a seed and check what it promises (SEED=, SECONDS=, CLIENTS=, NODES=, KEEP_LAB=1)
	@CHAOS_SECONDS=$(SECONDS) scripts/chaos.sh

.PHONY: lint
lint: ## formatting, clippy, dependency rules, generated files
	@scripts/lint.sh

.PHONY: fuzz
fuzz: ## fuzz what reads the bytes of strangers (SECONDS= for each target, TARGETS="…", KEEP=1 to add to the corpus)
	@FUZZ_SECONDS=$(SECONDS) FUZZ_TARGETS="$(TARGETS)" FUZZ_KEEP=$(KEEP) scripts/fuzz.sh

.PHONY: advisories
advisories: ## check the dependencies against the advisories of RustSec (FLICKRHUB_ADVISORY_DB=copy)
	@scripts/advisories.sh

.PHONY: sbom
sbom: ## write a bill of materials for each image, and of a hub, into target/sbom
	@scripts/sbom.sh

.PHONY: generate
generate: ## write the CRDs, the chart's copy of them and the OpenAPI document anew
	@scripts/generate.sh

.PHONY: images
images: ## build the images and load them into the lab
	@scripts/images.sh

.PHONY: bench-engine
bench-engine: ## measure the job engine; all benches, or BENCH="accept latency …" (see docs/benchmarks.md)
	@scripts/bench-engine.sh $(BENCH) $(ARGS)

.PHONY: bench-operator
bench-operator: ## measure the operator; all benches, or BENCH="rest repair …" (see docs/benchmarks.md)
	@scripts/bench-operator.sh $(BENCH) $(ARGS)

.PHONY: bench-failover
bench-failover: ## lose the leader of each engine, and of the operator, in each way and measure the gap and the loss of writes (ARGS=; see docs/benchmarks.md)
	@scripts/bench-failover.sh $(ARGS)

.PHONY: bench-scale-in
bench-scale-in: ## let workers come and go under load and count what has to be done again (see docs/autoscaling.md)
	@scripts/bench-engine.sh scale-in $(ARGS)
