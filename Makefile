# Every target sets itself up on a machine with Python 3.11 or newer and make: the first use builds .venv, later ones reuse it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test test-all bench lint clean

run: $(READY)
	$(BIN)/python -m experiments reproduce frozen_lake_q_learning four_rooms_ppo

test: $(READY)
	$(BIN)/python -m pytest -n 2 -q -m "not slow" --durations=30

test-all: $(READY)
	$(BIN)/python -m pytest -n 2 -q

bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "jaxrl needs Python 3.11 or newer, found " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $(READY)
