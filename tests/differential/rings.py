"""The rings of two frontends and of one engine, run beside the model of each: what the implementation shows, it allows.

A step of the implementation is one of a few sequences of the model's actions; a store that a hostile peer makes in the
middle of it may come before, between or after them. So the model is a set of states: those that all sequences lead to
and that look like the implementation does. No state left is a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from vtpm_impl.ring.backend import BackendRing, Request
from vtpm_impl.ring.frontend import Busy, Cancelled, FrontendRing, Malformed, TooLong
from vtpm_impl.ring.page import FRAME, capacity, data_offset
from vtpm_model import ring as model
from vtpm_model.core import Disabled, replace
from vtpm_model.ring import FINISH, IDLE, SUBMIT, Ring, RingState

Sequence = tuple[tuple[Any, dict[str, Any]], ...]
"""Actions of the model with their picks."""

LENGTHS = st.one_of(
    st.sampled_from((0, 1, 9, 10, 11, 3067, 3068, 3069, 4087, 4088, 4089, 4096, 2**31, 2**32 - 8, 2**32 - 1)),
    st.integers(0, 5000),
)
EXTRAS = st.sampled_from((0, 0, 0, 1, 254, 255))
PERMITTED = frozenset(range(5))
LOCALITY_AT = 5  # the byte of the page that names the locality


def packet(length: int, number: int, named: int | None = None) -> bytes:
    """A TPM packet of this length that carries a number as its code; its header names `named` bytes."""
    whole = b"\x00\xc1" + (length if named is None else named).to_bytes(4, "big") + number.to_bytes(4, "big")
    return (whole + bytes(max(0, length - len(whole))))[:length]


class Memory:
    """A page of which each access is one load or one store, before some of whose loads a hostile peer stores.

    Between a load that permits a store and that store nothing happens here: no order of loads and stores could help.
    """

    def __init__(self) -> None:
        self.bytes = bytearray(FRAME)
        self.before: dict[int, Callable[[], None]] = {}  # by the number of the load
        self._loads = 0

    def hostile(self, after: int, store: Callable[[], None]) -> None:
        """Let a store happen once that many loads were made from now on."""
        self.before = {self._loads + after: store}

    def __getitem__(self, where: Any) -> Any:
        store = self.before.pop(self._loads, None)
        self._loads += 1
        if store is not None:
            store()
        found = self.bytes[where]
        return found if isinstance(found, int) else bytes(found)

    def __setitem__(self, where: Any, value: Any) -> None:
        if isinstance(where, slice):
            assert len(self.bytes[where]) == len(value), "a store outside the page"
        self.bytes[where] = value


@dataclass
class Line:
    """One frontend and the backend's end of its connection, beside the model of both."""

    states: set[Ring] = field(default_factory=lambda: {model.at_rest()})
    memory: Memory = field(default_factory=Memory)
    frontend: FrontendRing | None = None
    backend: BackendRing | None = None
    backend_memory: Memory = field(default_factory=Memory)  # the page that the backend has mapped
    hostile: bool = False  # the frontend obeys no rule
    to_backend: bool = False
    to_frontend: bool = False
    waiting: bool = False
    cancelled: bool = False
    epoch: int = 0
    mapped: int = 0

    # ------------------------------------------------------------------------------------------------- comparing

    def seen(self) -> dict[str, Any]:
        """What the implementation shows."""
        page = self.memory.bytes
        return {
            "epoch": self.epoch,
            "mapped": self.mapped,
            "state": min(page[4], int(RingState.OTHER)),
            "length": int.from_bytes(page[:4], "little"),
            "extra": page[7],
            "ready": self.backend is not None and self.backend.ready,
            "serving": self.backend is not None and self.backend.serving,
            "to_backend": self.to_backend,
            "to_frontend": self.to_frontend,
            "waiting": self.waiting,
        }

    def compare(self, sequences: Iterable[Sequence], *, so: Callable[[Ring, Ring], bool] = lambda *_: True) -> None:
        """The model takes one of these sequences, from one of its states to one that looks like the implementation."""
        shown = self.seen()
        tried = tuple(sequences)
        after = {
            reached
            for state in self.states
            for sequence in tried
            for reached in run(state, sequence)
            if looks(reached) == shown and so(state, reached)
        }
        if not after:
            ways = [[getattr(action, "name", "") or action.__name__ for action, _ in one] for one in tried]
            raise AssertionError(f"no {ways} of {[looks(one) for one in self.states]} looks like {shown}")
        self.states = after

    def store(self, length: int, state: int, extra: int) -> None:
        """What a hostile frontend stores."""
        self.memory.bytes[:8] = length.to_bytes(4, "little") + bytes([state, 0, 0, extra])


