# Everything runs from .venv, built with nothing but python3 and pip.
PYTHON ?= python3
# Processes that tests start would compile everything again, each of them.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
# The locks name everything; a module is compiled when it is first imported.
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-compile

.PHONY: help demo up test tests style types test-faults test-soak soak mutants lint protos wheel clean

help:
	@echo "make demo    run the system on real input, with a failover in the middle"
	@echo "make up      start the system and stay"
	@echo "make test    lint, types, import contracts and tests"
	@echo "make test-faults   every fault scenario against real processes, and many seeds (about an hour)"
	@echo "make test-soak     the long tests"
	@echo "make soak MINUTES=30 SEED=1   random faults against one system, then the verdict"
	@echo "make mutants       the product with one rule broken at a time: the tests must notice"
	@echo "make lint    the same without the tests"
	@echo "make wheel   build dist/callboard-*.whl"
	@echo "make protos  generate the wire code from protos/"

# Where the venv module lacks ensurepip, pip installs from outside.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "error: Callboard needs Python 3.11 to 3.13; try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install -q pip; }

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL) -r requirements.lock
	$(INSTALL) -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	$(INSTALL) -r requirements-dev.lock
	@touch $@

demo: $(RUNTIME)
	$(BIN)/callboard demo

up: $(RUNTIME)
	$(BIN)/callboard up --app examples/handlers.py

lint: style types

style: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEV)
	$(BIN)/mypy

tests: $(DEV)
	$(BIN)/python -m pytest -m "not soak and not faults" -n 3 --dist worksteal

test: style  # types are checked beside the tests: by one process, for as long as the tests take to be collected
	@$(MAKE) --no-print-directory -j2 types tests

test-faults: $(DEV)
	$(BIN)/python -m pytest -m faults --deselect tests/system/test_scenarios.py
	$(BIN)/python -m tests.system.bench --all --results faults.json

test-soak: $(DEV)
	$(BIN)/python -m pytest -m soak

soak: $(DEV)
	$(BIN)/python -m tests.system.bench --soak $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) --results soak.json

mutants: $(DEV)
	$(BIN)/python -m tests.mutants

protos: $(DEV)
	$(BIN)/python -m protos.generate

wheel: | $(BIN)/python
	$(BIN)/python -m pip wheel -q --no-deps -w dist .

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
