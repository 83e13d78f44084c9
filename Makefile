# PocketUNet: `make sweep` runs the digits pipeline, `make test` checks everything. Both install first what is missing.
#
#   make test PYTHON=python3.12     the same with another interpreter (a .venv made with another one is rebuilt)
#   make install EXTRAS=cuda        with the extras of pyproject.toml, separated by commas

PYTHON ?= python3
EXTRAS ?=
VENV   := .venv
BIN    := $(VENV)/bin
# Which interpreter and which pins .venv was made from; a change of either installs again.
STAMP  := $(VENV)/.made-from

.DEFAULT_GOAL := help
.PHONY: help install lint types test cover slow sweep rediscover bench parity clean

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile
	@echo "targets: install sweep test lint types cover slow rediscover bench parity clean"

install:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" STAMP="$(STAMP)" EXTRAS="$(EXTRAS)" .ci/install

sweep: install
	$(BIN)/pocketunet sweep digits

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright

test: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Takes a fifth more time.
cover: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --cov --cov-report=term

slow: install
	$(BIN)/python -m pytest -m slow

bench: install
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

# Hours on two cores; the same command goes on where it was stopped. SCALE=gpu is larger.
SCALE ?= cores
rediscover: install
	$(BIN)/python benchmarks/rediscover.py --scale $(SCALE)

# Needs torch, diffusers, pytorch-fid and torch-fidelity, which `make install EXTRAS=parity` brings.
parity:
	$(BIN)/python tests/parity/record.py
	$(BIN)/python tests/parity/record_inception.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +
