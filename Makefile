.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
# Ten processes start with the system: without bytecode on disk each spends 7 s of CPU on imports instead of 2.
unexport PYTHONDONTWRITEBYTECODE

# One more than the two cores this is made for: a test on a broker waits for more than half of its time.
WORKERS ?= 3

.PHONY: help setup night up stop test check lint types bench train-reliability docs lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	@echo "Setting up the Python environment in $(VENV) (once; about 0.8 GB to download)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Nightcast needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

setup: $(READY)  ## Install everything into .venv (no other target needs it called first)

night: $(READY)  ## Observe a simulated night, from raw pixels to alerts on Kafka
	$(BIN)/nightcast night

up: $(READY)  ## Start the broker, the registry and every stage, and leave them running
	$(BIN)/nightcast up

stop: $(READY)  ## Stop everything that `make night` or `make up` left running
	$(BIN)/nightcast down

test: $(READY) lint types  ## Lint, types and every test (unit, contract, real broker, end to end, browser)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore tests/end_to_end
	$(BIN)/python -m pytest tests/end_to_end

check: $(READY) lint types  ## Lint, types and the quick tests (no broker)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not broker and not browser and not docker"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy schemas processors infra streams

bench: $(READY)  ## Measure our CPU and errors beside peers; ONLY="psf warp" measures some of them
	$(BIN)/python -m tests.benchmarks $(ONLY)

train-reliability: $(READY)  ## Train the reliability model on simulated scenes (12 CPU minutes) and write its report
	$(BIN)/python -m tests.training

docs: $(READY)  ## Write the generated reference pages and pictures again
	$(BIN)/python -m streams.reference

lock:  ## Resolve the dependencies again (pins with hashes, no addresses)
	$(BIN)/uv pip compile -q pyproject.toml --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/runtime.txt
	$(BIN)/uv pip compile -q pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/dev.txt

clean:  ## Remove the environment and caches (never the data of a night)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info
