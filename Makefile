# One command each: `make demo` runs the whole system on real input, `make test` checks everything.
# Needs Python 3.11 or newer and nothing else: every target makes its own environment.

PYTHON ?= python3
VENV ?= .venv
NEWEST_PYTHON ?= python3.13
BIN := $(VENV)/bin

export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache

.PHONY: help demo test test-slow test-newest lint format clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

demo: export LWM_STARTED ?= $(shell date +%s)
demo:  ## train, extend, evaluate and sample on a real book and a real clip; ends with runs/demo/report.html
	@LWM_STARTED=$(LWM_STARTED) $(MAKE) --no-print-directory $(VENV)/.ready-demo
	@rm -rf runs/demo
	@$(BIN)/lwm demo --out runs/demo

test: $(VENV)/.ready-dev lint  ## lint, types, layering, conformance, integration: everything
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready-dev  ## the long proofs
	$(BIN)/python -m pytest -m slow

test-newest:  ## the suite on the newest Python and JAX (make test-newest NEWEST_PYTHON=python3.14)
	$(MAKE) test PYTHON=$(NEWEST_PYTHON) VENV=.venv-newest

lint: $(VENV)/.ready-dev  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.ready-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove environments, caches and runs
	rm -rf .venv .venv-newest .jax_cache runs

$(VENV)/.ready-%: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}. Try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
