# Every target prepares .venv by itself; Python 3.11 or newer and make are all it needs.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo up test check bench proof

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
UV_ON_PATH := $(shell command -v uv 2>/dev/null)
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Prepare .venv with everything that the lock file names; adapters that you installed stay.

demo: $(READY) ## Replay a real month of orders, then serve it (ORDERS=2000: a slice; EXIT=1: end after it).
	$(BIN)/ordino demo $(if $(ORDERS),--orders $(ORDERS)) $(if $(EXIT),--exit)

up: $(READY) ## Start database, server and worker in one command.
	$(BIN)/ordino up

test: $(READY) ## Run every test (ARGS="-k word" chooses).
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

check: $(READY) ## Check style, types and the import rule.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	$(BIN)/pytest -q tests/test_house.py

bench: $(READY) ## Measure placement over HTTP for ten seconds.
	$(BIN)/ordino bench place --seconds 10

proof: $(READY) ## Run the long proofs at full size.
	$(BIN)/pytest -m proof $(ARGS)

$(READY): pyproject.toml uv.lock
ifeq ($(UV_ON_PATH),)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ordino needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv sync --quiet --frozen --inexact --all-extras --python $(BIN)/python
else
	uv sync --quiet --frozen --inexact --all-extras
endif
	@touch $@
