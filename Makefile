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

# each tool has its say, even after another one has complained
test: setup
	@status=0; $(MAKE) --no-print-directory lint || status=1; \
	echo '$(BIN)/pytest'; $(BIN)/pytest || status=1; exit $$status

lint: setup
	@status=0; for tool in 'ruff check .' 'ruff format --check .' mypy lint-imports; do \
		echo "$(BIN)/$$tool"; $(BIN)/$$tool || status=1; \
	done; exit $$status

bench: setup
	$(BIN)/pytest tests/benchmarks

lock:
	@sh scripts/lock.sh
