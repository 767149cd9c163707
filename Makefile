# Two commands for a newcomer: `make demo` and `make test`. Both may be repeated; what is installed stays installed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Another one, with PYTHON, tries another version of Python beside the first: make check PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
BIN := $(VENV)/bin
# Tests run in so many processes, a thread each; a file's tests stay together, since they share what is trained for them.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
# Torch's threads spin while they wait; beside another process that costs more than it gains.
export OMP_WAIT_POLICY ?= PASSIVE

# What a newer Python may break: reading, training, saving, storing, resuming, the command line. `make check` runs all.
NEWER = $(addprefix tests/test_,backbone.py blocks.py callback.py cli.py files.py final_fit.py freezing.py image_job.py \
  interruption.py pipeline.py runs.py saved_model.py search_study.py storage.py tables.py tagged_job.py)

.PHONY: demo test check newer lint clean

demo: $(VENV)/.installed
	$(BIN)/advisor tune example:docstrings --budget 3m

test: lint
	$(PYTEST)

check: lint
	$(PYTEST) -m "not slow"

newer: lint
	$(PYTEST) -m "not slow" $(wildcard $(NEWER))

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-* runs
