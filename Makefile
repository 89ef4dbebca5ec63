# One verb per need. `make` alone lists them.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET_DIR)/debug/tidegate
# The whole workspace is always selected, so that every target shares one set of features and the heavy crates compile once.
CARGO_BUILD := cargo build --locked --workspace --all-targets
BUILD_ENV := for line in $$(.ci/install-build-tools); do export "$$line"; done

.PHONY: help build demo test verify bench-pit bench-windows bench-online bench-materialize soak mutations fmt clean-venv

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-17s %s\n", $$1, $$2 }'

build: ## Build everything once, in the profile that demo, tests and benches share
	$(BUILD_ENV)
	$(CARGO_BUILD)

demo: build $(VENV)/.examples ## Run the whole loop on real data: define, ingest, train, materialize, look up, query
	$(PY) examples/flights/demo.py --binary "$(BINARY)" $(DEMO_ARGS)

verify: $(VENV)/.tests ## Formatting, lints, dependency direction, sizes, the compose file
	$(BUILD_ENV)
	cargo fmt --all --check
	$(PY) .ci/checks.py
	cargo clippy --locked --workspace --all-targets -- -D warnings

test: build verify $(VENV)/.tests ## Everything CI runs
	$(BUILD_ENV)
	$(PY) .ci/checks.py --compose "$(BINARY)"
	cargo test --locked --workspace --all-targets
	TIDEGATE_BIN="$(abspath $(BINARY))" $(PY) -m pytest -q integration-tests/python

# What the random tests and the tests of crashes are multiplied to; each can be given. CONTRIBUTING.md says what they count.
SOAK := TIDEGATE_CASES=100000 TIDEGATE_HISTORIES=200000 TIDEGATE_TORN=2000 TIDEGATE_KILLS=1000 TIDEGATE_KAFKA_KILLS=300 \
	TIDEGATE_ABORTS=50 TIDEGATE_FULL_DISKS=50 TIDEGATE_WRITER_ROUNDS=50 TIDEGATE_ERASURES=20 TIDEGATE_RESTORES=50

soak: build ## The random tests and the tests of crashes with the counts of a release: an hour and more
	for count in $(SOAK); do name=$${count%%=*}; export "$$name=$${!name:-$${count#*=}}"; done
	cargo test --locked --workspace --all-targets -- --include-ignored

mutations: build ## Break the server in ways that tests must notice, and see that they do
	$(PYTHON) .ci/mutations

bench-pit: build $(VENV)/.tests ## Time the point-in-time join beside DuckDB and Polars; BENCH_ARGS="--scale 1" for the full sizes
	$(PY) integration-tests/bench/pit.py --binary "$(BINARY)" $(BENCH_ARGS)

bench-windows: build $(VENV)/.tests ## Time windowed aggregates beside DuckDB's range join and window functions; BENCH_ARGS="--scale 1" for the full sizes
	$(PY) integration-tests/bench/windows.py --binary "$(BINARY)" $(BENCH_ARGS)

bench-online: build $(VENV)/.tests ## Time lookups beside an empty gRPC call, Redis and Feast (where installed); BENCH_ARGS="--entities 1000000" for a million entities
	$(PY) integration-tests/bench/online.py --binary "$(BINARY)" $(BENCH_ARGS)

bench-materialize: build $(VENV)/.tests ## Time moving features from Delta to the online tier, beside Feast (where installed); BENCH_ARGS="--rows 10000000" for more
	$(PY) integration-tests/bench/materialize.py --binary "$(BINARY)" $(BENCH_ARGS)

fmt: ## Format the Rust sources
	cargo fmt --all

# The project's own Python environment; the system's is left alone.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(VENV)/.examples: $(VENV)/bin/python examples/flights/requirements.txt $(shell find client/python -name '*.py' -o -name pyproject.toml 2>/dev/null)
	$(PY) -m pip install --quiet -r examples/flights/requirements.txt ./client/python
	touch $@

$(VENV)/.tests: $(VENV)/.examples integration-tests/python/requirements.txt
	$(PY) -m pip install --quiet -r integration-tests/python/requirements.txt
	touch $@
