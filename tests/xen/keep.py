"""Keeps recordings of a run: `python -m tests.xen.keep DIR/recordings/boot`, where that run was told to `--keep DIR`.

Each is copied into traces/recorded/xen, and judged for the table beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from tests.xen.rig import tell

from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen import read_folder
from vtpm_traces.recordings.xen_verdict import TABLES, renewed_table
from vtpm_traces.schema import data

KEPT = "xen"


def main() -> int:
    """Do it. 0: all that is kept is accepted; 1: something is not; 2: wrong use."""
    parser = argparse.ArgumentParser(prog="tests.xen.keep", description=__doc__)
    parser.add_argument("folder", nargs="*", type=Path, metavar="FOLDER", help="without any, the table is made anew")
    asked = parser.parse_args()
    for folder in asked.folder:
        try:
            read_folder(folder)
        except BadInput as error:
            parser.error(str(error))
        target = data("recorded", KEPT, folder.resolve().name)
        if target.resolve() == folder.resolve():
            parser.error(f"{str(folder)!r} is kept already")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
    table = renewed_table(KEPT)
    data("recorded", TABLES[KEPT]).write_text(json.dumps(table, indent=2) + "\n")
    for entry in table["recordings"]:
        devices = ", ".join(f"{each['domain']}/{each['device']} {each['outcome']}" for each in entry["devices"])
        tell(f"{entry['folder']}: {devices}")
    return 0 if all(entry["accepted"] for entry in table["recordings"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
