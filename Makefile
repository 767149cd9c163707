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

# What another version of Python would break first: the command line, the import of every module, a text, an image and a
# tagged job, saved models, the report, signals, and going on from a stored search.
SMOKE = $(foreach name,cli layout pipeline image_job tagged_job saved_model report runs interruption \
          final_fit tables records,$(wildcard tests/*/test_$(name).py tests/*/*/test_$(name).py))

.PHONY: demo test check smoke lint clean

demo: $(VENV)/.installed
	$(BIN)/advisor tune example:docstrings --budget 3m

test: lint
	$(PYTEST)

check: lint
	$(PYTEST) -m "not slow"

smoke: $(VENV)/.installed-test
	$(PYTEST) -m "not slow" $(SMOKE)

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
