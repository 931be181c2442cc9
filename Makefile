# The commands of the project. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= data
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help:            ## List these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The machine's pip fills the environments: for one of their own, Debian's python3 would need python3-venv as well.
pip = $(PYTHON) -m pip --quiet --python $(1)/bin/python install

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv --without-pip $(VENV)
	$(call pip,$(VENV)) --require-hashes -r requirements.txt
	$(call pip,$(VENV)) --no-deps -e .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.installed
	$(call pip,$(VENV)) --require-hashes -r requirements-dev.txt
	touch $@

# Clients for the tests live apart: aws-cli pins a botocore of its own.
.testenv/.installed: requirements-clients.txt
	$(PYTHON) -m venv --without-pip .testenv
	$(call pip,.testenv) --require-hashes -r requirements-clients.txt
	touch $@

install: $(VENV)/.installed  ## Create .venv and install the server into it

serve: install   ## Install what is missing and start the server (DATA_DIR=data)
	$(BIN)/strongroom serve --data-dir $(DATA_DIR)

dev: $(VENV)/.dev .testenv/.installed  ## Install what the checks and the tests need
	@command -v strace >/dev/null || { apt-get update -qq && apt-get install -qq -y strace; }

check: $(VENV)/.dev  ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: dev        ## Run every test
	$(BIN)/pytest -n 2 --dist loadscope

format: $(VENV)/.dev  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.bench: requirements-bench.txt $(VENV)/.dev
	$(call pip,$(VENV)) --require-hashes -r requirements-bench.txt
	@command -v wrk >/dev/null || { apt-get update -qq && apt-get install -qq -y wrk; }
	touch $@

bench: $(VENV)/.bench  ## Measure, beside a peer under the same load
	$(BIN)/python bench/run.py

bench-kms: $(VENV)/.bench  ## Measure the key service and the objects under its keys, beside a peer
	$(BIN)/python bench/kms.py

lock: $(VENV)/.dev  ## Pin the dependencies anew, with hashes
	$(BIN)/pip-compile -q --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --allow-unsafe -o requirements.txt pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --allow-unsafe -o requirements-dev.txt requirements-dev.in
	$(BIN)/pip-compile -q --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --allow-unsafe -o requirements-clients.txt requirements-clients.in
	$(BIN)/pip-compile -q --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --allow-unsafe -o requirements-bench.txt requirements-bench.in

.PHONY: help install serve dev check test format bench bench-kms lock
