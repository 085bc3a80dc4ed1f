"""Recordings of Linux' frontend whose toolstack and backend a script played on real Xen: what each line shows.

A folder holds `runs.jsonl`, in which a line tells of each run which device it had and then each line says what was done
to it and seen of it, and `xenstored.trace`. Each run is one device and three streams: the store's trace, which shows
every change of a node, whoever made it; what the script did to the page and saw of it; and what the application in the
guest got. Nothing else orders them but the steps that two of them share.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vtpm_model.core import Actor, Step
from vtpm_model.driven_linux import DRIVEN_LINUX, Binding, DrivenLinux
from vtpm_model.handshake import XenbusState
from vtpm_model.ring import EMPTY_PAGE, FINISH, SUBMIT, RingState, backend_page, whole_packet
from vtpm_traces.files import BadInput, Limits, chunks, parse_json, shown
from vtpm_traces.observe import (
    Call,
    Candidates,
    Happened,
    Holds,
    Level,
    Observation,
    Origin,
    Point,
    Quiescent,
    Recording,
    StateTest,
    Stream,
)
from vtpm_traces.recordings.json_line import JsonLine, Unusable
from vtpm_traces.recordings.xen_events import DIRECTORY, Commit, Device, Event, Party, Side, place_of
from vtpm_traces.recordings.xen_model import EPOCHS, REQUESTS, xenbus_state
from vtpm_traces.recordings.xen_store import read_store_trace
from vtpm_traces.steps import ranked

LOG: Final = "runs.jsonl"
TRACE: Final = "xenstored.trace"
_PACKED: Final = ("", ".gz", ".xz")
LIMITS: Final = Limits(stored=16 << 20, unpacked=128 << 20)

STORE, SCRIPT, CALLER = "store", "script", "caller"
"""The streams of a run."""


class Line(JsonLine):
    """A line of the log."""

    @property
    def kind(self) -> str:
        """What it is about."""
        return self.text("ev")

    def text(self, key: str) -> str:
        """A field that is text. Raises Unusable."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise Unusable(f"{key} is {shown(value)}, expected text")
        return value


@dataclass(frozen=True)
class LinuxRun:
    """A run: its name, its script, its device, the lines about it, and what the store's trace shows of the device."""

    name: str
    script: tuple[str, ...]
    device: Device
    lines: tuple[Line, ...]
    store: tuple[Event, ...]
    trouble: str = ""  # what the rig says went wrong, or the guest's kernel


def read_runs(folder: Path) -> list[LinuxRun]:
    """The runs that were recorded in a folder. Raises BadInput."""
    trace = read_store_trace(_content(folder, TRACE), TRACE)
    runs: list[LinuxRun] = []
    for number, raw in enumerate(_content(folder, LOG).split(b"\n"), 1):
        if not raw.strip():
            continue
        document = parse_json(raw.decode("utf-8", "replace"), f"{LOG}:{number}", Limits(depth=6))
        try:
            runs.append(_run(document, number, trace.events))
        except (Unusable, KeyError, TypeError, ValueError) as why:
            raise BadInput(f"{folder / LOG}:{number}: {why}") from None
    return runs


def _run(document: Any, number: int, events: Mapping[Device, Sequence[Event]]) -> LinuxRun:
    domain, handle = document["device"]
    device = Device(int(domain), int(handle))
    name = str(document["run"])
    if not all(isinstance(fields, dict) for fields in document["log"]):
        raise Unusable("a line of the log is no object")
    lines = tuple(
        Line(Origin(f"{LOG}:{number}", at, _told(fields)), fields) for at, fields in enumerate(document["log"], 1)
    )
    script = tuple(str(line) for line in document["script"])
    return LinuxRun(name, script, device, lines, tuple(events.get(device, ())), str(document.get("trouble", "")))


def _told(fields: Mapping[str, Any]) -> str:
    """A line as people read it."""
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in ("t", "ev", "device"))
    return shown(f"{fields.get('ev')} {rest}", 200)


def _content(folder: Path, name: str) -> bytes:
    for ending in _PACKED:
        path = folder / (name + ending)
        if path.is_file():
            return b"".join(chunks(path, LIMITS))
    raise BadInput(f"{folder} has no {name}")


# ------------------------------------------------------------------------------------------------------- the nodes


