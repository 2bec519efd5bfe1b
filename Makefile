# Everything runs in .venv, which the first target that needs it creates. `make help` lists the targets.

PYTHON ?= python3
WORKERS ?= 2
# Each worker starts with a contiguous half, so that what the tests of one file share is mostly made once.
PYTEST := pytest -n $(WORKERS) --dist worksteal
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-torch lint docs figures bench matrix build clean

help:  ## List the targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Train resnet20 on handwritten digits, export it and verify the export
	$(BIN)/keras-skip train resnet20_digits --out runs/demo --overwrite
	$(BIN)/keras-skip export runs/demo
	$(BIN)/keras-skip verify runs/demo/export

test: $(INSTALLED)  ## Test everything on TensorFlow, then the layers on JAX
	@failed=; \
	KERAS_BACKEND=tensorflow $(BIN)/$(PYTEST) $(MARKERS) || failed="$$failed TensorFlow"; \
	KERAS_BACKEND=jax $(BIN)/$(PYTEST) $(MARKERS) tests/layers || failed="$$failed JAX"; \
	if [ -n "$$failed" ]; then echo "Tests failed on:$$failed."; exit 1; fi; \
	echo "All tests passed: everything on TensorFlow, the layers on JAX."

test-all: MARKERS := -m ''
test-all: test  ## Test the same and the sweeps over many equal cases, such as a step of every network

test-torch: $(INSTALLED)  ## Test the layers on torch, where torch is installed in .venv
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
		{ echo "torch is not installed in $(VENV): run $(BIN)/pip install -c constraints.txt -e '.[torch]' first."; exit 1; }
	KERAS_BACKEND=torch $(BIN)/$(PYTEST) tests/layers

lint: $(INSTALLED)  ## Format, lint and type-check; with CI set, change nothing and fail instead
	$(BIN)/ruff format $(if $(CI),--check)
	$(BIN)/ruff check $(if $(CI),,--fix)
	$(BIN)/mypy

bench: $(INSTALLED)  ## Measure speed and memory into benchmarks/results; PARTS="steps depth" measures only those, BENCH_TORCH PyTorch too
	$(BIN)/python -m benchmarks.run $(PARTS)

matrix: $(INSTALLED)  ## Export every network and layer in each precision, opset and batch; resumes if interrupted
	$(BIN)/python -m benchmarks.export.matrix $(ARGUMENTS)

docs: $(VENV)/.docs  ## Build the documentation site into build/site; warnings are errors
	@mkdir -p build && touch build/.begun
	NO_MKDOCS_2_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml
	@mv build/.begun build/.site  # while nothing is newer, the tests read this site
	@echo "To read it: $(BIN)/python -m http.server --directory build/site"

figures: $(INSTALLED)  ## Draw the guide's figures again; MNIST=FILE uses a local copy of MNIST instead of a download
	$(BIN)/python docs/make_figures.py $(if $(MNIST),--mnist $(MNIST))

build: $(INSTALLED)  ## Build the wheel and the source distribution into dist/
	$(BIN)/python -m build

clean:  ## Remove everything that the other targets made, except runs/
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
	find keras_skip zoo export tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that a failed installation is tried again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "keras-skip needs Python 3.11 or newer. Name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/pip install -c constraints.txt -e '.[docs]'
	@touch $@
