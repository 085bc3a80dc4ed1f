"""Scripts that play toolstack and backend to Linux' frontend on real Xen, and the words that stand for several lines.

What a line means is told where it is carried out, in the machine's domain 0; here is only which lines there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vtpm_traces.conform.script import LIMITS, MOST_LINES, Script
from vtpm_traces.files import BadInput, read_text, shown

_HEX: Final = r"(?:[0-9a-f]{2})+"
_NODE: Final = r"[A-Za-z0-9/_-]{1,60}"
_PART: Final = r"(?:-|\d{1,10})"

LINES: Final = tuple(
    re.compile(line, re.ASCII)
    for line in (
        r"attach(?: -|(?: [a-z0-9-]+=\S*)*)",
        r"detach|connect|disconnect|request|any|notify|hold|free|result|unbind|bind|cancel|done|rest",
        rf"(?:back|front) {_NODE}(?: .{{1,200}})?",
        r"rm (?:back|front|both)",
        r"await(?: (?:-|\d))+",
        r"await-page \d{1,3}",
        r"serve \d{1,3}",
        rf"call (?:{_HEX}|size \d{{1,4}})",
        rf"answer(?: {_HEX})?",
        rf"put {_PART} {_PART} {_PART}(?: {_HEX})?",
        rf"poke \d{{1,4}} {_HEX}",
        r"times \d{1,6} \d{1,6}",
        r"pass \d{1,3}",
    )
)

PCR_READ: Final = "00c10000000e0000001500000003"

WORDS: Final = {
    "open": ("attach", "back feature-protocol-v2 1", "back state 2", "await 3", "connect", "back state 4", "await 4"),
    "ask": (f"call {PCR_READ}", "request", "answer", "result"),
    "close": ("detach", "await 6", "disconnect", "back state 6", "rm both"),
}
"""What a sound backend and toolstack do, and one command with its answer."""


def parse(name: str, lines: Iterable[str]) -> Script:
    """The script of these lines, with all words replaced by what they stand for. Raises BadInput, with the line."""
    doc = ""
    found: list[str] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.startswith("#"):
            doc = doc or text.lstrip("# ")
        elif text in WORDS:
            found += WORDS[text]
        elif any(form.fullmatch(text) for form in LINES):
            found.append(text)
        elif text.strip():
            raise BadInput(f"{name}:{number}: {shown(text)} is no line of such a script")
    if len(found) > MOST_LINES:
        raise BadInput(f"{name}: more than {MOST_LINES} lines")
    return Script(name, doc, tuple(found))


def read(path: Path) -> Script:
    """The script in a file, named after it. Raises BadInput."""
    return parse(path.name.removesuffix(".script"), read_text(path, LIMITS).splitlines())
