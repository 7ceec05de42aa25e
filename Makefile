# The stamps in .venv are newer than what was installed from: when they are fresh, no pip runs.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
SOURCES := pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help setup install run finetune test check docs bench clean

help:
	@echo "make setup    a .venv with what serving needs, pinned, and the embedded model"
	@echo "make run      set up if that is missing, then serve the scenes in scenes/"
	@echo "make finetune add what training needs: torch and transformers, some gigabytes"
	@echo "make test     add the tools of development too, then run all tests"
	@echo "make check    lint, formatting and strict types"
	@echo "make docs     bring the generated tables of docs/ up to date"
	@echo "make bench    how fast it is: half an hour on a machine that does nothing else"
	@echo "make install  a .venv to run from only, without the tools of development"
	@echo "make clean    remove the .venv and what tools left behind"

setup: $(BIN)/.setup
	@$(BIN)/npcserver models pull

install: $(BIN)/.install

run: setup
	@$(BIN)/npcserver serve

finetune: setup $(BIN)/.finetune
	@$(BIN)/finetune --help

test: setup $(BIN)/.dev
	$(BIN)/python -m pytest

check: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(BIN)/.setup
	$(BIN)/npcserver docs --out docs
	$(BIN)/finetune docs --out docs

bench: setup $(BIN)/.dev
	$(BIN)/python benchmarks/serve.py --out benchmarks/results/serve-cpu.json
	$(BIN)/python benchmarks/report.py benchmarks/results/serve-cpu.json

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "npcserver needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/.setup: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(BIN)/.finetune: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e '.[finetune]'
	@touch $@

$(BIN)/.dev: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e '.[dev,finetune]'
	@touch $@

$(BIN)/.install: $(SOURCES) | $(BIN)/python
	$(INSTALL) .
	@touch $@
