# The commands of this repository; each alone turns a fresh clone into a result.

PYTHON ?= python3
export PYTHON
BIN := .venv/bin

.PHONY: help setup verify test lint bench lock

help:
	@echo 'make verify   prove and check everything that the specification claims; ends in a one-screen summary'
	@echo 'make test     run the linters and the tests'
	@echo 'make lint     run ruff, mypy and import-linter only'
	@echo 'make bench    measure the engine'
	@echo 'make setup    make .venv (the others do so by themselves)'
	@echo 'make lock     resolve requirements/locked.txt anew'

setup:
	@sh scripts/setup.sh

verify: setup
	$(BIN)/vtpmspec verify

test: lint
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/pytest tests/benchmarks

lock:
	@sh scripts/lock.sh
