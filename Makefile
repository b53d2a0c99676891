# Two commands to start with:  make demo   make test
# Both make their own virtual environment in .venv, with the versions that constraints.txt names.

PYTHON ?= python3
PIP_FLAGS ?=
PYTEST_FLAGS ?=
BENCHMARK_FLAGS ?=
MUTANTS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# Those that need a simulator of mixtures and a scorer of classes run alone (benchmarks/README.md): none is shipped.
NEED_OTHERS := $(addprefix benchmarks/bench_,classes.py hard_sets.py least_n.py)
BENCHMARKS := $(sort $(filter-out $(NEED_OTHERS),$(wildcard benchmarks/bench_*.py)))

.DEFAULT_GOAL := help
.PHONY: help demo test lint check-long mutants docs install clean

help:
	@echo "make demo        simulate, reconstruct with unknown poses and evaluate a molecule (minutes)"
	@echo "make test        lint, types, layers and the tests"
	@echo "make check-long  the long tests and the benchmarks (hours)"
	@echo "make mutants     faults made on purpose, and those that no test notices (hours)"
	@echo "make docs        the documentation site, in build/site"
	@echo "make lint        lint, types and layers only"
	@echo "make install     the environment with the development tools, in $(VENV)"
	@echo "make clean       remove what these commands made"

# --- environment -----------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resmfn needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing resmfn into $(VENV)"
	@$(PIP_INSTALL) hatchling editables
	@$(PIP_INSTALL) --no-build-isolation --editable '.[fast]'
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing resmfn and its development tools into $(VENV)"
	@$(PIP_INSTALL) hatchling editables
	@$(PIP_INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $(RUN_STAMP) $@

install: $(DEV_STAMP)

# --- the demonstration -----------------------------------------------------------------------------

demo: $(RUN_STAMP)
	@rm -rf demo/particles demo/run
	@echo "[1/4] 2,000 noisy images of adenylate kinase (4AKE), poses kept apart"
	@$(BIN)/resmfn simulate 4ake --n-projections 2000 --box-size 64 --pixel-size 1.5 --snr 0.1 --out demo/particles
	@echo "[2/4] poses and map from the images alone"
	@$(BIN)/resmfn reconstruct demo/particles/particles.star --out demo/run --mask-diameter 84
	@echo "[3/4] map and poses against the truth"
	@$(BIN)/resmfn evaluate demo/run --reference demo/particles/volume.mrc --true-poses demo/particles/particles_true.star
	@echo "[4/4] report and figures"
	@$(BIN)/resmfn report demo/run
	@$(BIN)/python examples/demo.py demo/run

# --- checks ----------------------------------------------------------------------------------------

lint: $(DEV_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# A test a core, each on one thread: many small runs side by side end sooner than one after the other on all cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" --numprocesses logical --dist worksteal $(PYTEST_FLAGS)

mutants: $(DEV_STAMP)
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

check-long: $(DEV_STAMP)
	$(BIN)/python -m pytest -m long $(PYTEST_FLAGS)
	$(BIN)/python tests/mutants/run.py
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script $(BENCHMARK_FLAGS); done

# --- documentation ---------------------------------------------------------------------------------

docs: $(DEV_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open build/site/index.html; with search: python3 -m http.server --directory build/site"

clean:
	rm -rf $(VENV) demo build dist benchmarks/out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
