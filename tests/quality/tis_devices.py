"""TPMs behind the TIS with a mistake each, as subjects: the specification of the registers, with one text changed.

python -m tests.quality.tis_devices NUMBER
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

MODULE = "vtpm_model.tis_device"


class Planted(NamedTuple):
    """A mistake in a sentence, a text of the specification, and what stands there instead."""

    sentence: str
    old: str
    new: str


PLANTED = (
    Planted("a seizure is not shown", "seized=d.seized | bit(d.owner)", "seized=d.seized"),
    Planted("a lower locality seizes the TPM", "(d.owner == NOBODY or d.owner < locality)", "True"),
    Planted("the lowest that waits gets the TPM", "return max((locality", "return min((locality"),
    Planted("nobody is shown that others wait", "others = d.asking & ~bit(locality)", "others = 0"),
    Planted(
        "a request cannot be withdrawn",
        "if d.owner != locality:\n            d = replace(d, asking=d.asking & ~bit(locality))",
        "if d.owner != locality:\n            pass",
    ),
    Planted("beenSeized cannot be cleared", "seized=d.seized & ~bit(locality)", "seized=d.seized"),
    Planted("a part of a command is executed", " and not page(d, locality).flags & EXPECT:", ":"),
    Planted("a command that is written cannot be dropped", "return is_to_abort(d, locality, locality)", "return d"),
    Planted("a retry goes on in the middle", "DATA_AVAIL), place=0)", "DATA_AVAIL))"),
    Planted("one byte more is expected", "length(d) <= d.place", "length(d) < d.place"),
    Planted("there is data after the last byte", "d.place >= min(length(d)", "d.place > min(length(d)"),
    Planted("the burst count does not fall", "(min(d.size, BUFFER) - d.place)", "min(d.size, BUFFER)"),
    Planted("another locality reads the status", "if d.owner != locality:\n        return ONES", ""),
    Planted("one cause of an interrupt takes the others along", "pending=own.pending & ~word", "pending=0"),
    Planted("an interrupt is shown that is not enabled", "own.enabled & INT_ON and own.enabled & causes", "True"),
    Planted("software gets locality 4", "if locality == max(LOCALITIES):", "if False:"),
    Planted("two commands at once are taken for one of them", "command == COMMAND_READY:", "command & COMMAND_READY:"),
)  # fmt: skip


def serve(planted: Planted) -> None:
    """Be the subject."""
    found = importlib.util.find_spec(MODULE)
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).read_text("utf-8")
    assert source.count(planted.old) == 1, f"{planted.old!r} stands {source.count(planted.old)} times in {MODULE}"
    module = importlib.util.module_from_spec(found)
    sys.modules[MODULE] = module
    exec(compile(source.replace(planted.old, planted.new), found.origin, "exec", dont_inherit=True), module.__dict__)

    from vtpm_traces.conform import tis_model

    tis_model.serve(tis_model.ModelDevice(), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    serve(PLANTED[int(sys.argv[1])])
