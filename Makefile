# The commands of README, CONTRIBUTING and .ci/run. Works in a folder of any name.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# One file to one process, one thread each: threads that wait for each other on busy cores are slow.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile
READY := $(VENV)/.flexhyca-installed
# The first Python that is new enough; override with `make PYTHON=/path/to/python3 test`.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
    "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: help setup demo test test-slow fuzz lint format type docs bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer not found; install it or run make PYTHON=/path/to/python3" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(READY)  ## make .venv with the pinned dependencies

demo: $(READY)  ## simulate real images on the shipped accelerator
	$(BIN)/flexhyca simulate digits --images 360

test: $(READY)  ## run the quick tests
	$(PYTEST) -q

test-slow: $(READY)  ## run every test
	$(PYTEST) -q -m 'slow or not slow'

# -P: the root itself is not on the path, where the folders of the package would be found.
fuzz: $(READY)  ## try every kind of damage and surroundings for hours; the table of what was tried
	OMP_NUM_THREADS=1 $(BIN)/python -P -m flexhyca.tests.fuzz $(FUZZ)

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## let ruff rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy names a package after its folder, so it is shown one that is called flexhyca.
type: $(READY)  ## mypy --strict on the package
	@bin="$$(cd $(BIN) && pwd)"; tmp="$$(mktemp -d)"; trap 'rm -rf "$$tmp"' EXIT; \
	ln -s "$$PWD" "$$tmp/flexhyca"; cd "$$tmp"; "$$bin/mypy" --config-file flexhyca/pyproject.toml flexhyca

docs: $(READY)  ## run the examples in the documentation
	$(BIN)/pytest -q tests/docs

bench: $(READY)  ## run the benchmarks (minutes)
	@set -e; for f in benchmarks/bench_*.py; do echo "== $$f"; $(BIN)/python "$$f"; done

clean:  ## remove caches and build results (keeps .venv)
	rm -rf build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
