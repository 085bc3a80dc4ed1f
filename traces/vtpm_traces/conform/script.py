"""Scripts that play everybody but the subject: the words of a driven recording, a line each, and a few more.

A line that starts with `#` is for people; the first one says in a sentence what is played.

| line                  | meaning                                                                                      |
|-----------------------|----------------------------------------------------------------------------------------------|
| `set PATH VALUE`      | somebody writes a node                                                                       |
| `rm PATH`             | somebody removes a node and all below it                                                     |
| `page DOM REF OFF HEX`| the other end stores into a page that it has granted, or into one of the subject's           |
| `notify DOM PORT`     | the other end sends an event through its port: if the subject has bound it, it gets one      |
| `kick PORT`           | an event reaches the subject's own port                                                      |
| `init`, `shutdown`    | a backend is started, is told to shut down                                                   |
| `init -`, `close`     | a frontend is told to open its device, to close it                                           |
| `cmd HEX`, `loc N`    | a frontend is given a command; the locality of those to come                                 |
| `resp HEX`, `resplen` | the TPM answers the command that a backend has given to it                                   |
| `fail OPERATION N`    | the next N operations of this kind fail                                                      |
| `pass`                | half an hour passes; who has waited for an answer all that time waits no longer              |
| `deliver N`           | the subject is told N events, and runs as long as it likes after each                        |
| `amid N LINE`         | the line is played once the subject has asked N more things, before it has come to rest      |
| `run`                 | it is told all events, and must come to rest: it may owe nothing then                        |

`words.py` has words that stand for several such lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from vtpm_traces.conform.words import expanded
from vtpm_traces.files import BadInput, Limits, read_text, shown
from vtpm_traces.recordings.script import Pass, Run, Step, parse_step

ANY: Final = "?"
"""Stands for the number of an `amid` that is tried with every number."""

MOST_LINES: Final = 2000
LIMITS: Final = Limits(stored=4 << 20, unpacked=4 << 20)


@dataclass(frozen=True)
class Notify:
    """The other end sends an event through a port of its own."""

    domain: int
    port: int


@dataclass(frozen=True)
class Deliver:
    """The subject is told this many events."""

    count: int


@dataclass(frozen=True)
class Amid:
    """These lines are played while the subject is at work: when it has asked so many more things."""

    count: int | None  # None: any number, to be tried one after another
    lines: tuple[tuple[str, Step | Notify], ...]


Played: TypeAlias = Step | Notify | Deliver | Amid


@dataclass(frozen=True)
class Script:
    """A conversation: its name, what it is in a sentence, and its lines as words."""

    name: str
    doc: str
    lines: tuple[str, ...]

    def at(self, count: int) -> Script:
        """The same script with a number where any is meant."""
        return replace(self, lines=tuple(_at(line, count) for line in self.lines))

    @property
    def sweeps(self) -> bool:
        """Whether it is to be tried with many numbers."""
        return any(line.startswith(f"amid {ANY} ") for line in self.lines)

    @property
    def text(self) -> str:
        """The script as a file holds it."""
        return "".join(f"{line}\n" for line in (f"# {self.doc}", *self.lines))


def _at(line: str, count: int) -> str:
    before = f"amid {ANY} "
    return f"amid {count} {line.removeprefix(before)}" if line.startswith(before) else line


def parse_line(line: str) -> tuple[tuple[str, Played], ...]:
    """The steps that a line stands for, each with its own words. Raises BadInput."""
    name, _, rest = line.partition(" ")
    if name == "amid":
        return ((line, _amid(rest)),)
    return tuple((words, _parse_words(words)) for words in expanded(line))


def _amid(rest: str) -> Amid:
    count, _, line = rest.partition(" ")
    steps = parse_line(line)
    lines = tuple((words, step) for words, step in steps if not isinstance(step, Deliver | Amid | Run | Pass))
    if len(lines) < len(steps):
        raise BadInput(f"{shown(line)} cannot be amid other things")
    return Amid(None if count == ANY else number(count, 10_000), lines)


def _parse_words(line: str) -> Played:
    match line.split():
        case ["notify", domain, port]:
            return Notify(number(domain, 32751), number(port, 0xFFFF_FFFF))
        case ["deliver", count]:
            return Deliver(number(count, 10_000))
        case ["run"]:
            return Run(None)
        case ["notify" | "deliver" | "run", *_]:
            raise BadInput(f"{shown(line)}: meant are notify DOM PORT, deliver N, run")
    return parse_step(line)


def number(text: str, largest: int) -> int:
    """A number in decimal, or in hexadecimal after 0x, of at most 32 bits. Raises BadInput."""
    digits = re.fullmatch("0x([0-9a-f]{1,8})|([0-9]{1,10})", text)
    value = largest + 1 if digits is None else int(digits[1] or digits[2], 16 if digits[1] else 10)
    if value > largest:
        raise BadInput(f"{shown(text)} is no number from 0 to {largest}")
    return value


def parse(name: str, lines: Iterable[str], check: Callable[[str], object] = parse_line) -> Script:
    """A script of these lines, each of which is one to `check`. Raises BadInput, which names the line."""
    doc = ""
    words: list[str] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.startswith("#"):
            doc = doc or text.lstrip("# ")
            continue
        if not text.strip():
            continue
        try:
            check(text)
        except BadInput as error:
            raise BadInput(f"{name}:{number}: {error}") from None
        words.append(text)
        if len(words) > MOST_LINES:
            raise BadInput(f"{name}: more than {MOST_LINES} lines")
    return Script(name, doc, tuple(words))


def read(path: Path, check: Callable[[str], object] = parse_line) -> Script:
    """The script in a file, named after it. Raises BadInput."""
    return parse(path.name.removesuffix(".script"), read_text(path, LIMITS).splitlines(), check)
