"""Imports modules, and compiles every module that this took; the images' own Python runs it.

    freeze.py COMPILED FOLDER MODULE...

prints, as JSON, each module's source and where it has been compiled; null for an extension.
"""

from __future__ import annotations

import importlib
import json
import py_compile
import sys
from pathlib import Path


def main() -> None:
    """Do it."""
    compiled, sys.path[0], *modules = sys.argv[1:]
    for name in modules:
        importlib.import_module(name)
    Path(compiled).mkdir()
    files: dict[str, str | None] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is None or file == __file__ or file in files:
            continue
        files[file] = None
        if file.endswith(".py"):
            target = Path(compiled) / f"{len(files)}.pyc"
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(file, str(target), dfile=module.__name__, doraise=True, invalidation_mode=unchecked)
            files[file] = str(target)
    json.dump(files, sys.stdout)


if __name__ == "__main__":
    main()
