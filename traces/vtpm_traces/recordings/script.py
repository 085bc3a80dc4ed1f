"""The recordings of a program that was driven by a script: lines of what the driver did and of what the program did.

Each line is a JSON object. `{"ev": "step", "cmd": "set PATH VALUE"}` is an action of the driver, which plays everybody
but the program; every other line says what the program did, in order. This file knows the grammar of the lines and
nothing of what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vtpm_traces.files import BadInput, Limits, parse_json, read_lines, shown
from vtpm_traces.observe import Origin

PAGE_SIZE = 4096

LIMITS = Limits(unpacked=64 << 20, line=64 << 10, lines=100_000, depth=2)
"""The longest line of a driver carries two pages in hexadecimal digits."""


class Malformed(BadInput):
    """A file is not a recording of this format: its name, the line counted from 1, and a sentence."""

    def __init__(self, file: str, line: int, sentence: str) -> None:
        super().__init__(f"{file}:{line}: {sentence}")
        self.file = file
        self.line = line
        self.sentence = sentence


# ------------------------------------------------------------------------------------------- what the driver does


@dataclass(frozen=True)
class Set:
    """Somebody else writes a node of xenstore; the empty value makes a directory."""

    path: str
    value: str


@dataclass(frozen=True)
class Remove:
    """Somebody else removes a node of xenstore and all below it."""

    path: str


@dataclass(frozen=True)
class Store:
    """The other end stores bytes into a shared page, named by the granting domain and its grant reference."""

    domain: int
    ref: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Fill:
    """The other end stores a pattern into a shared page."""

    domain: int
    ref: int
    offset: int
    count: int


@dataclass(frozen=True)
class Kick:
    """An event reaches the program's local port."""

    port: int


@dataclass(frozen=True)
class Run:
    """The program may run until it has nothing left to do, at most this many rounds (None: as many as usual)."""

    rounds: int | None


@dataclass(frozen=True)
class Answer:
    """The application answers the request that it holds; `data` None: that many bytes of the driver's choice."""

    length: int
    data: bytes | None


@dataclass(frozen=True)
class Fail:
    """The next operations of this kind will fail."""

    operation: str
    count: int


@dataclass(frozen=True)
class Show:
    """The driver logs a shared page."""

    domain: int
    ref: int


@dataclass(frozen=True)
class CountFrontends:
    """The driver logs how many frontends the program keeps."""


@dataclass(frozen=True)
class ListStore:
    """The driver logs all of xenstore."""


@dataclass(frozen=True)
class Start:
    """The program starts: the backend and its serving loop, or a frontend on a node (None: on its default one)."""

    node: str | None


@dataclass(frozen=True)
class Stop:
    """The program is told to shut down, or to close its device."""


@dataclass(frozen=True)
class Command:
    """The application gives the frontend a command; `data` None: that many bytes of the driver's choice."""

    length: int
    data: bytes | None


@dataclass(frozen=True)
class SetLocality:
    """The application chooses the locality of its next commands."""

    locality: int


@dataclass(frozen=True)
class Pass:
    """Half an hour passes: longer than anybody may wait for an answer."""


Step: TypeAlias = (
    Set
    | Remove
    | Store
    | Fill
    | Kick
    | Run
    | Answer
    | Fail
    | Show
    | CountFrontends
    | ListStore
    | Start
    | Stop
    | Command
    | SetLocality
    | Pass
)

OPERATIONS = ("read", "write", "rm", "ls", "watch", "unwatch", "transaction", "bind", "map")
"""What the driver can make fail."""


class _Unreadable(Exception):
    """A sentence about one line; the reader adds where."""


def _number(text: str, what: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= largest):
        raise _Unreadable(f"{what} is {_shown(text)}; a number from 0 to {largest} is expected")
    return int(text)


def _bytes(text: str, what: str) -> bytes:
    try:
        if " " in text:
            raise ValueError
        return bytes.fromhex(text)
    except ValueError:
        raise _Unreadable(f"{what} is {_shown(text)}; pairs of hexadecimal digits are expected") from None


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise _Unreadable(f"the path is {_shown(text)}; one that starts with / is expected")
    return text.rstrip("/") or "/"


def _domain(text: str) -> int:
    return _number(text, "the domain", 0xFFFF)


def _ref(text: str) -> int:
    return _number(text, "the grant reference", 0xFFFF_FFFF)


def _within_page(offset: str, size: int) -> int:
    start = _number(offset, "the offset", PAGE_SIZE)
    if start + size > PAGE_SIZE:
        raise _Unreadable(f"{size} bytes at offset {start} leave the page of {PAGE_SIZE} bytes")
    return start


def _set(words: list[str]) -> Step:
    return Set(_path(words[0]), " ".join(words[1:]))


