# `make run` and `make test` set everything up by themselves, in either order. Without make, see README.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check docs site install

run: install
	$(BIN)/i2i run configs/cyclegan.yaml --resume

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_reliability.py

site: install
	PATH=$(abspath $(BIN)):$$PATH python docs/make_site.py

install: $(VENV)/installed

# Install torch first, so that later requirements find it and do not pull in another build.
$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,check]'
	touch $@
