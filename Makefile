# Every target sets itself up on a machine with Python 3.11 or newer and make: the first use builds .venv, later ones reuse it.
# PYTHON=path chooses another interpreter, which gets an environment of its own: make test PYTHON=python3.12 uses .venv-3.12.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Python compiles what it imports; compiling all that is installed takes longer than installing it.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable
# Work is stolen, not dealt out: the tests of a file stay together, and share what it compiled.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal -q
QUICK := not slow and not each and not optimised
# Where Python is told to keep nothing that it compiles, each of hundreds of processes compiles all that it imports again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test conformance test-all smoke bench docs lint clean

run: $(READY)
	$(BIN)/jaxrl reproduce frozen_lake_q_learning four_rooms_ppo

test: $(READY)
	$(PYTEST) -m "$(QUICK)" --durations=30

# The protocol on all environments, algorithms, variants of them and numbers of devices; make test has one of
# each kind. Only the files that speak of marks are read: reading all takes longer than many of these tests.
MARKED := $(shell grep -rlE "marks|mark[.]each" tests --include="test_*.py")
OPTIMISED := $(shell grep -rl "mark[.]optimised" tests --include="test_*.py")
conformance: $(READY)
	$(PYTEST) -m "each and not slow" $(MARKED)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) -m "optimised and not slow" $(OPTIMISED)

test-all: $(READY)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST)

# A few tests of every part, for the other end of the range of versions.
SMOKE := tests/training/test_runner.py tests/training/test_diagnosis.py tests/algorithms/test_all_algorithms.py tests/solvers/test_zero_sum.py tests/solvers/mdp/test_host.py

smoke: $(VENV)/.smoke
	$(PYTEST) -m "$(QUICK)" $(SMOKE)

bench: $(READY)
	$(BIN)/python -m benchmarks

# The site, into site/: a broken link or a warning is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf .venv .venv-*

$(VENV)/.docs: $(READY)
	$(INSTALL) ".[docs]"
	touch $@

define make_environment
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "jaxrl needs Python 3.11 or newer, found " + sys.version'
	$(PYTHON) -m venv $(VENV)
endef

$(READY): pyproject.toml
	$(make_environment)
	$(INSTALL) ".[dev]"
	touch $@

$(VENV)/.smoke: pyproject.toml
	$(make_environment)
	$(INSTALL) . pytest pytest-xdist hypothesis
	touch $@