@dataclass
class _Nodes:
    """The device's nodes, by side and name."""

    values: dict[tuple[Side, str], str] = field(default_factory=dict)

    def change(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.value is not None:
                self.values[change.side, change.node] = change.value
            elif change.node == DIRECTORY:
                self.values = {key: value for key, value in self.values.items() if key[0] is not change.side}
            else:
                self.values.pop((change.side, change.node), None)

    def get(self, side: Side, node: str) -> str | None:
        return self.values.get((side, node))

    @property
    def keys(self) -> tuple[str, str] | None:
        ref, port = self.get(Side.FRONTEND, "ring-ref"), self.get(Side.FRONTEND, "event-channel")
        return None if ref is None or port is None else (ref, port)

    def picks(self, before: _Nodes) -> dict[str, Any]:
        """What the model has of them."""
        known = self.get(Side.FRONTEND, "backend-id") is not None and self.get(Side.BACKEND, DIRECTORY) is not None
        return {
            "there": self.get(Side.FRONTEND, DIRECTORY) is not None,
            "fe_state": xenbus_state(self.get(Side.FRONTEND, "state")),
            "be_state": xenbus_state(self.get(Side.BACKEND, "state")),
            "be_v2": self.get(Side.BACKEND, "feature-protocol-v2") == "1",
            "fe_v2": self.get(Side.FRONTEND, "feature-protocol-v2") == "1",
            "online": self.get(Side.BACKEND, "online") == "1",
            "complete": known and self.get(Side.FRONTEND, "backend") is not None,
            "keeps_keys": self.keys == before.keys,
        }


def nodes(state: Any) -> tuple[Any, ...]:
    """The nodes that the model has."""
    return (
        state.there,
        state.fe_state,
        state.be_state,
        state.keys,
        state.fe_v2,
        state.be_v2,
        state.online,
        state.complete,
    )


def _writes(before: Any, step: Step, after: Any) -> bool:
    return step.name == "driver_writes_nodes" or nodes(before) != nodes(after)


# -------------------------------------------------------------------------------------------------------- a reading

_by_order = ranked(DrivenLinux, EPOCHS, REQUESTS)

FRONTEND: Final = tuple(action.name for action in DRIVEN_LINUX.actions if action.by is Actor.FRONTEND)
_DRIVER: Final = frozenset(action.name for action in DRIVEN_LINUX.actions) - frozenset(FRONTEND)


def alike(state: Any) -> Any:
    """The state that stands for all that go on like this one: nobody asks what was delivered, or looks for events."""
    apart = state.mapped not in (0, state.epoch)
    heeds = state.open and state.own != XenbusState.CONNECTED  # whom a look at the backend's state could move
    state = state._replace(
        told=state.told and heeds,
        delivered=0, base=0, executed=0, latest=0, kept=False, to_frontend=False, to_backend=False, awake=False,
        old_page=state.old_page if apart else EMPTY_PAGE,
    )  # fmt: skip
    return _by_order(state)


def recalls(state: Any) -> tuple[tuple[str, int], ...]:
    """The subjects that lines to come may speak of."""
    return (
        *((kind, epoch) for kind in ("ring-ref", "event-channel") for epoch in (state.epoch, state.keys, state.mapped)),
        *(
            (kind, request)
            for kind in ("request", "answer")
            for request in (state.request, state.page.request, state.old_page.request)
        ),
    )


class Reading:
    """What a run says in terms of the specification `driven.linux`."""

    def __init__(self, run: LinuxRun) -> None:
        self._run = run
        self._writes: list[tuple[dict[str, str | None], Happened | None]] = []  # what the script wrote, in order
        self._store: list[Observation] = []
        self._script: list[Observation] = []
        self._caller: list[Observation] = []
        self._lengths = {10}
        self._page: RingState | None = None  # the state byte of the page that is mapped, as it was known last
        self._called: tuple[str, int] | None = None  # the command's digest, the place of the line that told of it
        self._seen: set[str] = set()  # digests of commands that stood in the page since then

    def recording(self) -> Recording:
        """The observations. Raises Unusable."""
        self._read_store()
        awaited = _awaited(self._run)
        for at, line in enumerate(self._run.lines):
            for words in awaited.get(at, ()):
                self._script.append(Level(line.origin, "frontend state", _state_among(words)))
            self._read(line)
        return Recording(
            title=self._run.name,
            streams=(
                Stream(STORE, tuple(self._store), frozenset((*FRONTEND, "driver_writes_nodes")), _writes, stays=True),
                Stream(SCRIPT, tuple(self._script), _DRIVER),
                Stream(CALLER, tuple(self._caller)),
            ),
            hidden=frozenset(FRONTEND),
            candidates={
                "frontend_submits.length": Candidates(tuple(sorted(self._lengths))),
                "frontend_submits.extra": Candidates((0,)),
            },
            alike=alike,
            recalls=recalls,
        )

    # -------------------------------------------------------------------------------------------------- the store

    def _read_store(self) -> None:
        now = _Nodes()
        for event in self._run.store:
            if not isinstance(event, Commit):
                continue
            before = _Nodes(dict(now.values))
            now.change(event)
            old, new = before.picks(before), now.picks(before)
            if event.party is Party.FRONTEND:
                # the numbers of a new page and port may be those of the last ones
                publishes = {"ring-ref", "event-channel"} <= {c.node for c in event.changes if c.value is not None}
                if publishes or old != new:
                    self._store.append(self._by_frontend(event, now.keys if publishes else None, new))
                continue
            happened = None
            tells = any((change.side, change.node) == (Side.BACKEND, "state") for change in event.changes)
            if tells or (old, before.keys) != (new, now.keys):
                happened = Happened(event.origin, (Call("driver_writes_nodes", {**new, "tells": tells}),))
                self._store.append(happened)
            self._writes.append(({_path(c.side, c.node): c.value for c in event.changes if not c.implied}, happened))

    @staticmethod
    def _by_frontend(event: Commit, published: tuple[str, str] | None, picks: Mapping[str, Any]) -> Happened:
        def fits(before: Any, step: Step, after: Any) -> bool:
            same = (after.be_state, after.be_v2, after.online) == (picks["be_state"], picks["be_v2"], picks["online"])
            own = (after.there, after.fe_state, after.fe_v2) == (picks["there"], picks["fe_state"], picks["fe_v2"])
            keys = after.keys == (before.keys if published is None else after.epoch)
            return same and own and keys and after.complete == picks["complete"]

        def says(before: Any, step: Step, after: Any) -> Mapping[Any, Any]:
            if published is None:
                return {}
            return {("ring-ref", after.keys): published[0], ("event-channel", after.keys): published[1]}

        return Happened(event.origin, tuple(map(Call, FRONTEND)), fits, says)

    # ------------------------------------------------------------------------------------------------- the script

    def _read(self, line: Line) -> None:
        match line.kind:
            case "start":
                pass
            case "wrote":
                self._wrote(line)
            case "mapped":
                self._mapped(line)
            case "unmapped":
                self._page = None
                self._script.append(Happened(line.origin, (Call("driver_unmaps"),)))
            case "looked":
                self._looked(line)
            case "stored":
                self._stored(line)
            case "calls":
                self._called = (line.text("digest"), len(self._script))
                self._seen = set()
                self._script.append(Holds(line.origin, _always))
            case "result":
                self._result(line)
            case "passes" | "short":
                self._script.append(Happened(line.origin, (Call("driver_lets_time_pass"),)))
            case "unbind" | "bind":
                binding = Binding.UNBOUND if line.kind == "unbind" else Binding.AGAIN
                self._script.append(Happened(line.origin, (Call("driver_binds", {"binding": binding}),)))
            case "cancel":
                self._script.append(Happened(line.origin, (Call("driver_cancels"),)))
            case "rested":
                self._script.append(Quiescent(line.origin, frozenset({Actor.FRONTEND})))
                if self._page is not None:  # each event was taken by then, so a request would have been seen
                    self._script.append(Holds(line.origin, _page_state_is(self._page)))
            case _:
                raise Unusable(f"{shown(line.fields)} is no line of a run")

    def _wrote(self, line: Line) -> None:
        wanted = line.fields.get("nodes")
        if not isinstance(wanted, dict):
            raise Unusable(f"nodes is {shown(wanted)}, expected nodes and values")
        asked = {_own(path): value for path, value in wanted.items()}
        for at, (made, happened) in enumerate(self._writes):
            if made == {path: value for path, value in asked.items() if value is not None or path in made}:
                del self._writes[: at + 1]
                if happened is not None:
                    self._script.append(Happened(line.origin, happened.calls))
                return
        # nothing was there to be removed: the store has not changed

    def _mapped(self, line: Line) -> None:
        ref, port = line.number("ring_ref"), line.number("remote_port")

        def says(before: Any, step: Step, after: Any) -> Mapping[Any, Any]:
            return {("ring-ref", after.mapped): str(ref), ("event-channel", after.mapped): str(port)}

        self._script.append(Happened(line.origin, (Call("driver_maps"),), says=says))

    def _looked(self, line: Line) -> None:
        length, state = line.number("length"), line.number("state", 0xFF)
        extra, digest = line.number("nr_extra_pages", 0xFF), line.text("digest")
        shown_state = self._page = _ring_state(state)
        if shown_state is SUBMIT:
            self._lengths.add(length)
            self._seen.add(digest)
            # the driver writes as many bytes as the packet's own header names, and never a locality
            sound = line.number("named") == length and line.number("locality", 0xFF) == 0
        else:
            sound = True
        sound = sound and line.number("pad", 0xFF) == 0

        def fits(now: Any) -> bool:
            page = backend_page(now)
            free = now.open and now.mapped == now.epoch and page.state in (RingState.IDLE, FINISH)
            same = page.state == shown_state and page.extra == extra and (page.length == length or free)
            return sound and bool(now.mapped != 0) and bool(same)

        def says(now: Any) -> Mapping[Any, Any]:
            page = backend_page(now)
            return {("request", page.request): digest} if page.state == SUBMIT and digest else {}

        self._script.append(Holds(line.origin, fits, says))

    def _stored(self, line: Line) -> None:
        picks = {
            "length": line.number("length"), "state": _ring_state(line.number("state", 0xFF)),
            "extra": line.number("nr_extra_pages", 0xFF), "named": line.number("named"),
        }  # fmt: skip
        digest = line.text("digest")
        self._page = _ring_state(line.number("state", 0xFF))

        def says(before: Any, step: Step, after: Any) -> Mapping[Any, Any]:
            page = backend_page(after)
            # over an answer, and at rest, nobody waits for it
            answers = page.state == FINISH and backend_page(before).state not in (RingState.IDLE, FINISH)
            return {("answer", page.request): digest} if answers else {}

        self._script.append(Happened(line.origin, (Call("driver_stores", picks),), says=says))

    # --------------------------------------------------------------------------------------------- the application

    def _result(self, line: Line) -> None:
        if self._called is None:
            raise Unusable("a result of nothing that was called")
        command, place = self._called
        self._called = None
        after_call = (Point(SCRIPT, place),)
        if "error" in line.fields:
            ways = ("frontend_looks", "frontend_gives_up")

            def fails(before: Any, step: Step, after: Any) -> bool:
                got = step.name == "frontend_looks" and _answered(before)
                return bool(before.waiting and not after.waiting and not got)

            unsent = command not in self._seen
            calls = tuple(map(Call, ways))
            happened = Happened(line.origin, calls, fails, _says("request", command), unsent, after_call)
        else:
            answer = line.text("digest")[: len(command)]

            def succeeds(before: Any, step: Step, after: Any) -> bool:
                return _answered(before)

            def says(before: Any, step: Step, after: Any) -> Mapping[Any, Any]:
                return {("request", before.request): command, ("answer", before.request): answer}

            happened = Happened(line.origin, (Call("frontend_looks"),), succeeds, says, later_than=after_call)
        self._caller.append(happened)
        self._script.append(Holds(line.origin, _always, later_than=(Point(CALLER, len(self._caller) - 1),)))


_TOLD: Final[Mapping[str, str]] = {
    "attach": "wrote", "detach": "wrote", "back": "wrote", "front": "wrote", "rm": "wrote", "call": "calls",
    "result": "result", "rest": "rested", "pass": "passes", "times": "short", "unbind": "unbind", "bind": "bind",
    "cancel": "cancel",
}  # fmt: skip
"""What a line of the script certainly leaves in the log, where it leaves anything for certain."""


def _awaited(run: LinuxRun) -> Mapping[int, list[str]]:
    """By lines of the log, the states that the script had seen the frontend in by then: it waits for them."""
    found: dict[int, list[str]] = defaultdict(list)
    states: list[str] = []
    # a line that waits in vain is the script's last
    last = next((at for at, line in enumerate(run.lines) if line.fields.get("vain")), len(run.lines))
    at = 0
    for line in run.script:
        word, _, rest = line.partition(" ")
        if word == "await":
            states.append(rest)
        elif word in _TOLD:
            while at < last and run.lines[at].kind != _TOLD[word]:
                at += 1
            if at == last:
                break
            found[at] += states
            states = []
            at += 1
    return found


@functools.cache
def _state_among(words: str) -> StateTest:
    wanted = frozenset(xenbus_state(None if word == "-" else word) for word in words.split())
    return lambda state: state.fe_state in wanted


@functools.cache
def _page_state_is(known: RingState) -> StateTest:
    return lambda state: backend_page(state).state == known


def _answered(state: Any) -> bool:
    """Whether a whole answer lies in the page."""
    return bool(state.page.state == FINISH and whole_packet(state.page, state.named))


def _says(kind: str, value: str) -> Any:
    return lambda before, step, after: {(kind, before.request): value}


def _always(state: Any) -> bool:
    return True


def _ring_state(byte: int) -> RingState:
    return RingState(byte) if byte < RingState.OTHER else RingState.OTHER


def _path(side: Side, node: str) -> str:
    return f"{side.value}/{node}" if node else side.value


def _own(path: str) -> str:
    """A node's path as `_path` has it, if it is one of a device."""
    place = place_of(path)
    return path if place is None else _path(place.side, place.node)
