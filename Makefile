# make demo: compare CNNs with a ViT on real digits.  make test: every check and test.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock

.PHONY: demo test check pytest lock clean

demo: .venv/.installed
	$(BIN)/cnn compare --config=configs/mnist5k/cnn_vs_vit.py:demo --workdir=runs/demo --processes=2

test: check pytest

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --warnings
	$(BIN)/lint-imports --no-logo

pytest: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist=worksteal

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cnn needs Python 3.11 or newer; name one with make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml requirements.lock | .venv/bin/python
	$(PIP) -e .
	touch $@

.venv/.installed-dev: pyproject.toml requirements.lock | .venv/bin/python
	$(PIP) -e '.[dev]'
	touch $@ .venv/.installed

# Writes what is installed as the new exact versions.
lock: .venv/.installed-dev
	@{ head -1 requirements.lock; $(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools; } > requirements.new
	mv requirements.new requirements.lock

clean:
	rm -rf .venv .cache runs .pytest_cache .ruff_cache .import_linter_cache .hypothesis
