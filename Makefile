# Two commands for a newcomer: `make demo` and `make test`. Both may be repeated; what is installed stays installed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Torch's threads spin while they wait; beside another process that costs more than it gains.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check lint clean

demo: .venv/.installed
	$(BIN)/advisor tune example:docstrings --budget 3m

test: lint
	$(BIN)/python -m pytest

check: lint
	$(BIN)/python -m pytest -m "not slow"

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv runs
