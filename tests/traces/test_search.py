"""Recordings against a specification: what each kind of observation demands, and the same answers as a plain search."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.traces.box import BOX, Box, Colour

from vtpm_model.core import Actor, Disabled, Step
from vtpm_traces.generate import walk
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
    Stream,
)
from vtpm_traces.search import Bounds, explain
from vtpm_traces.steps import Steps, ranked
from vtpm_traces.verdict import Outcome, Verdict

ALL = frozenset(action.name for action in BOX.actions)
WEIGHTS = {"sender_puts.weight": Candidates((5, 150)), "taker_stamps.value": Candidates((7,))}
ALIKE = ranked(Box, ("letter.number", "sent", "taken"))


def at(line: int = 1) -> Origin:
    return Origin("rec", line, f"line {line}")


def did(action: str, line: int = 1, **picks: Any) -> Happened:
    return Happened(at(line), (Call(action, picks),))


def recording(*streams: Stream, hidden: frozenset[str] = frozenset(), **more: Any) -> Recording:
    return Recording("test", streams, hidden, WEIGHTS, **more)


def one(*observations: Observation, hidden: frozenset[str] = frozenset(), **more: Any) -> Verdict:
    sees = ALL - hidden
    return explain(BOX, recording(Stream("s", observations, sees), hidden=hidden, **more))


BELLS = frozenset({"bell_rings", "taker_hears"})


def test_what_happened_is_found_with_its_picks() -> None:
    verdict = one(did("sender_puts", weight=150), did("taker_takes"))
    assert verdict.accepted
    assert [(taken.action, dict(taken.picks)["gently"]) for taken in verdict.run[1:]] == [("taker_takes", False)]


def test_what_cannot_happen_is_refused_with_the_observation_and_what_could() -> None:
    verdict = one(did("sender_puts", 1), did("sender_puts", 2))
    assert verdict.outcome is Outcome.REFUSED
    assert verdict.stuck[0].origin == at(2)
    assert "taker_takes(gently=false)" in verdict.stuck[0].possible


def test_a_step_may_be_one_of_several_and_be_narrowed() -> None:
    either = Happened(at(), (Call("bell_rings"), Call("sender_puts")), fits=lambda before, step, after: after.full)
    verdict = one(either)
    assert [taken.action for taken in verdict.run] == ["sender_puts"]


def test_hidden_steps_come_only_where_they_are_allowed() -> None:
    assert one(did("taker_hears")).outcome is Outcome.REFUSED
    verdict = one(did("taker_hears"), hidden=frozenset({"bell_rings"}))
    assert [(taken.action, len(taken.seen)) for taken in verdict.run] == [("bell_rings", 0), ("taker_hears", 1)]


def test_a_step_that_a_stream_sees_must_be_its_next_observation() -> None:
    ears = Stream("ears", (did("taker_hears"),), sees=BELLS)
    assert explain(BOX, recording(ears, hidden=BELLS)).outcome is Outcome.REFUSED  # it would have seen the bell
    deaf = replace(ears, sees=frozenset({"taker_hears"}))
    assert explain(BOX, recording(deaf, hidden=BELLS)).accepted


def test_one_step_is_shown_by_every_stream_that_sees_it() -> None:
    first = Stream("a", (did("bell_rings", 1), did("taker_hears", 2)), sees=BELLS)
    second = Stream("b", (did("bell_rings", 3), did("taker_hears", 4)), sees=BELLS)
    verdict = explain(BOX, recording(first, second))
    assert [len(taken.seen) for taken in verdict.run] == [2, 2]
    short = replace(second, observations=second.observations[:1], stays=True)
    assert explain(BOX, recording(first, short)).outcome is Outcome.REFUSED
    assert explain(BOX, recording(first, replace(short, stays=False))).accepted  # its log had ended


def test_sight_narrows_what_a_stream_sees() -> None:
    def only_light(before: Box, step: Step, after: Box) -> bool:
        return after.weight < 100

    scales = Stream("scales", (did("sender_puts", weight=5),), frozenset({"sender_puts"}), sight=only_light, stays=True)
    lines = (did("sender_puts", 1, weight=150), did("taker_takes", 2), did("sender_puts", 3, weight=5))
    everything = Stream("all", lines, ALL)
    assert explain(BOX, recording(everything, scales)).accepted
    blind = replace(scales, sight=None)
    assert explain(BOX, recording(everything, blind)).outcome is Outcome.REFUSED


def test_a_recorder_that_starts_late_misses_what_was_before() -> None:
    late = Stream("late", (did("taker_hears"),), sees=BELLS, starts_late=True)
    assert explain(BOX, recording(late, hidden=BELLS)).accepted
    assert explain(BOX, recording(replace(late, starts_late=False), hidden=BELLS)).outcome is Outcome.REFUSED
    marked = replace(late, observations=(Holds(at(), lambda s: not s.bell), did("taker_hears")))
    assert explain(BOX, recording(marked, hidden=BELLS)).outcome is Outcome.REFUSED  # it had begun, and saw no bell
    rung = replace(late, observations=(Holds(at(), lambda s: s.bell), did("taker_hears")))
    assert explain(BOX, recording(rung, hidden=BELLS)).accepted


def test_a_state_is_held_at_its_place_in_the_stream() -> None:
    full, empty = Holds(at(2), lambda s: s.full), Holds(at(2), lambda s: not s.full)
    assert one(did("sender_puts"), full, did("taker_takes")).accepted
    assert one(did("sender_puts"), empty, did("taker_takes")).outcome is Outcome.REFUSED
    assert one(did("sender_puts"), empty, hidden=frozenset({"taker_takes"})).accepted


def test_a_level_is_any_value_since_the_last_read_of_the_same() -> None:
    def reads(line: int, value: bool, subject: str = "full") -> Level:
        return Level(at(line), subject, lambda s: s.full is value)

    put, take = did("sender_puts"), did("taker_takes")
    assert one(put, take, reads(3, True)).accepted
    assert one(put, take, reads(3, False), reads(4, True)).outcome is Outcome.REFUSED
    assert one(put, reads(2, True), take, reads(4, True)).accepted  # it still was, when it was last read
    assert one(put, take, reads(3, False), put, reads(5, False)).accepted
    assert one(put, reads(2, True), take, reads(4, False), reads(5, True)).outcome is Outcome.REFUSED
    assert one(put, take, reads(3, False, "other"), reads(4, True)).accepted  # another subject has its own window


def test_rest_leaves_nothing_that_is_owed() -> None:
    taker = frozenset({Actor.BACKEND})
    rest = Quiescent(at(2), taker)
    assert one(did("bell_rings"), rest).outcome is Outcome.REFUSED
    assert one(did("bell_rings"), rest, hidden=frozenset({"taker_hears"})).accepted
    assert one(did("bell_rings"), Quiescent(at(2), taker, frozenset({"taker_hears"}))).accepted
    assert one(did("bell_rings"), Quiescent(at(2), frozenset({Actor.FRONTEND}))).accepted


def test_observations_of_different_streams_are_ordered_only_where_it_is_said() -> None:
    hears = Stream("b", (did("taker_hears"),), frozenset({"taker_hears"}))
    rings = Stream("a", (did("bell_rings"), Holds(at(9), lambda s: not s.bell)), frozenset({"bell_rings"}))
    assert explain(BOX, recording(rings, hears)).accepted
    waiting = replace(hears, observations=(replace(did("taker_hears"), later_than=(Point("a", 1),)),))
    assert explain(BOX, recording(rings, waiting)).outcome is Outcome.REFUSED


def test_an_order_after_something_that_is_not_there_is_wrong_use() -> None:
    with pytest.raises(ValueError, match="later than"):
        recording(Stream("a", (Holds(at(), bool, later_than=(Point("b", 0),)),)))
    with pytest.raises(ValueError, match="streams of the same name: a"):
        recording(Stream("a", ()), Stream("a", ()))
    with pytest.raises(ValueError, match=r"box has no pick sender_puts\.size"):
        explain(BOX, Recording("t", (), candidates={"sender_puts.size": Candidates((1,))}))


def test_a_line_may_stand_for_no_step() -> None:
    maybe = replace(did("taker_hears", 2), or_nothing=True)
    assert one(did("sender_puts"), maybe, did("taker_takes", 3)).accepted
    assert one(did("bell_rings"), maybe, did("bell_rings", 3)).accepted
    assert one(did("bell_rings"), replace(maybe, or_nothing=False), did("taker_hears", 3)).outcome is Outcome.REFUSED


def test_all_that_is_said_of_one_subject_must_be_the_same() -> None:
    def put(line: int, bytes_: str) -> Happened:
        return replace(did("sender_puts", line), says=lambda b, s, after: {("letter", after.letter.number): bytes_})

    def taken(line: int, bytes_: str) -> Happened:
        return replace(did("taker_takes", line), says=lambda b, s, after: {("letter", after.taken): bytes_})

    assert one(put(1, "x"), taken(2, "x"), put(3, "y"), taken(4, "y")).accepted
    assert one(put(1, "x"), taken(2, "y")).outcome is Outcome.REFUSED
    told = Holds(at(5), lambda s: True, says=lambda s: {("letter", s.sent): "x"})
    assert one(put(1, "x"), told, taken(2, "x")).accepted
    other = replace(told, says=lambda s: {("letter", s.sent): "z"})
    assert one(put(1, "x"), other, taken(2, "x")).outcome is Outcome.REFUSED


def test_what_is_said_decides_when_a_state_was_seen() -> None:
    """A state that says something is not passed at the first chance: later it may say it of another subject."""
    puts = Stream("a", (did("sender_puts", 1), did("taker_takes", 2), did("sender_puts", 3)), ALL - {"bell_rings"})
    seen = Holds(at(7), lambda s: s.full, says=lambda s: {("letter", s.sent): "second", ("letter", 1): "first"})
    assert explain(BOX, recording(puts, Stream("b", (seen,)))).accepted


def test_hidden_steps_that_only_count_end_where_alike_says_so() -> None:
    busy = frozenset({"sender_puts", "taker_takes"})
    bells = Stream("s", (did("bell_rings", 1), did("bell_rings", 2)), BELLS)
    endless = explain(BOX, recording(bells, hidden=busy), bounds=Bounds(nodes=2_000))
    assert endless.outcome is Outcome.UNDECIDED
    assert explain(BOX, recording(bells, hidden=busy, alike=ALIKE)).outcome is Outcome.REFUSED


def test_bounds_that_are_hit_are_undecided() -> None:
    rung = Holds(at(1), lambda s: s.sent == 9)
    hidden = frozenset({"sender_puts", "taker_takes"})
    few = explain(BOX, recording(Stream("s", (rung,)), hidden=hidden), bounds=Bounds(nodes=10))
    assert (few.outcome, few.reason) == (Outcome.UNDECIDED, "10 nodes were tried")
    short = explain(BOX, recording(Stream("s", (rung,)), hidden=hidden), bounds=Bounds(hidden=(4,)))
    assert short.outcome is Outcome.UNDECIDED
    assert "effort 4" in short.reason
    assert explain(BOX, recording(Stream("s", (rung,)), hidden=hidden)).accepted


def test_values_that_were_not_all_tried_make_a_refusal_undecided() -> None:
    stream = Stream("s", (did("sender_puts"), Holds(at(2), lambda s: s.weight == 77)), ALL)
    some = {"sender_puts.weight": Candidates((5,), all_of_them=False)}
    verdict = explain(BOX, Recording("t", (stream,), candidates=some))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "sender_puts.weight" in verdict.reason
    every = {"sender_puts.weight": Candidates((5,))}
    assert explain(BOX, Recording("t", (stream,), candidates=every)).outcome is Outcome.REFUSED
    given = {"sender_puts.weight": Candidates(lambda state: (77,))}
    assert explain(BOX, Recording("t", (stream,), candidates=given)).accepted


def test_of_several_stuck_streams_the_one_to_blame_comes_first() -> None:
    good = Stream("good", (did("sender_puts", 1), did("taker_takes", 2), did("sender_puts", 3)), ALL - BELLS)
    wrong = (Holds(at(11), lambda s: s.full), Holds(at(12), lambda s: s.sent == 99), Holds(at(13), lambda s: True))
    verdict = explain(BOX, recording(Stream("bad", wrong), good))
    assert verdict.stuck[0].origin.line == 12


def test_a_recording_of_nothing_is_explained_by_nothing() -> None:
    assert recording().empty
    assert explain(BOX, recording()).accepted


# ------------------------------------------------------------------------------------------ against a plain search


def plainly(rec: Recording) -> bool:
    """Whether a run explains the recording, found by trying every order of everything, to a fixpoint."""
    steps = Steps(BOX, rec.candidates)
    lengths = tuple(len(stream.observations) for stream in rec.streams)

    def levels(held: frozenset[Any], places: tuple[int, ...], state: Box) -> frozenset[Any]:
        """Level reads to come that are true now, or were since the last one of their subject."""
        fresh = set(held)
        for number, stream in enumerate(rec.streams):
            subjects = set()
            for index in range(places[number], lengths[number]):
                level = stream.observations[index]
                if isinstance(level, Level) and level.subject not in subjects:
                    subjects.add(level.subject)
                    if level.fits(state):
                        fresh.add((number, index))
        return frozenset(key for key in fresh if key[1] >= places[key[0]])

    def passed(places: tuple[int, ...], numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place + (number in numbers) for number, place in enumerate(places))

    def after(node: tuple[tuple[int, ...], frozenset[Any], Box]) -> Iterator[Any]:
        places, held, state = node
        nexts = [
            stream.observations[places[number]] if places[number] < lengths[number] else None
            for number, stream in enumerate(rec.streams)
        ]
        for number, observation in enumerate(nexts):
            match observation:
                case Holds():
                    ok = observation.fits(state)
                case Level():
                    ok = (number, places[number]) in held
                case Quiescent():
                    ok = steps.owed(state, observation.by, observation.except_for) is None
                case _:
                    ok = False
            if ok:
                yield passed(places, (number,)), held, state
        for action in BOX.actions:
            for picks, then in steps.take(state, action.name, {}):
                step = Step(action.name, action.by, picks)
                fitting, must = set(), set()
                for number, (stream, observation) in enumerate(zip(rec.streams, nexts, strict=True)):
                    if isinstance(observation, Happened):
                        called = any(
                            call.action == step.name and call.picks.items() <= picks.items()
                            for call in observation.calls
                        )
                        if called and (observation.fits is None or observation.fits(state, step, then)):
                            fitting.add(number)
                    if step.name in stream.sees and (observation is not None or stream.stays):
                        must.add(number)
                if not must <= fitting:
                    continue
                for size in range(len(fitting - must) + 1):
                    for more in itertools.combinations(sorted(fitting - must), size):
                        moving = (*must, *more)
                        if moving or step.name in rec.hidden:
                            yield passed(places, moving), held, then

    def settled(node: tuple[tuple[int, ...], frozenset[Any], Box]) -> tuple[tuple[int, ...], frozenset[Any], Any]:
        places, held, state = node
        return places, levels(held, places, state), state

    start = settled((tuple(0 for _ in lengths), frozenset(), BOX.init()))
    met = {(*start[:2], ALIKE(start[2]))}
    todo = [start]
    for node in todo:
        if node[0] == lengths:
            return True
        for raw in after(node):
            new = settled(raw)
            key = (*new[:2], ALIKE(new[2]))
            if key not in met:
                met.add(key)
                todo.append(new)
    return False


def readings(origin: Origin, state: Box) -> tuple[Observation, ...]:
    """Ways in which a recorder may have read something of a state."""
    full, bell = state.full, state.bell

    def as_full(s: Box) -> bool:
        return s.full is full

    def as_loud(s: Box) -> bool:
        return s.bell is bell

    return Holds(origin, as_full), Level(origin, "bell", as_loud), Level(origin, "full", as_full)


def a_recording(seed: int) -> Recording:
    """Two or three streams of a random run, some of them spoilt."""
    source = random.Random(seed)
    run = list(walk(BOX, source.randrange(3, 9), seed, WEIGHTS))
    hidden = frozenset(source.sample(sorted(ALL), source.randrange(3)))
    streams = []
    for number in range(source.randrange(1, 4)):
        sees = frozenset(source.sample(sorted(ALL), source.randrange(1, 5)))
        observations: list[Observation] = []
        for line, (name, picks, _, after) in enumerate(run):
            if name in sees:
                known = dict(picks) if source.random() < 0.5 else {}
                observations.append(did(name, line, **known))
            if source.random() < 0.25:
                observations.append(source.choice(readings(at(line), after)))
        if observations and source.random() < 0.6:
            at_ = source.randrange(len(observations))
            if source.random() < 0.5:
                del observations[at_]
            else:
                observations.insert(source.randrange(len(observations)), observations.pop(at_))
        if source.random() < 0.2:
            observations.append(Quiescent(at(99), frozenset({Actor.BACKEND})))
        streams.append(Stream(f"s{number}", tuple(observations), sees, stays=source.random() < 0.3))
    return Recording(f"seed {seed}", tuple(streams), hidden, WEIGHTS, alike=ALIKE)


def test_the_answer_is_that_of_a_plain_search() -> None:
    found = []
    for seed in range(300):
        rec = a_recording(seed)
        verdict = explain(BOX, rec)
        expected = plainly(rec)
        assert verdict.outcome is (Outcome.ACCEPTED if expected else Outcome.REFUSED), seed
        found.append(expected)
        if expected:
            check_run(verdict, rec)
    assert 60 < sum(found) < 240  # both answers are tried


def check_run(verdict: Verdict, rec: Recording) -> None:
    """The completed run is one, hidden steps are allowed, and each stream is shown in its order."""
    state = BOX.init()
    for taken in verdict.run:
        try:
            state = BOX.action(taken.action).run(state, **taken.picks)
        except Disabled:  # pragma: no cover
            pytest.fail(f"{taken} is not possible")
        assert state == taken.after
        sees = [stream for stream in rec.streams if taken.action in stream.sees]
        assert taken.seen or taken.action in rec.hidden or sees
    colours = {taken.after.letter.colour for taken in verdict.run}
    assert colours <= set(Colour)
