# `make` lists the commands.
PYTHON ?= python3
ONCE ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo up test test-slow check bench bench-speed lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: .venv/.runtime ## generate data, train, promote, ask; stays up until Ctrl-C (ONCE=1: ends by itself)
	@$(BIN)/forecastle demo $(if $(ONCE),--once)

up: .venv/.runtime ## start all servers; Ctrl-C stops them
	@$(BIN)/forecastle up

test: .venv/.dev ## the tests, with real embedded servers (at most 10 minutes)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: .venv/.dev ## the tests that need minutes (at most 12)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: .venv/.dev ## format, lint, types, import contracts, conda.yaml, docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/conda.py --check
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_settings.py

bench: .venv/.dev ## prediction quality on ../shared/data, written to docs/quality.md
	@$(BIN)/python -m benchmarks.quality

bench-speed: .venv/.dev ## speed of serving, beside others; written to docs/serving.md
	@$(BIN)/python -m benchmarks.serving --write

lock: .venv/.dev ## renew the lock files and conda.yaml from pyproject.toml
	@$(BIN)/uv pip compile -q pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate -o requirements.lock
	@$(BIN)/uv pip compile -q pyproject.toml --group build --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --no-annotate -c requirements.lock -o requirements-dev.lock
	@$(BIN)/uv pip compile -q benchmarks/contenders/peers.in --python-version 3.11 --no-header --no-emit-index-url \
		--no-annotate -o benchmarks/contenders/peers.txt
	@$(BIN)/python tools/conda.py

clean: ## remove the virtual environment and the embedded servers' data
	rm -rf .venv .forecastle

.venv/.runtime: requirements.lock pyproject.toml
	@sh tools/install.sh "$(PYTHON)" requirements.lock
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	@sh tools/install.sh "$(PYTHON)" requirements-dev.lock
	@touch $@