def _store(words: list[str]) -> Step:
    data = _bytes(words[3], "the stored data")
    return Store(_domain(words[0]), _ref(words[1]), _within_page(words[2], len(data)), data)


def _fill(words: list[str]) -> Step:
    count = _number(words[3], "the count", PAGE_SIZE)
    return Fill(_domain(words[0]), _ref(words[1]), _within_page(words[2], count), count)


def _answer(words: list[str]) -> Step:
    data = _bytes("".join(words), "the answer")
    return Answer(len(data), data)


def _command(words: list[str]) -> Step:
    data = _bytes("".join(words), "the command")
    return Command(len(data), data)


def _fail(words: list[str]) -> Step:
    if words[0] not in OPERATIONS:
        raise _Unreadable(f"the failing operation is {_shown(words[0])}; one of {', '.join(OPERATIONS)} is expected")
    return Fail(words[0], _number(words[1], "the count", 1000))


_MANY = 1 << 16

STEPS: Mapping[str, tuple[int, int, Callable[[list[str]], Step]]] = {
    "set": (1, _MANY, _set),
    "rm": (1, 1, lambda words: Remove(_path(words[0]))),
    "page": (4, 4, _store),
    "fill": (4, 4, _fill),
    "kick": (1, 1, lambda words: Kick(_number(words[0], "the port", 0xFFFF_FFFF))),
    "run": (0, 1, lambda words: Run(_number(words[0], "the rounds", 1_000_000) if words else None)),
    "resp": (0, 1, _answer),
    "resplen": (1, 1, lambda words: Answer(_number(words[0], "the length", 0xFFFF_FFFF), None)),
    "fail": (2, 2, _fail),
    "show": (2, 2, lambda words: Show(_domain(words[0]), _ref(words[1]))),
    "num": (0, 0, lambda words: CountFrontends()),
    "ls": (0, 0, lambda words: ListStore()),
    "init": (0, 1, lambda words: Start(words[0] if words and words[0] != "-" else None)),
    "shutdown": (0, 0, lambda words: Stop()),
    "close": (0, 0, lambda words: Stop()),
    "cmd": (0, 1, _command),
    "cmdlen": (1, 1, lambda words: Command(_number(words[0], "the length", 0xFFFF_FFFF), None)),
    "pass": (0, 0, lambda words: Pass()),
    "loc": (1, 1, lambda words: SetLocality(_number(words[0].removeprefix("-"), "the locality", 0xFFFF_FFFF))),
}
"""The driver's actions: how few and how many words follow the first, and what they say."""


# ------------------------------------------------------------------------------------------ what the program does


EVENTS: Mapping[str, Mapping[str, type]] = {
    "log": {"text": str},
    "create_thread": {"name": str},
    "thread_exit": {"thread": str},
    "xs_read": {"path": str, "value?": str, "error?": str},
    "xs_write": {"path": str, "value": str, "error?": str, "more?": bool},
    "xs_rm": {"path": str, "error?": str, "more?": bool},
    "xs_ls": {"path": str, "entries": int, "error?": str},
    "xs_watch": {"path": str, "token": str},
    "xs_unwatch": {"path": str},
    "xs_node": {"path": str, "value": str},
    "watch_event": {"path": str},
    "injected_error": {"op": str},
    "map_grant": {"domid": int, "ref": int, "count": int, "ok": bool},
    "unmap_grant": {"domid": int, "ref": int},
    "evtchn_bind": {"domid": int, "remote_port": int, "local_port": int},
    "evtchn_alloc_unbound": {"domid": int, "local_port": int},
    "evtchn_mask": {"local_port": int},
    "evtchn_unmask": {"local_port": int},
    "evtchn_unbind": {"local_port": int},
    "grant_access": {"domid": int, "ref": int, "readonly": int},
    "end_access": {"ref": int},
    "free_page": {},
    "stores_follow": {},
    "page_store": {"domid": int, "ref": int, "offset": int, "data": str},
    "page_fault": {"page": int, "offset": int, "count": int, "access": str},
    "evtchn_pending": {"local_port": int},
    "races": {"domid": int, "ref": int},
    "notify": {"local_port": int, "remote_domid": int, "remote_port": int},
    "open_callback": {"domid": int, "handle": int, "uuid": str},
    "close_callback": {"domid": int, "handle": int},
    "request": {"domid": int, "handle": int, "locality": int, "len": int, "data": str},
    "req_any_null": {},
    "page": {
        "domid": int, "ref": int, "length": int, "state": int, "locality": int, "pad": int, "nr_extra_pages": int,
        "data": str,
    },
    "num_frontends": {},
    "shutdown_returned": {},
    "init_tpmfront_returned": {"ok": bool},
    "tpmfront_cmd_returned": {"rc": int, "resplen": int, "resp": str},
    "process_end": {"rc": int},
    "end": {},
}  # fmt: skip
"""What a program can be seen to do: the values of each line and their types; a name that ends in `?` may be missing."""