def looks(s: Ring) -> dict[str, Any]:
    """What the implementation would show in this state of the model."""
    return {
        "epoch": s.epoch,
        "mapped": s.mapped,
        "state": int(s.page.state),
        "length": s.page.length,
        "extra": s.page.extra,
        "ready": s.ready,
        "serving": model.serving(s),
        "to_backend": s.to_backend,
        "to_frontend": s.to_frontend,
        "waiting": s.waiting,
    }


def run(state: Ring, sequence: Sequence) -> Iterator[Ring]:
    """The state after these actions, if they are possible one after another."""
    for action, picks in sequence:
        try:
            state = action.run(state, **picks) if hasattr(action, "run") else action(state, **picks)
        except Disabled:
            return
    yield state


def stores(s: Ring, length: int, state: int, extra: int) -> Ring:
    """A hostile frontend stores a header; each SUBMIT is a request of its own."""
    page = replace(s.page, length=length, state=RingState(min(state, RingState.OTHER)), extra=extra)
    if state == SUBMIT:
        return replace(s, request=s.request + 1, page=replace(page, request=s.request + 1))
    return replace(s, page=page)


def replies(s: Ring, length: int, state: int, extra: int) -> Ring:
    """A hostile backend, of which the model knows nothing else, stores a header and sends an event."""
    answer = s.request if state == FINISH else s.page.answer
    page = replace(s.page, length=length, state=RingState(min(state, RingState.OTHER)), extra=extra, answer=answer)
    return replace(s, page=page, to_frontend=True)


def raised(s: Ring) -> Ring:
    """A hostile frontend sends an event, for which it need not have a reason."""
    return replace(s, to_backend=s.to_backend | (s.mapped == s.epoch), frontend_owes_event=False)


def told(s: Ring) -> Ring:
    """Both ends have sent the events that they owe."""
    for action in (model.frontend_notifies, model.backend_notifies):
        for after in run(s, ((action, {}),)):
            s = after
    return s


ACKNOWLEDGES: Sequence = ((model.backend_acknowledges_cancel, {}),)
TOLD: Sequence = ((told, {}),)
NOTHING: Sequence = ()


def header(data: st.DataObject) -> dict[str, int]:
    """What a hostile frontend stores, most often a request."""
    return {
        "length": data.draw(LENGTHS, label="length"),
        "state": data.draw(st.sampled_from((1, 1, 1, 0, 2, 3, 4, 255)), label="state"),
        "extra": data.draw(EXTRAS, label="extra"),
    }


