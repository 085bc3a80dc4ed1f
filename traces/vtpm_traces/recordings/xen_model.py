"""What a recording of a real Xen system says in terms of the composed model: streams of observations for one device.

A source's line is tied to what it shows, not to a name of an action: `state` of the backend written by the backend is
any step of the backend after which the node has that value and no other node has changed. So the same reading serves
the true model and its variants.

What the model has no value for is told in `says`: grant references and ports of an epoch, bytes of a request. A node
that is no part of the model (`handle`, `uuid`, `resume`, paths and numbers of the domains) is held against the device
and against the values that the recording shows written.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vtpm_model.core import Action, Actor, Nat, Spec, Step, action, fields, record, replace, require
from vtpm_model.handshake import UNKNOWN, Device, XenbusState
from vtpm_model.ring import (
    ANSWER_ACTIONS,
    CANCEL,
    EMPTY_PAGE,
    FINISH,
    IDLE,
    REQUEST_ACTIONS,
    SUBMIT,
    SURPRISES,
    RingState,
    backend_page,
)
from vtpm_traces.observe import (
    Call,
    Candidates,
    Happened,
    Holds,
    Level,
    Observation,
    Origin,
    Recording,
    Sayings,
    StateTest,
    StepTest,
    Stream,
)
from vtpm_traces.recordings.xen import DeviceRecording, Source, SourceKind
from vtpm_traces.recordings.xen_clock import timed
from vtpm_traces.recordings.xen_events import (
    DIRECTORY,
    Change,
    Commanded,
    Commit,
    Event,
    Header,
    Mapped,
    Party,
    Published,
    Read,
    Restarted,
    Sampled,
    Side,
    place_of,
)
from vtpm_traces.steps import ranked
from vtpm_traces.verdict import Taken

EPOCHS = ("epoch", "mapped", "keys", "seen_keys", "job_epoch", "latest", "crashed_in")
REQUESTS = (
    "request", "base", "job", "executed", "delivered",
    "page.request", "page.answer", "old_page.request", "old_page.answer",
)  # fmt: skip


@record
class Watched(Device):
    """A device, and how far its recorder has got."""

    block: Nat  # of lines that are about one thing
    creations_left: Nat  # of those that the log has lines for
    writes_left: Nat  # of the frontend's state, likewise


_by_order = ranked(Watched, EPOCHS, REQUESTS)


def alike(state: Any) -> Any:
    """The state that stands for all that go on like this one, without what no action asks for any more.

    Epochs and requests count by their order only.
    """
    return _by_order(_live(state))


def _live(state: Any) -> Any:
    """The state without what no action asks for any more.

    A frontend that polls may be awake whenever it waits, and what the backend has read counts while it tracks a device.
    """
    idle: dict[str, Any] = {
        "commands": 0, "delivered": 0, "crashed_in": 0, "base": 0, "executed": 0,
        "kept": False, "to_frontend": False,
    }  # fmt: skip
    if not state.busy:
        idle |= {"job": 0, "job_epoch": 0, "job_extra": 0}
    if not state.tracked:
        idle |= {"seen": UNKNOWN, "seen_keys": 0, "seen_v2": False}
    apart = state.mapped != 0 and state.mapped != state.epoch
    idle["old_page"] = replace(state.old_page, answer=0) if apart else EMPTY_PAGE
    held = state.granted or (state.mapped != 0 and not apart)
    idle["page"] = replace(state.page, answer=0) if held else EMPTY_PAGE
    return replace(state, **idle)


def recalls(state: Any) -> tuple[Hashable, ...]:
    """The subjects that lines to come may speak of: live epochs and requests, and the request that comes next."""
    state = _live(state)
    epochs = (state.epoch, state.mapped, state.keys, state.seen_keys)
    requests = (state.request, state.page.request, state.old_page.request, state.job)
    return (
        *((kind, epoch) for kind in ("ring-ref", "event-channel") for epoch in epochs),
        *(
            (kind, request)
            for kind in ("request", "length", "head", "locality")
            for request in (*requests, state.request + 1)
        ),
    )


_PARTIES: Mapping[Party, frozenset[Actor]] = {
    Party.FRONTEND: frozenset({Actor.FRONTEND}),
    Party.BACKEND: frozenset({Actor.BACKEND}),
    Party.TOOLSTACK: frozenset({Actor.TOOLSTACK}),
    Party.LOCAL: frozenset({Actor.BACKEND, Actor.TOOLSTACK}),
    Party.OTHER: frozenset(Actor),
}

_ON_THE_RING = frozenset(each.name for each in (*REQUEST_ACTIONS, *ANSWER_ACTIONS, *SURPRISES))
_SUBMITS = frozenset({"frontend_submits", "frontend_cancels_at_rest"})
# A page that was taken, and given back before anybody was told of it, leaves nothing behind that could be seen.
_LEAVES = frozenset({"frontend_vanishes", "frontend_releases_page"})
_SURPRISES = frozenset(each.name for each in SURPRISES)

# Linux polls: an event moves nothing that a look would not move, and `frontend_polls` stands for both.
_NEEDLESS = frozenset({"event_reaches_frontend_unasked", "frontend_wakes"})

# What a recorder that lives, and logs each of its commands, has not done unseen.
_NOT_UNSEEN = frozenset(
    {"backend_crashes", "backend_starts", "backend_retires", "backend_refuses_request", "backend_drops_stale_answer"}
)

# Cancels cannot go unnoticed by a log of every look at the page: each ends in a look at CANCEL, or changes nothing.
_CANCELS = frozenset(
    {
        "frontend_times_out", "frontend_cancels", "frontend_gives_up", "frontend_cancels_at_rest",
        "backend_acknowledges_cancel",
    }
)  # fmt: skip


# ------------------------------------------------------------------------------------- when unseen steps are tried


@action(by=Actor.XEN)
def recorder_turns(s: Any, block: Nat) -> Any:
    """No step of anybody: the next lines of the backend's log are about something else."""
    return replace(s, block=block)