LAST = ("end", "process_end")
"""With one of these a recording ends."""


@dataclass(frozen=True)
class Driven:
    """A line of the driver."""

    origin: Origin
    step: Step


@dataclass(frozen=True)
class Seen:
    """A line of the program: its kind and values."""

    origin: Origin
    kind: str
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)


Entry: TypeAlias = Driven | Seen


def _shown(value: object) -> str:
    return shown(json.dumps(value), 60)


def parse_step(command: str) -> Step:
    """The driver's action that these words mean. Raises BadInput."""
    try:
        return _driven(command)
    except _Unreadable as why:
        raise BadInput(str(why)) from None


def _driven(command: object) -> Step:
    if not isinstance(command, str):
        raise _Unreadable(f"the driver's action is {_shown(command)}; a text is expected")
    first, *rest = command.split(" ")
    if first not in STEPS:
        raise _Unreadable(f"the driver's action is {_shown(first)}; one of {', '.join(STEPS)} is expected")
    fewest, most, make = STEPS[first]
    words = rest if first == "set" else [word for word in rest if word]
    if not fewest <= len(words) <= most:
        raise _Unreadable(f"`{first}` has {len(words)} words after it; it takes {_range(fewest, most)}")
    return make(words)


def _range(fewest: int, most: int) -> str:
    if most == _MANY:
        return f"{fewest} or more"
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _seen(kind: object, values: Mapping[str, Any], origin: Origin) -> Seen:
    if not isinstance(kind, str) or kind not in EVENTS:
        raise _Unreadable(f"the event is {_shown(kind)}; known are step, {', '.join(EVENTS)}")
    shape = EVENTS[kind]
    known = {name.removesuffix("?"): sort for name, sort in shape.items()}
    for name in values:
        if name not in known:
            raise _Unreadable(f"`{kind}` says {_shown(name)}; it may say {', '.join(known) or 'nothing'}")
    for name, sort in known.items():
        if name not in values:
            if f"{name}?" in shape:
                continue
            raise _Unreadable(f"`{kind}` does not say its {name}")
        if type(values[name]) is not sort:
            raise _Unreadable(f"`{kind}` says {name} = {_shown(values[name])}; {sort.__name__} is expected")
    if kind == "xs_read" and ("value" in values) == ("error" in values):
        raise _Unreadable("`xs_read` says either its value or its error")
    return Seen(origin, kind, values)


def _entry(file: str, number: int, text: str) -> Entry:
    try:
        content = parse_json(text, f"line {number}", LIMITS)
    except BadInput as why:
        raise _Unreadable(str(why)) from None
    if not isinstance(content, dict) or "ev" not in content:
        raise _Unreadable("the line is no JSON object with an `ev`")
    kind = content.pop("ev")
    count = content.pop("n", None)
    if count is not None and type(count) is not int:
        raise _Unreadable(f"n is {_shown(count)}; a number is expected")
    if kind == "step":
        if set(content) != {"cmd"}:
            raise _Unreadable(f"a step says {', '.join(map(_shown, content)) or 'nothing'}; it says `cmd` only")
        return Driven(Origin(file, number, f"the driver does: {_shown(content['cmd'])}"), _driven(content["cmd"]))
    text = " ".join([str(kind), *(f"{name}={_shown(value)}" for name, value in content.items())])
    seen = _seen(kind, content, Origin(file, number, text))
    if kind == "num_frontends":
        # The recorder wrote this count under the name that its line numbers have elsewhere.
        if count is None or count < 0:
            raise _Unreadable(f"`num_frontends` counts {_shown(count)}; a number from 0 is expected")
        return Seen(seen.origin, kind, {"count": count})
    return seen


def read_script(path: Path) -> tuple[Entry, ...]:
    """The lines of a recording, from the first to its end; a file ending in `.gz` or `.xz` is unpacked on the way.

    Raises Malformed for a line that is none of this format, and BadInput for what is no such file at all.
    """
    return entries_of(read_lines(path, LIMITS), str(path))


def entries_of(lines: Iterable[tuple[int, str]], file: str) -> tuple[Entry, ...]:
    """The entries that numbered lines of a recording are. Raises Malformed, which names the file."""
    found: list[Entry] = []
    ended = False
    number = 0
    for number, text in lines:
        try:
            if ended:
                raise _Unreadable(f"the recording goes on after its end, `{found[-1].origin.text}`")
            entry = _entry(file, number, text)
        except _Unreadable as why:
            raise Malformed(file, number, str(why)) from None
        found.append(entry)
        ended = isinstance(entry, Seen) and entry.kind in LAST
    if not ended:
        raise Malformed(file, number + 1, f"the recording breaks off; it ends in {' or '.join(LAST)}")
    return tuple(found)
