#!/bin/sh
# Makes .venv with the locked versions and this project in it; does nothing if that has been done for these very files.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
stamp=.venv/made-from
wanted=$(cat pyproject.toml requirements/locked.txt scripts/setup.sh hatch_build.py impl/vtpm_impl/*/*.c impl/vtpm_impl/*/*/*.c |
	sha256sum; pwd)
# a folder that was moved or copied has commands that point elsewhere: the stamp holds the place, too
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
	exit 0
fi

PYTHON=$python sh scripts/debian-packages.sh
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	echo "$("$python" --version) is too old: Python 3.11 or later is needed (make PYTHON=... names one)" >&2
	exit 1
}
echo "making .venv with $("$python" --version)"
# a working one is brought up to date in place: somebody may be using it
.venv/bin/python -c 'import pathlib, sys; sys.exit(pathlib.Path(sys.prefix) != pathlib.Path.cwd() / ".venv")' 2>/dev/null ||
	rm -rf .venv
[ -d .venv ] || "$python" -m venv .venv
echo "installing the locked packages (about 100 MB)"
.venv/bin/python -m pip install --disable-pip-version-check --require-hashes --requirement requirements/locked.txt
echo "installing xen-vtpm, editable"
.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
printf '%s\n' "$wanted" >"$stamp"