@dataclass(frozen=True)
class Block:
    """Lines of a backend's log that are all about the page, or all about the store.

    `frontend` and `backend` are what was read of each one's nodes, `page` what was seen of the page; `open_end`: more
    was read than these can tell. `length` is that of a request which the page showed.
    """

    of_page: bool
    frontend: tuple[StateTest, ...] = ()
    backend: tuple[StateTest, ...] = ()
    page: tuple[StateTest, ...] = ()
    open_end: bool = False
    goal: XenbusState | None = None  # the frontend's state that was read last
    length: int = 10

    def awaits(self, before: Any, after: Any) -> bool:
        """Whether what was read asks for this step in the store, of the frontend or of the toolstack."""
        if self.open_end:
            return True
        of_backend = after.be_state != before.be_state and after.fe_state == before.fe_state
        of_both = after.be_state != before.be_state and not of_backend
        tests = self.backend if of_backend else self.frontend + self.backend if of_both else self.frontend
        return not all(test(before) for test in tests)

    def within_reach(self, state: Any) -> bool:
        """Whether the state that was read can still come about with the writes that are left."""
        if self.goal is None or (state.fe_state == UNKNOWN and state.creations_left > 0):
            return True
        return bool(_WRITES_BETWEEN.get((state.fe_state, self.goal), 0) <= state.writes_left)

    def awaits_request(self, state: Any) -> bool:
        """Whether what was seen of the page asks for another request."""
        return not all(test(state) for test in self.page)


def _writes_between() -> Mapping[tuple[XenbusState, XenbusState], int]:
    """The fewest writes of the frontend's state from one value to another; there may be more."""
    unknown, initialising, initialised, connected, closing, closed = (XenbusState(n) for n in (0, 1, 3, 4, 5, 6))
    following = {
        unknown: (initialising,),
        initialising: (initialised, connected),
        initialised: (connected, closing, closed),
        connected: (initialised, closing, closed),
        closing: (closed,),
        closed: (initialising, initialised, connected),
    }
    found: dict[tuple[XenbusState, XenbusState], int] = {}
    for start in following:
        front, seen, writes = {start}, {start}, 0
        while front:
            found |= {(start, reached): writes for reached in front}
            front = {after for state in front for after in (*following[state], unknown)} - seen
            seen |= front
            writes += 1
    return found


