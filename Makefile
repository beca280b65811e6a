# Everything happens in .venv, which make sets up by itself and rebuilds when pyproject.toml or constraints.txt change.
#   make demo     the sample night, from upload to results table
#   make test     the tests            make check    lint, format, types, import contracts
#   make format   mend what can be     make train    train the sample models again
#   make clean    remove what make made
# PYTHON=python3.12 chooses the interpreter (3.11 or newer).

MAKEFLAGS += --no-print-directory
.PHONY: demo test check format train constraints clean
.DEFAULT_GOAL := demo

VENV := .venv
BIN := $(VENV)/bin
FRAME := pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

demo: $(VENV)/.core
	@$(BIN)/trapline demo

test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	@$(BIN)/lint-imports >$(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@tail -n 1 $(VENV)/lint-imports.log

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(VENV)/.train
	@$(BIN)/python -m functions.train

# The newest versions that fit together, for every supported Python. What torch brings for GPUs is left to torch; the
# `bench` extra, which no check or test needs, is left to pip.
EXTRAS := sqs minio k8s plots train dev

constraints: $(VENV)/.dev
	@$(PIP) install 'uv>=0.8'
	@$(BIN)/uv pip compile pyproject.toml --quiet --upgrade $(EXTRAS:%=--extra=%) --universal --python-version 3.11 \
		--no-header --no-annotate \
		| grep -Ev '^(cuda|nvidia|triton)-?' >constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.core: $(FRAME)
	@python=$$(sh .ci/python "$(PYTHON)") && \
		echo "Setting up .venv with $$python; the first time this takes about a minute ..." && \
		$$python -m venv --clear $(VENV)
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Adding the tools for tests and checks ..."
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.train: $(VENV)/.core
	@echo "Adding torch, for training ..."
	@$(PIP) install --constraint constraints.txt --editable '.[train]'
	@touch $@
