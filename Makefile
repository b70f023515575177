# Everything runs inside .venv, which `make setup` makes from the locked requirements.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup model run test test-gpu lint format proto lock quality bench train image clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROTO_VENV := .venv-proto
PROTO_INSTALLED := $(PROTO_VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_INSTALLED := $(BENCH_VENV)/.installed
TRAIN_VENV := .venv-train
TRAIN_INSTALLED := $(TRAIN_VENV)/.installed
BENCHES := $(patsubst tests/bench/bench_%.py,%,$(wildcard tests/bench/bench_*.py))
PIP_FLAGS := --quiet --disable-pip-version-check --require-hashes
TEST_ARGS ?= -n 2 --dist loadgroup

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make bench-NAME  One benchmark: $(BENCHES)."

setup: $(INSTALLED) ## Make .venv with the locked dependencies; quick when nothing changed.

$(INSTALLED): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Podium needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	@echo "Setting up $(VENV) (about a minute the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

model: setup ## Fetch the embedded model into the user's cache (98 MB, once).
	@$(BIN)/podium models pull

run: model ## Serve, answer a sample request before your eyes, and stay (ONCE=1: end).
	@$(BIN)/python scripts/demo.py $(if $(ONCE),--once)

test: model ## Run the whole test suite.
	@$(BIN)/python -m pytest $(TEST_ARGS)

# The engine's own interpreter: it needs pytest, pytest-asyncio and pytest-timeout beside TensorRT-LLM.
GPU_PYTHON ?= python3
test-gpu: ## On a host with TensorRT-LLM: its contract suite on the real thing (GPU_PYTHON=..., PODIUM_TEST_GPU_MODEL=FOLDER).
	@PODIUM_TEST_GPU=1 PYTHONPATH=service:clients/python:tests $(GPU_PYTHON) -m pytest -n0 -s -p no:cacheprovider -W default tests/gpu

lint: setup ## Check style, types, import direction, protos, Dockerfile and locks.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code protos
	@$(BIN)/buf breaking protos --against "$$(ls -v protos/released/*.binpb | tail -n 1)"
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python scripts/check_repository.py

format: setup ## Rewrite code and protos in the one style.
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@$(BIN)/buf format --write protos

proto: setup $(PROTO_INSTALLED) ## Generate the stubs from protos/ and write the settings' example files.
	@$(PROTO_VENV)/bin/python scripts/generate_stubs.py

$(PROTO_INSTALLED): requirements/proto.txt
	@$(PYTHON) -m venv $(PROTO_VENV)
	@$(PROTO_VENV)/bin/python -m pip install $(PIP_FLAGS) -r requirements/proto.txt
	@touch $@

# Locks carry hashes and no addresses: they install from whatever index the user's pip has.
UV := $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command 'make lock'
lock: ## Compile the locked requirements anew.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(UV) --python-version 3.11 --extra server --extra embedded --extra redis --extra dev pyproject.toml -o requirements/dev.txt
	@$(UV) --python-version 3.11 --extra server --extra embedded --extra redis -c requirements/dev.txt pyproject.toml -o requirements/server.txt
	@$(UV) --python-version 3.12 --extra server --extra redis -c requirements/dev.txt pyproject.toml -o requirements/gpu.txt
	@$(UV) --python-version 3.11 requirements/proto.in -o requirements/proto.txt
	@$(UV) --python-version 3.11 requirements/bench.in -o requirements/bench.txt

quality: model ## Score planning beside other models and draw the report (QUALITY_ARGS="--limit 40" for a part).
	@PYTHONPATH=tests $(BIN)/python -m quality.run --model embedded guided untrained chance $(QUALITY_ARGS)

bench: $(addprefix bench-,$(BENCHES)) ## Run every benchmark.

# These measure other libraries, too, which have an interpreter of their own.
bench-overhead bench-overlap bench-dag bench-idle bench-failure: $(BENCH_INSTALLED)

$(BENCH_INSTALLED): requirements/bench.txt
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install $(PIP_FLAGS) -r requirements/bench.txt
	@touch $@

bench-%: model
	@PYTHONPATH=tests $(BIN)/python -m bench.bench_$*

# Memory that is given back to the system and faulted in again cost a third of the time: nothing is given back.
# A waiting thread that spins would take the core from the other worker.
TRAIN_ENV := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 OMP_WAIT_POLICY=PASSIVE PYTHONPATH=service
TRAIN_MODEL ?= $$($(BIN)/python -c 'from podium.inference import model_store as m; print(m.default_models_dir() / m.PLAIN_MODEL)')
train: setup $(TRAIN_INSTALLED) ## Train the planner in var/training, or go on (TRAIN_ARGS="--steps 600").
	@$(BIN)/podium models pull --plain
	@$(TRAIN_ENV) nice $(TRAIN_VENV)/bin/python -m training.train --model "$(TRAIN_MODEL)" --out var/training $(TRAIN_ARGS)

$(TRAIN_INSTALLED): requirements/dev.txt requirements/training.in
	@$(PYTHON) -m venv $(TRAIN_VENV)
	@$(TRAIN_VENV)/bin/python -m pip install $(PIP_FLAGS) -r requirements/dev.txt
	@$(TRAIN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/training.in
	@touch $@

image: setup ## Check the Dockerfile and, where Docker works, build the CPU image.
	@$(BIN)/hadolint Dockerfile
	@if docker info >/dev/null 2>&1; then docker build --target cpu -t podium:$$($(BIN)/podium version --short) .; \
	 else echo "No Docker daemon here: the Dockerfile was checked, the image was not built."; fi

clean: ## Remove what was built; keeps the model cache.
	rm -rf $(VENV) $(PROTO_VENV) $(BENCH_VENV) $(TRAIN_VENV) dist build .mypy_cache .ruff_cache .hypothesis .import_linter_cache