_WRITES_BETWEEN = _writes_between()

# Writes of the frontend's state, its creation included, until it may have this value.
_SHORTEST_WAY = {XenbusState.INITIALISING: 1, XenbusState.INITIALISED: 2, UNKNOWN: 2, XenbusState.CONNECTED: 3}


@dataclass(frozen=True)
class Budget:
    """How many unseen steps of a kind there can have been: xenstored announces each write, and each gets its line."""

    creations: int
    writes: int


def watched(spec: Spec[Any], blocks: list[Block], budget: Budget | None) -> Spec[Any]:
    """The specification with `Watched` states, in which unseen steps are put off until a line asks for them.

    Nothing is lost by that. What the frontend and the toolstack do to nodes moves a recorded backend only after it has
    read them, and each of its reads is a line: so such a step waits for the next lines about the store and, with a
    budget (no trace of the store tells its place), for one that shows something else than what is there. Likewise
    requests are put into the page between those lines.
    """

    def gated(original: Action[Any]) -> Action[Any]:
        on_the_ring = original.name in _ON_THE_RING
        free = original.by not in (Actor.FRONTEND, Actor.TOOLSTACK) and original.name not in _SURPRISES

        def run(s: Any, **picks: object) -> Any:
            if blocks and not free:
                block = blocks[s.block]
                require(block.of_page == on_the_ring)
                require(original.name not in _SUBMITS or block.awaits_request(s))
                require(original.name not in _LEAVES or not s.fresh or s.keys == s.epoch)
            after = original.run(s, **picks)
            if budget is not None and not free and not on_the_ring:
                require(blocks[s.block].awaits(s, after))
                require(after.epoch == s.epoch or s.writes_left > 0)  # who takes a page for nothing shows nothing
            connects = s.fresh and not after.fresh and after.open  # writes its state, perhaps the same as before
            if budget is None or (after.fe_state == s.fe_state and not connects):
                return after
            created = s.fe_state == UNKNOWN and original.by is Actor.TOOLSTACK
            require(s.writes_left > 0 and (s.creations_left > 0 or not created))
            after = replace(after, writes_left=s.writes_left - 1, creations_left=s.creations_left - created)
            require(blocks[s.block].within_reach(after))
            return after

        return dataclasses.replace(original, run=run)

    def init() -> Any:
        left = budget or Budget(0, 0)
        return Watched(**spec.init()._asdict(), block=0, creations_left=left.creations, writes_left=left.writes)

    actions = (*(gated(each) for each in spec.actions), recorder_turns)
    return dataclasses.replace(spec, state=Watched, init=init, actions=actions)


def plain_run(run: tuple[Taken, ...]) -> tuple[Taken, ...]:
    """A completed run as the specification itself has it: its own states, without the notes on the recorder's lines."""
    own = tuple(fields(Device))
    return tuple(
        dataclasses.replace(taken, after=Device(**{name: getattr(taken.after, name) for name in own}))
        for taken in run
        if taken.action != recorder_turns.name
    )


def device_recording(seen: DeviceRecording, spec: Spec[Any]) -> tuple[Spec[Any], Recording]:
    """The observations of one device and what may have happened unseen, and the specification to hold them against."""
    reading = Reading(seen, spec)
    recording = reading.recording()
    streams = timed(recording.streams, seen.sources, reading.firsts)
    return reading.spec, dataclasses.replace(recording, streams=streams)


def xenbus_state(value: str | None) -> XenbusState:
    """The state that a node's text names."""
    if value is None:
        return UNKNOWN
    return XenbusState(int(value)) if value in "012345678" and len(value) == 1 else XenbusState.INVALID


def nodes(state: Any) -> tuple[Any, ...]:
    """The nodes in xenstore that the model has."""
    return (state.fe_state, state.be_state, state.keys, state.fe_v2, state.be_v2, state.online)


def _writes(before: Any, step: Step, after: Any) -> bool:
    return nodes(before) != nodes(after)


def _maps(before: Any, step: Step, after: Any) -> bool:
    return bool(before.mapped != after.mapped) and bool(after.mapped != 0)


