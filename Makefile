# One virtual environment, .venv, serves every target; it is made on first use and brought up to
# date when pyproject.toml or constraints.txt change.

PYTHON ?= python3
EXTRAS ?= dev
RUN ?= runs/demo
EPISODES ?= 10
MINUTES ?= 7.5
INPUTS ?= 2000
SEED ?= 1

comma := ,
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow fuzz soak rehearse docs installed lint clean

help:
	@echo "make setup      make .venv and install everything into it"
	@echo "make demo       train on this machine, then score and film the result, in RUN (runs/demo)"
	@echo "make test       run the tests"
	@echo "make test-slow  run the longer checks"
	@echo "make fuzz       read INPUTS (2000) spoilt files a test: policies, checkpoints, settings"
	@echo "make soak       break a tiny run in every way for MINUTES, and check that nothing is lost"
	@echo "make rehearse   run the GPU suite at toy size, on any machine"
	@echo "make docs       build the pages as a site, in build/site"
	@echo "make installed  run the demo from the wheel, in an environment of its own"
	@echo "make lint       check style, formatting, types and the direction of imports"
	@echo "make clean      remove .venv and caches; runs stay"
	@echo
	@echo "PYTHON=python3.12        the interpreter for a new .venv, 3.11 or later"
	@echo "EXTRAS=dev,cuda13,warp   for an NVIDIA GPU (cuda12 for older drivers)"
	@echo "RUN=runs/other           another run directory for make demo"
	@echo "MINUTES=7.5              how long make demo trains, and make soak goes on"

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/mjx-dm demo --minutes $(MINUTES) --run-dir '$(RUN)' --episodes $(EPISODES)

# Each worker takes some 3 GB, and those on a GPU would want it all: not in pyproject.toml.
test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# The last -m wins over the one in pyproject.toml.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

fuzz: $(STAMP)
	FUZZ_INPUTS=$(INPUTS) $(BIN)/python -m pytest -m 'slow or not slow' tests/checkpoints/test_strangers.py

# One tiny run, broken in every way again and again; prints its counts as JSON.
soak: $(STAMP)
	$(BIN)/python tests/soak/soak.py --minutes $(MINUTES) --seed $(SEED)

# What is for a GPU at toy size, so that it runs the first time there is a card.
rehearse: $(STAMP)
	rm -rf build/rehearsal
	SIZE=toy PYTHON=$(abspath $(BIN))/python bash benchmarks/gpu_suite.sh build/rehearsal \
	  correctness mjx-loop compiler profile testspeed
	SIZE=toy PYTHON=$(abspath $(BIN))/python bash benchmarks/on_card.sh \
	  build/rehearsal build/rehearsal

# Strict: a dead link or an unknown name fails. Its packages are installed on first use.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy mjx_dm
	$(BIN)/lint-imports

# The wheel, alone in an environment of its own: what a user without a clone has.
installed: $(STAMP)
	rm -rf build/wheel build/installed build/elsewhere && mkdir -p build/elsewhere
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(PYTHON) -m venv build/installed
	build/installed/bin/pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/*.whl
	cd build/elsewhere && ../installed/bin/mjx-dm demo --preset smoke --minutes 0.05 --episodes 1

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find mjx_dm tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# An interrupted installation leaves no stamp, so the next call takes it up again.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), which takes a minute or two the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

$(BIN)/python:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "mjx_dm needs Python 3.11 or later, and '$(PYTHON)' was not found: name one with PYTHON=python3.11." >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mjx_dm needs Python 3.11 or later, and '$(PYTHON)' is older: name one with PYTHON=python3.11." >&2; exit 1; }
	@echo "making $(VENV)"; '$(PYTHON)' -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON)' cannot make virtual environments: install its venv package (on Debian python3-venv)." >&2; exit 1; }