class Rings(RuleBasedStateMachine):
    """Two frontends, sound or hostile, one backend with one engine, or a hostile one, crashes of either."""

    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.lines = (Line(), Line())
        self._happened = False  # what a hostile frontend was to store meanwhile
        self.job: tuple[Line, BackendRing, int, Request] | None = None  # with the epoch that it came from

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """One of what can happen now; what leads on more often than what ends."""
        moves = [move for line in self.lines for weight, move in self._moves(line) for _ in range(weight)]
        if self.job is not None:
            moves += [self.engine_answers] * 15
        moves.append(self.backend_crashes_and_starts)
        move = data.draw(st.sampled_from(moves))
        move(data)
        type(self).steps += 1

    def _moves(self, line: Line) -> Iterator[tuple[int, Callable[[st.DataObject], None]]]:
        def of(method: Callable[[Line, st.DataObject], None]) -> Callable[[st.DataObject], None]:
            def move(data: st.DataObject) -> None:
                note(f"line {self.lines.index(line)}: {method.__name__}")
                method(line, data)

            return move

        if line.frontend is None:
            yield 20, of(self.frontend_connects)
        else:
            yield 1, of(self.frontend_leaves)
            yield 1, of(self.frontend_raises)
            if not line.mapped and any(state.latest < state.epoch for state in line.states):
                yield 20, of(self.backend_connects)
            if line.hostile:
                yield 12, of(self.frontend_stores)
                yield 8 if not line.to_backend else 1, of(self.frontend_raises)
            elif line.waiting:
                yield 20 if line.to_frontend else 1, of(self.frontend_looks)
            else:
                yield 20, of(self.frontend_submits)
            if line.waiting and not line.mapped:
                yield 6, of(self.backend_stores)
            if not line.hostile and not line.cancelled:
                yield 2, of(self.frontend_cancels)
            if line.waiting and line.cancelled:
                yield 2, of(self.frontend_gives_up)
        if line.backend is not None:
            yield 1, of(self.backend_disconnects)
            if line.to_backend:
                yield 30, of(self.backend_wakes)
            if line.backend.ready and self.job is None:
                yield 30, of(self.backend_fetches)

    # ------------------------------------------------------------------------------------------------- connecting

    def frontend_connects(self, line: Line, data: st.DataObject) -> None:
        line.memory, line.hostile = Memory(), data.draw(st.booleans(), label="hostile")
        line.frontend = FrontendRing(line.memory, lambda: self._notify_backend(line))
        line.epoch += 1
        line.compare([((model.frontend_connects, {}),)])

    def _notify_backend(self, line: Line) -> None:
        line.to_backend |= line.mapped == line.epoch

    def frontend_leaves(self, line: Line, _: st.DataObject) -> None:
        line.frontend = None
        line.waiting = line.cancelled = line.to_frontend = False
        line.compare([((model.frontend_leaves, {}),)])

    def backend_connects(self, line: Line, _: st.DataObject) -> None:
        def notify() -> None:
            line.to_frontend |= line.frontend is not None and line.mapped == line.epoch

        line.backend_memory = line.memory
        line.backend = BackendRing(line.memory, notify, PERMITTED.__contains__)
        line.mapped, line.to_backend = line.epoch, True
        line.compare([((model.backend_connects, {}),)])

    def backend_disconnects(self, line: Line, _: st.DataObject) -> None:
        line.backend = None
        line.mapped, line.to_backend = 0, False
        line.compare([((model.backend_disconnects, {}),)])

    def backend_crashes_and_starts(self, _: st.DataObject) -> None:
        self.job = None
        for line in self.lines:
            line.backend, line.mapped, line.to_backend = None, 0, False
            line.compare([((model.backend_crashes, {}), (model.backend_starts, {}))])

    # -------------------------------------------------------------------------------------------- a sound frontend

    def frontend_submits(self, line: Line, data: st.DataObject) -> None:
        assert line.frontend is not None
        length, extra = data.draw(LENGTHS.filter(lambda n: n < 6000), label="length"), data.draw(EXTRAS, label="extra")
        locality = data.draw(st.sampled_from((0, 4, 5)), label="locality")
        command = packet(length, next(iter(line.states)).request + 1)
        try:
            line.frontend.submit(command, locality=locality, extra=extra)
        except (Busy, TooLong):
            submits = (model.frontend_submits, {"length": length, "extra": extra})
            assert not any(True for state in line.states for _ in run(state, (submits,)))
            line.compare([NOTHING])
            return
        line.waiting, line.cancelled = True, False
        line.compare([((model.frontend_submits, {"length": length, "extra": extra}), *TOLD)])

    def frontend_looks(self, line: Line, _: st.DataObject) -> None:
        assert line.frontend is not None
        line.to_frontend = False
        answer = None
        try:
            answer = line.frontend.look()
            line.waiting = answer is None
        except (Cancelled, Malformed) as error:
            note(str(error))
            line.waiting = False
        page = line.memory.bytes
        at = data_offset(page[7])
        named = int.from_bytes(page[at + 2 : at + 6], "big")
        looking: Sequence = ((model.frontend_polls, {}), (model.frontend_looks, {"header": named}))
        wakes: Sequence = ((model.frontend_wakes, {}),)

        def delivered(before: Ring, after: Ring) -> bool:
            if answer is None:
                return after.delivered == before.delivered
            # an error that the backend made itself carries no number
            own = answer[:2] != packet(10, 0)[:2] or int.from_bytes(answer[6:10], "big") == before.request
            return after.delivered == before.request and own

        line.compare([looking, (*wakes, *looking)], so=delivered)

    def frontend_cancels(self, line: Line, _: st.DataObject) -> None:
        assert line.frontend is not None
        if line.waiting:
            if line.memory.bytes[4] in (FINISH, IDLE):
                return  # it would have looked
            line.frontend.cancel()
            line.cancelled = True
            line.compare([((model.frontend_times_out, {}), (model.frontend_cancels, {}), *TOLD)])
        else:
            line.frontend.cancel()
            line.compare([((model.frontend_cancels_at_rest, {}), *TOLD)])

    def frontend_gives_up(self, line: Line, _: st.DataObject) -> None:
        line.waiting = False
        line.compare([((model.frontend_gives_up, {}),)])

    # ------------------------------------------------------------------------------------------ a hostile frontend

    def frontend_stores(self, line: Line, data: st.DataObject) -> None:
        picks = header(data)
        line.store(**picks)
        line.compare([((stores, picks),)])

    def frontend_raises(self, line: Line, _: st.DataObject) -> None:
        self._notify_backend(line)
        line.compare([((raised, {}),)])

    # ------------------------------------------------------------------------------------------- a hostile backend

    def backend_stores(self, line: Line, data: st.DataObject) -> None:
        picks = header(data) | {"state": data.draw(st.sampled_from((2, 2, 2, 0, 1, 3, 4)), label="state")}
        named = data.draw(st.one_of(st.just(picks["length"]), LENGTHS), label="named")
        at = data_offset(picks["extra"])
        line.memory.bytes[at : at + 10] = packet(10, next(iter(line.states)).request, named)
        line.store(**picks)
        line.to_frontend = True
        line.compare([((replies, picks),)])

    # ------------------------------------------------------------------------------------------------- the backend

    def _meanwhile(self, line: Line, data: st.DataObject) -> Sequence:
        """A hostile frontend may store while the backend is at work; what it stores, as an action of the model."""
        self._happened = False
        if not line.hostile or line.mapped != line.epoch or not data.draw(st.booleans(), label="meanwhile"):
            return ()
        picks = header(data)

        def store() -> None:
            line.store(**picks)
            self._happened = True

        line.memory.hostile(data.draw(st.integers(0, 3), label="after loads"), store)
        return ((stores, picks),)

    def _compare(self, line: Line, meanwhile: Sequence, ways: Iterable[Sequence]) -> None:
        line.memory.before = {}
        if self._happened:
            ways = [(*way[:at], *meanwhile, *way[at:]) for way in ways for at in range(len(way) + 1)]
        line.compare([(*way, *TOLD) for way in ways])

    def backend_wakes(self, line: Line, data: st.DataObject) -> None:
        assert line.backend is not None
        meanwhile = self._meanwhile(line, data)
        line.to_backend = False
        line.backend.on_event()
        wakes: Sequence = ((model.backend_wakes, {}),)
        self._compare(line, meanwhile, [wakes, (*wakes, *ACKNOWLEDGES)])

    def backend_fetches(self, line: Line, data: st.DataObject) -> None:
        assert line.backend is not None
        meanwhile = self._meanwhile(line, data)
        permitted = {line.backend_memory.bytes[LOCALITY_AT] in PERMITTED}
        request = line.backend.fetch()
        if self._happened:  # what was refused is no longer there; what is there could have been refused for its own
            permitted.add(False)
        if request is not None:
            assert len(request.command) <= capacity(request.extra)
            self.job = (line, line.backend, line.mapped, request)
            ways: list[Sequence] = [((model.backend_fetches, {"permitted": True}),)]
        else:
            fetches: Sequence = ((model.backend_fetches, {"permitted": True}),)
            ways = [fetches, (*fetches, *ACKNOWLEDGES)]
            ways += [
                ((model.backend_refuses_request, {"permitted": each, "with_error": with_error}),)
                for each in permitted
                for with_error in (True, False)
            ]
        self._compare(line, meanwhile, ways)

    def engine_answers(self, data: st.DataObject) -> None:
        assert self.job is not None
        (line, backend, epoch, request), self.job = self.job, None
        length = data.draw(LENGTHS.filter(lambda n: n < 9000), label="reply")
        if line.backend is not backend:  # as `xenbus.backend` sees to it
            line.compare([((model.backend_drops_stale_answer, {}),)])
            return
        assert line.mapped == epoch
        meanwhile = self._meanwhile(line, data)
        number = int.from_bytes(request.command[6:10], "big") if len(request.command) >= 10 else 0
        backend.finish(packet(length, number))
        self._compare(line, meanwhile, [((model.backend_finishes, {"reply": length}),)])
