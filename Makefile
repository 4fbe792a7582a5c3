# Two commands do all on a machine with nothing but Python 3.11 (or newer) and make:
#   make demo   set everything up and run the main job on real data
#   make test   set everything up and run lint, types, import contracts and all tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test lint types contracts unit ray slow examples faults bench quality lock clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -3
	@echo "  make lint|types|contracts|unit|ray|slow|examples|faults|bench|quality|lock|clean"

# Bytecode is made here: where PYTHONDONTWRITEBYTECODE is set, every new worker would compile all that it imports.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirements requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

test: lint types contracts unit ray

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports --no-cache

unit: $(READY)
	$(BIN)/pytest -q -n 2 -m "not ray" tests

# A real Ray cluster is started once for these; two at a time would fight for two cores.
ray: $(READY)
	$(BIN)/pytest -q -m "ray and not slow" --durations=20 tests

slow: $(READY)
	$(BIN)/pytest -q -m slow --durations=20 tests

faults: $(READY)
	$(BIN)/pytest -q -m faults tests

examples: $(READY)
	$(BIN)/pytest -q tests/e2e/test_examples.py

bench: $(READY)
	$(BIN)/python tests/benchmarks/service_overhead.py
	$(BIN)/python tests/benchmarks/service_promises.py
	$(BIN)/python tests/benchmarks/scaling.py
	$(BIN)/python tests/benchmarks/tenancy.py --packages six==1.16.0
	$(BIN)/python tests/benchmarks/apiserver.py

# Beside AutoGluon, FLAML and plain boosters; SIZE is smoke (20 minutes), nightly (2 hours) or release (5 hours).
SIZE ?= smoke
quality: $(READY)
	$(BIN)/python tests/benchmarks/automl_quality.py --size $(SIZE)

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --group dev --extra polars --universal --python-version 3.10 \
	  --no-header --no-annotate --no-emit-index-url --generate-hashes --upgrade -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
