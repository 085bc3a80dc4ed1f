# The commands of this repository; each alone turns a fresh clone into a result.

PYTHON ?= python3
export PYTHON
BIN := .venv/bin
LINTERS := 'ruff check .' 'ruff format --check .' mypy 'lint-imports --no-logo'

# each tool has its say, even after another one has complained
run_each = status=0; for tool in $(1); do echo "$(BIN)/$$tool"; $(BIN)/$$tool || status=1; done; exit $$status

.PHONY: help setup verify test xen-test xen-conform lint record soak bench lock

help:
	@echo 'make verify   prove and check everything that the specification claims; ends in a one-screen summary'
	@echo 'make test     run the linters and the tests'
	@echo 'make xen-test serve real Linux guests on real Xen, in QEMU'
	@echo 'make xen-conform hold the frontend of such a guest against the specification, by some hundred scripts'
	@echo 'make lint     run ruff, mypy and import-linter only'
	@echo 'make record   after a change of the model: make what is kept about it anew (SYSTEM=NAME: about one system)'
	@echo 'make soak     look for second proofs, spoil each line of recordings, send a TPM 10 000 commands, kill either end 500 times, play 40 000 random peers (hours)'
	@echo 'make bench    measure the prover, the searches and the implementation'
	@echo 'make setup    make .venv (the others do so by themselves)'
	@echo 'make lock     resolve requirements/locked.txt anew'

setup:
	@sh scripts/setup.sh

verify: setup
	$(BIN)/vtpmspec verify

test: setup
	@sh scripts/debian-packages.sh peers
	@$(call run_each,$(LINTERS) pytest)

xen-test: setup
	@sh scripts/debian-packages.sh peers
	@$(BIN)/python -m tests.xen $(XEN_TEST)

xen-conform: setup
	@sh scripts/debian-packages.sh peers
	@$(BIN)/python -m tests.xen.conform $(XEN_CONFORM)

lint: setup
	@$(call run_each,$(LINTERS))

record: setup
	$(BIN)/vtpmspec record $(SYSTEM)

soak: setup
	$(BIN)/vtpmspec explore --all --seconds 60
	$(BIN)/vtpmspec trace teeth --all --jobs 2
	$(BIN)/python -m tests.impl.xenbus.hardship --kills 500 --stores 1000000
	$(BIN)/python -m tests.impl.tis.session
	$(BIN)/python -m tests.impl.tis.soak
	$(BIN)/python -m tests.differential.tis_programs
	$(BIN)/python -m tests.differential.tis_programs --family 1.2 --keep
	$(BIN)/python -m tests.quality.hunt
	$(BIN)/python -m tests.differential.soak
	$(BIN)/vtpmspec conform --runs 20000 --seed $$(date +%s) -- $(BIN)/vtpm sut backend
	$(BIN)/vtpmspec conform --runs 20000 --seed $$(date +%s) -- $(BIN)/vtpm sut frontend
	$(BIN)/vtpmspec conform --end tis-driver --runs 2000 -- $(BIN)/vtpm sut tis-driver
	$(BIN)/vtpmspec conform --end tis-device --runs 10000 --seed $$(date +%s) --deviations traces/deviations/qemu-tis-device.json -- $(BIN)/vtpm sut tis-device --family 2.0

bench: setup
	$(BIN)/pytest -s -o addopts=--import-mode=importlib tests/benchmarks

lock:
	@sh scripts/lock.sh
