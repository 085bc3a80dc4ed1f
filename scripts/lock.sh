#!/bin/sh
# Resolves every package that development needs and writes requirements/locked.txt, with hashes.
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet pip-tools
CUSTOM_COMPILE_COMMAND="make lock" "$scratch/venv/bin/pip-compile" --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	--extra dev --output-file "$scratch/locked.txt" pyproject.toml
mv "$scratch/locked.txt" requirements/locked.txt