def _publishes(before: Any, step: Step, after: Any) -> bool:
    """Whether a recorded frontend writes a line about this step: it writes its keys, or Initialised."""
    keys = bool(before.keys != after.keys) and bool(after.keys != 0)
    return keys or (bool(before.fe_state != after.fe_state) and after.fe_state == XenbusState.INITIALISED)


def _logged(before: Any, step: Step, after: Any) -> bool:
    """Whether the recorders' backend writes a line about this step of its own."""
    own = step.name in ("backend_wakes", "backend_finishes", "backend_looks")
    return own or _maps(before, step, after) or _writes(before, step, after)


@dataclass
class Reading:
    """What the sources of one device say in terms of a specification.

    `budget` is counted where it is not given; `blocks` are numbered by what they say, and another reading that is given
    them has the same numbers for the same; `firsts` tells, once there is a recording, for each source the place of
    the first observation of each of its events, and then the number of its observations.
    """

    seen: DeviceRecording
    spec: Spec[Any]
    written: dict[tuple[Side, str], set[str | None]] = field(default_factory=lambda: defaultdict(set))
    lengths: set[int] = field(default_factory=lambda: {10})
    extras: set[int] = field(default_factory=lambda: {0})
    complete: set[bool] = field(default_factory=set)  # whether a uuid was read, where one was looked for
    cancels: bool = False  # a cancel was seen in the page
    restarts: bool = False  # a log goes on after its backend had ended
    budget: Budget | None = None
    blocks: list[Block] = field(default_factory=lambda: [Block(of_page=False)])
    firsts: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = self.seen.device
        self.actions = {actor: tuple(a.name for a in self.spec.actions if a.by is actor) for actor in Actor}
        for source in self.seen.sources:
            for event in source.events:
                self._note(event)
        kinds = [source.kind for source in self.seen.sources]
        logs = [source for source in self.seen.sources if source.kind is SourceKind.BACKEND]
        self.whole_store = any(s.kind is SourceKind.STORE and s.from_start for s in self.seen.sources)
        self.one_log = len(logs) == 1 and not self._begins_late(logs[0])
        if self.budget is None and self.one_log and not self.whole_store:
            self.budget = self._budget(logs[0])
        self.spec = watched(self.spec, self.blocks, self.budget)
        self.linux = SourceKind.FRONTEND not in kinds

    def _note(self, event: Event) -> None:
        match event:
            case Commit():
                for change in event.changes:
                    self.written[change.side, change.node].add(change.value)
            case Commanded():
                self.lengths.add(len(event.request))
            case Mapped() | Sampled():
                self.lengths.add(event.header.length)
                self.extras.add(event.header.extra)
                self.cancels = self.cancels or event.header.state == CANCEL
            case Restarted():
                self.restarts = True
            case Read(node="uuid"):
                self.complete.add(event.value is not None)
            case _:
                pass

    def recording(self) -> Recording:
        streams = tuple(self._stream(source) for source in self.seen.sources)
        hidden = {each.name for each in self.spec.actions} - _NEEDLESS
        hidden.remove(recorder_turns.name)
        if SourceKind.BACKEND not in {source.kind for source in self.seen.sources}:
            hidden -= _ON_THE_RING  # nothing in the store asks for a request, and no source shows one
        if self.one_log:
            hidden -= _NOT_UNSEEN if self.cancels else _NOT_UNSEEN | _CANCELS
            hidden |= {"backend_crashes"} if self.restarts else set()
        # What nobody measured may have had any length; one stands for all that were not seen.
        lengths = Candidates(tuple(sorted(self.lengths)))
        return Recording(
            title=self.seen.title,
            streams=streams,
            hidden=frozenset(hidden),
            candidates={
                "frontend_submits.length": self._submitted() if self.one_log else lengths,
                "frontend_submits.extra": Candidates(tuple(sorted(self.extras))),
                "frontend_looks.header": Candidates(lambda state: (state.page.length,)),
                "backend_finishes.reply": lengths,
                "toolstack_creates.complete": Candidates(tuple(self.complete or {False, True})),
            },
            alike=alike,
            recalls=recalls,
        )

    def _submitted(self) -> Candidates:
        """The length of a request is the one that the page showed next."""
        return Candidates(lambda state: (self.blocks[state.block].length,))

    def _stream(self, source: Source) -> Stream:
        if source.kind is SourceKind.BACKEND and self.one_log:
            return self._log(source)
        observations: list[Observation] = []
        firsts = self.firsts[source.file] = [0]
        for event in source.events:
            observations += self._observations(event)
            firsts.append(len(observations))
        if source.kind is SourceKind.STORE:
            every = frozenset(each.name for each in self.spec.actions)
            return Stream(source.file, tuple(observations), every, _writes, starts_late=not source.from_start)
        if source.kind is SourceKind.FRONTEND:
            return Stream(source.file, tuple(observations), frozenset(self.actions[Actor.FRONTEND]), _publishes)
        return Stream(source.file, tuple(observations))

    def _log(self, source: Source) -> Stream:
        """The one backend's log: it shows each step of the backend that its recorder wrote a line about."""
        observations: list[Observation] = []
        blocks = [Block(of_page=False)]
        turns: list[tuple[int, Origin]] = []  # of the blocks after the first, the places where they begin
        keys: dict[str, str | None] = {}  # as they were read last
        line = 0
        firsts = self.firsts[source.file] = []
        for event in source.events:
            firsts.append(len(observations))
            for observation in self._observations(event):
                of_page = _of_page(event, observation)
                next_line = (of_page or not self.whole_store) and event.origin.line != line
                line = event.origin.line
                if next_line or of_page is not blocks[-1].of_page:
                    blocks.append(Block(of_page))
                    turns.append((len(observations), event.origin))
                    observations.append(_turn(event.origin, 0))
                observations.append(observation)
            if self.budget is not None or isinstance(event, Mapped | Sampled):
                blocks[-1] = _told(blocks[-1], event)
            if isinstance(event, Read) and modelled(event.side, event.node):
                if event.node in ("ring-ref", "event-channel"):
                    changed = keys.setdefault(event.node, event.value) != event.value
                    blocks[-1] = dataclasses.replace(blocks[-1], open_end=blocks[-1].open_end or changed)
                    keys[event.node] = event.value
                observations.append(Happened(event.origin, (Call("backend_looks"),), or_nothing=True))
        firsts.append(len(observations))
        blocks.append(Block(of_page=False, open_end=True))
        turns.append((len(observations), source.events[-1].origin))
        observations.append(_turn(source.events[-1].origin, 0))
        numbers = {block: number for number, block in enumerate(self.blocks)}
        for (place, origin), block in zip(turns, blocks[1:], strict=True):
            if block not in numbers:
                numbers[block] = len(self.blocks)
                self.blocks.append(block)
            observations[place] = _turn(origin, numbers[block])
        return Stream(source.file, tuple(observations), frozenset(self.actions[Actor.BACKEND]), _logged)

    def _budget(self, log: Source) -> Budget:
        """How many creations and writes of the frontend's state there can have been, by the lines that they caused.

        A directory that is made, or removed, has a line of its own. The frontend's state has one for each write after
        the backend has set its watch, and one for each time that it set it. Nothing tells by how many writes the state
        came about that was there when the watch was set; more than the shortest way to it would show nothing else.
        """
        reads = [event for event in log.events if isinstance(event, Read)]
        made = [r for r in reads if r.side is Side.BACKEND and r.node == DIRECTORY and r.own]
        writes, first = 0, True
        for read in reads:
            if read.side is Side.BACKEND and read.node == "frontend" and read.exact:
                first = True  # the directory was found, and a watch is set on its frontend's state
            elif read.side is Side.FRONTEND and read.node == "state" and not read.exact:
                writes += _SHORTEST_WAY.get(xenbus_state(read.value), 4) if first else 1
                first = False
        return Budget(creations=(len(made) + 1) // 2, writes=writes + 4 if first else writes)

    @staticmethod
    def _begins_late(source: Source) -> bool:
        """Whether another backend had served the device before this log began."""
        for event in source.events:
            if isinstance(event, Read) and event.side is Side.BACKEND and event.node == "state":
                return event.value not in (None, "1", "2")
        return False

    # -------------------------------------------------------------------------------------------------- observations

    def _observations(self, event: Event) -> Iterator[Observation]:
        match event:
            case Commit():
                yield from self._commit(event)
            case Read():
                yield from self._read(event)
            case Mapped():
                yield from self._mapped(event)
            case Sampled():
                yield self._sampled(event)
            case Commanded():
                yield self._commanded(event)
            case Published():
                yield from self._published(event)
            case Restarted():
                yield Happened(event.origin, (Call("backend_starts"),))
            case _:
                return  # watches and their events: the model's are coalesced, xenstored's are not

    def _calls(self, party: Party) -> tuple[Call, ...]:
        names = [name for actor in Actor if actor in _PARTIES[party] for name in self.actions[actor]]
        return tuple(Call(name) for name in names if name not in _ON_THE_RING)

    def _commit(self, event: Commit) -> Iterator[Observation]:
        changes = tuple(change for change in event.changes if modelled(change.side, change.node))
        if changes:
            yield Happened(event.origin, self._calls(event.party), _changes_to(event.changes), _says_keys(changes))

    def _read(self, event: Read) -> Iterator[Observation]:
        says: Callable[[Any], Sayings] | None = None
        if not modelled(event.side, event.node):
            if self._foreign(event.side, event.node, event.value):
                return
            test: StateTest = _never
        else:
            test = _node_is(event.side, event.node, event.value)
            if event.node in ("ring-ref", "event-channel") and event.value is not None:
                says = _key_of_published(event.node, event.value)
        if event.exact or says is not None:
            yield Holds(event.origin, test, says)
        else:
            yield Level(event.origin, f"{event.side.value} {event.node}", test)

    def _foreign(self, side: Side, node: str, value: str | None) -> bool:
        """Whether a node that the model does not have may have this value."""
        if value is None:
            return True
        own = {"frontend-id": str(self.device.domain), "handle": str(self.device.handle)}
        if node in own:
            return value == own[node]
        if node in ("frontend", "backend"):
            place = place_of(value)
            other = Side.FRONTEND if side is Side.BACKEND else Side.BACKEND
            return place is not None and (place.device, place.side, place.node) == (self.device, other, DIRECTORY)
        return not self.whole_store or value in self.written[side, node]

    def _mapped(self, event: Mapped) -> Iterator[Observation]:
        def says_keys(before: Any, step: Step, after: Any) -> Sayings:
            return _keys(after.mapped, str(event.ring_ref), str(event.port))

        yield Happened(event.origin, self._calls(Party.BACKEND), _maps, says_keys)
        head = event.data[:8].ljust(8, b"\0")

        def says_head(state: Any) -> Sayings:
            page = backend_page(state)
            said = dict(_length_under_way(state, event.header))
            if page.state == SUBMIT:
                said["head", page.request] = head
            elif any(head):
                said["head", state.request + 1] = head  # the bytes of a request are written before its state
            return said

        yield Holds(event.origin, _shown(event.header), says_head)

    def _sampled(self, event: Sampled) -> Observation:
        def says(before: Any, step: Step, after: Any) -> Sayings:
            said = dict(_length_under_way(before, event.header))
            page = backend_page(before)
            if page.state == SUBMIT:
                said["locality", page.request] = event.header.locality
            return said

        return Happened(event.origin, (Call("backend_wakes"),), _showed(event.header), says)

    def _commanded(self, event: Commanded) -> Observation:
        asked, answered = len(event.request), len(event.response)
        fits = _answers(asked, answered) if self._plausible(event) else _no_step

        def says(before: Any, step: Step, after: Any) -> Sayings:
            return {
                ("request", before.job): hashlib.sha256(event.request).hexdigest(),
                ("length", before.job): asked,
                ("head", before.job): event.request[:8].ljust(8, b"\0"),
                ("locality", before.job): event.locality,
            }

        return Happened(event.origin, (Call("backend_finishes", {"reply": answered}),), fits, says)

    def _plausible(self, event: Commanded) -> bool:
        """Linux sends as many bytes as its packet's header names (A3), and an engine's reply is one packet (N3).

        And no command is missing before it.
        """
        asked = int.from_bytes(event.request[2:6], "big")
        answered = int.from_bytes(event.response[2:6], "big")
        sent = asked == len(event.request) or not self.linux
        return event.follows and sent and answered == len(event.response)

    def _published(self, event: Published) -> Iterator[Observation]:
        def keys(node: str, value: str) -> Change:
            return Change(event.origin, Side.FRONTEND, node, value)

        published = (keys("ring-ref", str(event.ring_ref)), keys("event-channel", str(event.port)))
        changes = (*published, keys("feature-protocol-v2", "1"))
        yield Happened(event.origin, self._calls(Party.FRONTEND), _changes_to(changes), _says_keys(changes))
        state = (keys("state", event.state),)
        yield Happened(event.origin, self._calls(Party.FRONTEND), _changes_to(state))


def _of_page(event: Event, observation: Observation) -> bool:
    """Whether a line is about the page, and not about the store."""
    return isinstance(event, Sampled | Commanded) or (isinstance(event, Mapped) and isinstance(observation, Holds))


def _told(block: Block, event: Event) -> Block:
    """The block with what a line of it tells."""
    match event:
        case Mapped() | Sampled():
            page = (*block.page, _header_is(event.header))
            return dataclasses.replace(block, length=event.header.length, page=page)
        case Read(side=Side.FRONTEND) if modelled(event.side, event.node):
            goal = xenbus_state(event.value) if event.node == "state" else block.goal
            test = _node_is(event.side, event.node, event.value)
            return dataclasses.replace(block, frontend=(*block.frontend, test), goal=goal)
        case Read(side=Side.BACKEND) if modelled(event.side, event.node):
            return dataclasses.replace(block, backend=(*block.backend, _node_is(event.side, event.node, event.value)))
        case _:
            return block


def _turn(origin: Origin, block: int) -> Happened:
    return Happened(origin, (Call(recorder_turns.name, {"block": block}),))


# --------------------------------------------------------------------------------------------------------- the store

_MODELLED = {
    Side.FRONTEND: frozenset({DIRECTORY, "state", "ring-ref", "event-channel", "feature-protocol-v2"}),
    Side.BACKEND: frozenset({DIRECTORY, "state", "feature-protocol-v2", "online"}),
}


def modelled(side: Side, node: str) -> bool:
    """Whether the model has this node."""
    return node in _MODELLED[side]


def _never(state: Any) -> bool:
    return False


def _no_step(before: Any, step: Step, after: Any) -> bool:
    return False


@functools.cache
def _node_is(side: Side, node: str, value: str | None) -> StateTest:
    """Whether a node has this value (None: is not there)."""
    state_of = "fe_state" if side is Side.FRONTEND else "be_state"
    if node == DIRECTORY:
        return lambda state: bool((getattr(state, state_of) == UNKNOWN) == (value is None))
    if node == "state":
        expected = xenbus_state(value)
        return lambda state: bool(getattr(state, state_of) == expected)
    if node in ("ring-ref", "event-channel"):
        return lambda state: bool((state.keys == 0) == (value is None))
    if node == "online":
        if value == "0":
            return lambda state: bool(state.be_state != UNKNOWN) and not state.online
        return (lambda state: bool(state.online == (value == "1"))) if value in (None, "1") else _never
    version = "fe_v2" if side is Side.FRONTEND else "be_v2"
    return (lambda state: bool(getattr(state, version) == (value == "1"))) if value in (None, "1") else _never


def _changes_to(changes: tuple[Change, ...]) -> StepTest:
    """Whether a step changes just these nodes, to just these values."""
    return _changes_nodes(tuple((change.side, change.node, change.value, change.implied) for change in changes))


@functools.cache
def _changes_nodes(changes: tuple[tuple[Side, str, str | None, bool], ...]) -> StepTest:
    made = any(node == DIRECTORY and value is not None and not implied for _, node, value, implied in changes)
    backend_nodes = {node for side, node, _, _ in changes if side is Side.BACKEND}
    complete = {"frontend", "uuid"} <= backend_nodes

    # A connection's keys become visible at once.
    together = {"ring-ref", "event-channel"} <= {node for side, node, _, _ in changes if side is Side.FRONTEND}

    # `online` says 0 or 1; nobody writes anything else.
    known = all(value in (None, "0", "1") for _, node, value, _ in changes if node == "online")

    def fits(before: Any, step: Step, after: Any) -> bool:
        if not known:
            return False
        fe_state, be_state, keys, fe_v2, be_v2, online = nodes(before)
        for side, node, value, _ in changes:
            gone = value is None
            match side, node:
                case Side.FRONTEND, "":
                    if gone:
                        fe_state, keys, fe_v2 = UNKNOWN, 0, False
                case Side.BACKEND, "":
                    if gone:
                        be_state, be_v2, online = UNKNOWN, False, False
                case Side.FRONTEND, "state":
                    fe_state = xenbus_state(value)
                case Side.BACKEND, "state":
                    be_state = xenbus_state(value)
                case Side.FRONTEND, "ring-ref" | "event-channel":
                    keys = 0 if gone else after.epoch
                case Side.FRONTEND, "feature-protocol-v2":
                    fe_v2 = value == "1"
                case Side.BACKEND, "feature-protocol-v2":
                    be_v2 = value == "1"
                case Side.BACKEND, "online":
                    online = value == "1"
        if keys not in (0, before.keys) and not together:
            return False
        expected = (fe_state, be_state, keys, fe_v2, be_v2, online)
        return nodes(after) == expected and (not made or bool(after.complete == complete))

    return fits


def _keys(epoch: Any, ring_ref: str | None, port: str | None) -> Sayings:
    said = {("ring-ref", epoch): ring_ref, ("event-channel", epoch): port}
    return {subject: value for subject, value in said.items() if value is not None}


def _says_keys(changes: tuple[Change, ...]) -> Callable[[Any, Step, Any], Sayings] | None:
    values = {change.node: change.value for change in changes if change.side is Side.FRONTEND}
    if values.keys().isdisjoint({"ring-ref", "event-channel"}):
        return None
    return lambda before, step, after: _keys(after.keys, values.get("ring-ref"), values.get("event-channel"))


def _key_of_published(node: str, value: str) -> Callable[[Any], Sayings]:
    return lambda state: {(node, state.keys): value}


# ---------------------------------------------------------------------------------------------------------- the page


def _shows(state: Any, header: Header) -> bool:
    """Whether the page that the backend has mapped may have shown this header."""
    page = backend_page(state)
    same = bool(state.mapped != 0) and bool(page.state == _ring_state(header)) and bool(page.extra == header.extra)
    return same and header.pad == 0 and (bool(page.length == header.length) or _being_written(state))


@functools.cache
def _shown(header: Header) -> StateTest:
    return lambda state: _shows(state, header)


@functools.cache
def _showed(header: Header) -> StepTest:
    return lambda before, step, after: _shows(before, header)


@functools.cache
def _header_is(header: Header) -> StateTest:
    def test(state: Any) -> bool:
        page = backend_page(state)
        return bool(page.state == _ring_state(header)) and bool(page.length == header.length)

    return test


@functools.cache
def _answers(asked: int, answered: int) -> StepTest:
    """Whether a step takes a request of this length from the page, and leaves an answer of that one."""

    def fits(before: Any, step: Step, after: Any) -> bool:
        page = backend_page(after)
        lengths = bool(backend_page(before).length == asked) and bool(page.length == answered)
        return lengths and bool(page.state == FINISH)

    return fits


def _ring_state(header: Header) -> RingState:
    return RingState(header.state) if header.state < RingState.OTHER else RingState.OTHER


def _being_written(state: Any) -> bool:
    """Whether a frontend may just be writing a request: its length is written before its state, not with it."""
    page = backend_page(state)
    return bool(state.open) and bool(state.mapped == state.epoch) and page.state in (IDLE, FINISH)


def _length_under_way(state: Any, header: Header) -> Sayings:
    if backend_page(state).length == header.length:
        return {}
    return {("length", state.request + 1): header.length}


def origins(recording: Recording) -> Iterator[Origin]:
    """Every place that a recording observes, stream by stream."""
    for stream in recording.streams:
        for observation in stream.observations:
            yield observation.origin
