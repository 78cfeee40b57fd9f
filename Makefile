# Everything a checkout needs: `make demo` shows the detector at work, `make test` runs every check.
# Each target first makes its virtual environment, or updates it when the dependencies have changed.

PYTHON ?= python3
BENCH_FLAGS ?=
ONLY ?=
DATA ?=
RECIPE ?= r50_1x
INIT ?=
GPUS ?=
OUTPUT ?=
FLAGS ?=
BIN := .venv/bin
# Three processes for two cores: some tests wait, for a timeout or another process. An idle one takes tests from the rest.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

.PHONY: help demo test test-all lint format quick lowest docs diagrams notebook bench accuracy study coco soak fuzz licences audit sbom

help:
	@echo "make demo    train and evaluate on drawn shapes, and draw the detections, in minutes, without a GPU"
	@echo "make test    ruff, mypy and pytest without the longest tests, in a quarter of an hour on two cores"
	@echo "make test-all  every check, as continuous integration runs them, in half an hour"
	@echo "make lint    ruff and mypy alone"
	@echo "make format  sort the imports and format the code, as make lint checks"
	@echo "make quick   the tests that take under a minute together: no golden models, no other processes"
	@echo "make lowest  pytest with the lowest versions that pyproject.toml allows, in .venv-lowest (Python 3.10 to 3.12)"
	@echo "make docs    build the site of docs/ in build/docs/html, strictly: a broken link is an error"
	@echo "make diagrams, make notebook  draw the pages' diagrams anew; run the notebook anew"
	@echo "make bench   run the benchmarks in benchmarks/ and write docs/benchmarks.md"
	@echo "             (BENCH_FLAGS='--device cuda --threads 4' are passed on; ONLY='assignment loading' runs only these)"
	@echo "make accuracy DATA=FOLDER  compare with torchvision's detectors on small data sets, and write docs/accuracy.md;"
	@echo "             some ten hours on two CPU cores; stopped and started again, it continues"
	@echo "make study DATA=FOLDER  compare the assignment rules on small data sets, and write docs/assignment.md; for"
	@echo "             hours on two CPU cores; stopped and started again it continues, and started twice it shares the runs"
	@echo "make coco    train a recipe on COCO and hold its AP against the references': DATA=/path/to/coco RECIPE=r50_1x"
	@echo "             (INIT=R-50.pkl GPUS=8 OUTPUT=runs/coco-r50_1x FLAGS='--precision auto'; docs/reproduce-coco.md)"
	@echo "make soak    kill training runs at random moments and compare what they end with, for an hour; then put a server"
	@echo "             under load for ten minutes, and kill batch inferences (FLAGS='--modes one --kills 10' does this alone)"
	@echo "make licences, make audit, make sbom  list the licences of what is installed; look for known vulnerabilities"
	@echo "             (asks the package index); write a software bill of materials, build/sbom.json"
	@echo "make fuzz    try every reader of files and requests with hostile input, guided by coverage, for hours"
	@echo "             (ONLY=image tries one; FLAGS='--runs 100000 --seconds 600'; Python 3.11 or newer)"
	@echo "PYTHON=python3.12 picks the interpreter of a new environment"

demo: .venv/installed
	$(BIN)/paa demo

test: lint
	@echo "== pytest, without the longest tests (make test-all runs them too)"
	@$(PYTEST) -m "not long"

test-all: lint
	@echo "== pytest"
	@$(PYTEST)

lint: .venv/installed
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy --num-workers 2 src

format: .venv/installed
	@$(BIN)/ruff check --select I --fix .
	@$(BIN)/ruff format .

quick: .venv/installed
	@$(PYTEST) -m "not slow"

lowest: BIN := .venv-lowest/bin
lowest: .venv-lowest/installed
	@$(PYTEST)

docs: .venv/installed
	$(BIN)/python -m sphinx -M html docs build/docs -E -W --keep-going --quiet
	@echo "open build/docs/html/index.html"

diagrams: .venv/installed
	$(BIN)/python tools/diagrams.py

notebook: .venv/installed
	$(BIN)/python tools/run_notebook.py

bench: .venv/installed
	$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY)) $(BENCH_FLAGS)

accuracy: .venv/installed
	$(BIN)/python benchmarks/accuracy.py --data '$(DATA)' $(BENCH_FLAGS)
	$(BIN)/python benchmarks/accuracy_report.py

study: .venv/installed
	$(BIN)/python benchmarks/assignment_report.py runs/study-assignment --restore
	OMP_NUM_THREADS=1 $(BIN)/paa study benchmarks/studies/assignment.toml --data '$(DATA)' $(FLAGS)
	$(BIN)/python benchmarks/assignment_report.py runs/study-assignment

coco: .venv/installed
	$(BIN)/python tools/coco.py --data '$(DATA)' --recipe $(RECIPE) $(if $(INIT),--init '$(INIT)') \
		$(if $(GPUS),--gpus $(GPUS)) $(if $(OUTPUT),--output '$(OUTPUT)') $(FLAGS)

soak: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tools/soak.py $(FLAGS)
	$(if $(FLAGS),,OMP_NUM_THREADS=1 $(BIN)/python tools/serve_load.py)
	$(if $(FLAGS),,OMP_NUM_THREADS=1 $(BIN)/python tools/soak_batch_inference.py)

licences: .venv/installed
	@$(BIN)/python tools/licences.py

# The tools of these two are in an environment of their own, so that they are not among what is looked at.
audit: .venv/installed .venv-audit/installed
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

sbom: .venv/installed .venv-audit/installed
	@mkdir -p build
	.venv-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json
	@echo "build/sbom.json"

.venv-audit/installed: Makefile
	@test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --disable-pip-version-check --progress-bar off -q 'pip-audit>=2.9' 'cyclonedx-bom>=7'
	@touch $@

fuzz: .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt atheris
	OMP_NUM_THREADS=1 $(BIN)/python tools/fuzz.py --reader $(if $(ONLY),$(ONLY),all) $(FLAGS)

# For the example in examples/, which needs a newer numpy than the lowest.
.venv/installed: MORE := trackers
.venv/installed: pyproject.toml constraints.txt
.venv-lowest/installed: pyproject.toml constraints-lowest.txt

.venv/installed .venv-lowest/installed:
	@test -x $(@D)/bin/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || \
		{ echo "error: Python 3.10 or newer is needed, '$(PYTHON)' is not; name another: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D) || \
		{ echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(@D)/bin/python -m pip install --disable-pip-version-check --progress-bar off -c $(filter constraints%,$^) -e '.[dev]' $(MORE)
	@touch $@
