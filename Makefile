# Every target sets up `.venv` first where it is missing. `make help` names them all.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
READY := .venv/.ready
# Twice the cores of a small machine: tests wait much of their time, and one of the processes has e2e, which waits most.
JOBS ?= 4
# Runs of `make test-often`, and the tests that it runs: all by default.
N ?= 20
ARGS ?=
# How long `make fuzz` looks, and at which parser.
SECONDS ?= 60
TARGET ?= arrow
# constraints.txt holds every package that is needed, so that pip has nothing to resolve. Most of the rest of its time
# goes into reading the index, at which the pip that Python 3.11 brings is far slower than a newer one.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --no-deps
PYTEST := $(BIN)/python -m pytest
# Without byte code every one of the many processes compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo lint test fast test-long test-often e2e simulate fuzz bench bench-feast-env bench-serving-env mlflow-env clients-env generate generated-check golden rights clean

help: ## Names every target.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: $(READY) ## Makes .venv with locked dependencies: with uv where it is installed, else with pip.

$(READY): pyproject.toml local/pyproject.toml uv.lock constraints.txt
ifeq ($(UV),)
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip==26.3
	$(PIP) --requirement constraints.txt
	$(PIP) --no-build-isolation --editable . --editable local
else
	$(UV) sync --quiet --frozen --all-packages --python $(PYTHON)
endif
	@touch $(READY)

demo: $(READY) ## The main job: features, two models, an 80/20 experiment and live traffic, with no cluster.
	$(BIN)/python -m millrace_local.demo

lint: $(READY) ## Style, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY) ## All tests, in JOBS processes (4).
	$(PYTEST) -n $(JOBS)

fast: $(READY) ## The tests without the slow ones and without e2e.
	MILLRACE_EXAMPLES=fast $(PYTEST) -n $(JOBS) -m 'not slow and not e2e'

test-long: $(READY) ## The property tests with 40 times the examples, and ARGS as of test-often.
	MILLRACE_EXAMPLES=long $(PYTEST) -n $(JOBS) --timeout 3600 -m hypothesis $(ARGS)

test-often: $(READY) ## N runs of the tests (20) until one fails; ARGS='tests/kube' runs those alone, in one process.
	@for run in $$(seq $(N)); do \
	  $(PYTEST) -q $(if $(ARGS),-n 0 $(ARGS),-n $(JOBS)) || { echo "run $$run of $(N) failed"; exit 1; }; \
	  echo "run $$run of $(N) passed"; \
	done

e2e: $(READY) ## The e2e tests: on the embedded mode, or on any cluster with KUBECONFIG=path.
	MILLRACE_E2E_KUBECONFIG='$(KUBECONFIG)' $(PYTEST) tests/e2e

simulate: $(READY) ## The statistics of experiments, tried: false positives, power, coverage, regret (QUICK=1: fewer).
	$(BIN)/python -m tests.simulate $(if $(QUICK),--quick)

fuzz: $(READY) ## Fuzzes a parser for SECONDS (60): TARGET=arrow, or another of tests/fuzz/targets.py.
	$(BIN)/python -m tests.fuzz $(TARGET) --seconds $(SECONDS) --last .fuzz-last

bench: $(READY) ## Every benchmark, each figure beside its limit (BENCH=name runs one).
	$(BIN)/python -m benchmarks $(BENCH)

bench-feast-env: $(READY) ## Feast in an environment of its own (.bench/feast), for benchmarks to measure beside.
	$(BIN)/python -m benchmarks.feast_env

bench-serving-env: $(READY) ## MLServer and KServe's server in environments of their own (.bench/serving-*), to measure beside.
	$(BIN)/python -m benchmarks.serving_env

mlflow-env: $(READY) ## MLflow in environments of its own (.bench/mlflow-*), for tests of its clients.
	$(BIN)/python -m benchmarks.mlflow_env

clients-env: $(READY) ## Stock clients of the inference protocol, and models others made (.bench/clients), for their tests.
	$(BIN)/python -m benchmarks.clients_env

generate: $(READY) ## Writes what is generated: crds/, dashboards, the chart's copies, constraints.txt.
	$(BIN)/python -m millrace_core.api.generate crds charts/millrace/crds
	$(BIN)/python -m manifests.monitoring
ifneq ($(UV),)
	$(UV) export --quiet --frozen --all-packages --no-hashes --no-emit-workspace --no-header --no-annotate --output-file constraints.txt
endif

generated-check: generate ## Fails where a generated file is not current.
	@git diff --exit-code -- crds charts/millrace/crds charts/millrace/monitoring manifests/monitoring constraints.txt \
	  || { echo 'generated files are not current: run `make generate` and commit the result'; exit 1; }

golden: $(READY) ## Rewrites the golden files of the tests.
	MILLRACE_WRITE_GOLDEN=1 $(PYTEST) -q -k golden

rights: $(READY) ## Records anew which rights the operators use in their tests, for the chart's RBAC.
	rm -f tests/operators/rights.yaml
	MILLRACE_WRITE_RIGHTS=1 $(PYTEST) -q -n 0 tests/operators

clean: ## Removes the environment, caches and the embedded mode's state.
	rm -rf .venv .millrace .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
