# Recipes for people and for CI. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE := $(or $(INGESTD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ingestd)
export CARGO_TARGET_DIR ?= $(CACHE)/target
export ROCKSDB_STATIC := 1
# Evaluated when a recipe needs it: the first time it compiles RocksDB.
rocksdb = lib="$$(scripts/rocksdb.sh)" && export ROCKSDB_LIB_DIR="$$lib" &&

.PHONY: help
help: ## List the recipes
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

.PHONY: deps
deps: ## Install what is missing to build and run (apt), or say what to install
	@scripts/deps.sh build

.PHONY: build
build: deps ## Build the daemon in release mode
	@$(rocksdb) cargo build --release --locked --bin ingestd

.PHONY: deb
deb: build ## Pack the daemon for Debian, with its units: installs, upgrades, removes, purges
	@scripts/deb.sh

.PHONY: run
run: build ## Build and start the daemon on 127.0.0.1:3001 with its data in ./data
	@scripts/run.sh "$(CARGO_TARGET_DIR)/release/ingestd"

.PHONY: test
test: ## Everything CI runs: format, lints, unit, property, integration and crash tests
	@scripts/deps.sh test
	@$(rocksdb) scripts/test.sh

# The rigs drive a release build; N is the number of rounds. Last recorded results: docs/proof.md.
N ?= 20
rig = cargo run --profile checked --locked --quiet --manifest-path tests/rig/Cargo.toml --bin rig --

.PHONY: crash
crash: build ## kill -9 at random moments, N rounds (N=20), each followed by a full check
	@$(rocksdb) $(rig) crash --rounds $(N) --bin "$(CARGO_TARGET_DIR)/release/ingestd"

.PHONY: powercut
powercut: build ## Cut the power of a guest machine, N rounds (N=20)
	@sh tests/rig/setup.sh
	@$(rocksdb) $(rig) powercut --rounds $(N) --bin "$(CARGO_TARGET_DIR)/release/ingestd"

.PHONY: faults
faults: build ## Failing writes and syncs, full and read-only disks, damaged files
	@sh tests/rig/setup.sh
	@$(rocksdb) $(rig) disk space damage --bin "$(CARGO_TARGET_DIR)/release/ingestd"

.PHONY: torment
torment: build ## Kill, freeze and restart daemon, ClickHouse and Kafka at random, N rounds (N=20)
	@scripts/deps.sh test
	@$(rocksdb) $(rig) torment --rounds $(N) --bin "$(CARGO_TARGET_DIR)/release/ingestd"

.PHONY: life
life: build ## Install, crash, wedge, upgrade (OLDER=package) and purge the package under systemd, in a guest (as root)
	@sh tests/rig/setup.sh life
	@tests/rig/life/run.sh "$$(scripts/deb.sh)" $(OLDER)

.PHONY: fuzz
fuzz: ## Fuzz every target for SECONDS_EACH (120) seconds; needs cargo-fuzz and a nightly toolchain
	@cd fuzz && for target in $$(cargo +nightly fuzz list); do \
	  cargo +nightly fuzz run $$target -- -dict=json.dict -max_total_time=$(or $(SECONDS_EACH),120) || exit 1; done

.PHONY: bench
bench: deps ## Measure each promise beside the machine's limit into bench/RESULTS.md; ARGS='--only 1,4 --short'
	@$(rocksdb) cargo build --release --locked -p bench -p loadtest -p ingestd
	@"$(CARGO_TARGET_DIR)/release/bench" suite $(ARGS)

.PHONY: docs
docs: ## Write config.toml and docs/configuration.md anew from the table of keys
	@$(rocksdb) cargo build --profile checked --locked --bin ingestd
	@"$(CARGO_TARGET_DIR)/checked/ingestd" config default > config.toml
	@"$(CARGO_TARGET_DIR)/checked/ingestd" config reference > docs/configuration.md

.PHONY: slo
slo: ## Hold the daemon to loadtest/slo.toml: verdicts and a report; ARGS='--profile full|soak --target URL'
	@scripts/deps.sh slo
	@$(rocksdb) cargo build --release --locked -p loadtest -p ingestd
	@loadtest/run --bin-dir "$(CARGO_TARGET_DIR)/release" $(ARGS)

.PHONY: sockets
sockets: ## 50,000 WebSockets at once, in a guest that may have as many descriptors (user-mode-linux)
	@scripts/deps.sh slo
	@sh tests/rig/setup.sh
	@$(rocksdb) cargo build --release --locked -p loadtest -p ingestd
	@loadtest/sockets --bin-dir "$(CARGO_TARGET_DIR)/release" $(ARGS)

.PHONY: audit
audit: ## Advisories, licences and sources of every dependency; installs cargo-deny if it is missing
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	@cargo deny --log-level error check

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all
