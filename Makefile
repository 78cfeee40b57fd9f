# Everything a checkout needs: `make demo` shows the detector at work, `make test` runs every check.
# Both make .venv first where it is missing, and bring it up to date when the dependencies changed.

PYTHON ?= python3
BENCH_FLAGS ?=
BIN := .venv/bin

.PHONY: help demo test bench

help:
	@echo "make demo    train, evaluate and predict on drawn shapes, in minutes, on the CPU"
	@echo "make test    ruff, mypy and pytest"
	@echo "make bench   time the core against the reference implementations' way (BENCH_FLAGS='--device cuda --threads 4')"
	@echo "PYTHON=python3.12 picks the interpreter of a new .venv"

demo: .venv/installed
	$(BIN)/paa demo

test: .venv/installed
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy src
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: .venv/installed
	$(BIN)/python benchmarks/assignment.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/postprocess.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/evaluation.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/startup.py $(BENCH_FLAGS)

.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || \
		{ echo "error: Python 3.10 or newer is needed, '$(PYTHON)' is not; name another: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || \
		{ echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]'
	@touch $@
