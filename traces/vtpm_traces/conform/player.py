"""Plays a script to a subject and writes down what happened, until the script is over or the subject breaks down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vtpm_traces import schema
from vtpm_traces.conform.script import Amid, Deliver, Played, Script, parse_line
from vtpm_traces.conform.subject import Crashed, Fault, Garbage, Subject
from vtpm_traces.conform.world import World, check
from vtpm_traces.files import shown
from vtpm_traces.recordings.script import Pass, Run

RESTLESS: Final = 5000
"""Requests after which a subject that was told nothing new should have come to rest."""


LONG: Final = 1_800_000
"""Milliseconds of half an hour: longer than any command takes, and any wait for one."""

STEP: Final = 10_000
"""Milliseconds that pass at least where a subject wants to be told of the time."""


class Restless(Fault):
    """It goes on and on without coming to rest."""


@dataclass(frozen=True)
class Hello:
    """What the subject says of itself."""

    end: str
    name: str
    again: bool


@dataclass(frozen=True)
class Conversation:
    """The lines of a run as a driven recording has them, and how the subject broke down, if it did.

    `idle_amid`: something should have happened while the subject was at work, and it had come to rest before.
    """

    end: str
    log: tuple[str, ...]
    fault: str = ""
    idle_amid: bool = False


class Player:
    """Speaks with a subject; starts it when there is none, and again after each that broke down."""

    def __init__(self, command: Sequence[str], *, patience: float = 5.0) -> None:
        """`patience`: seconds to wait for each line of the subject."""
        self._command = command
        self._patience = patience
        self._subject: Subject | None = None
        self._hello: Hello | None = None

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the subject, whatever it does."""
        subject, self._subject = self._subject, None
        if subject is not None:
            with contextlib.suppress(Fault):
                subject.end(patience=0)

    def meet(self) -> Hello:
        """Who the subject is. Raises CannotStart, or a Fault when it introduces itself badly."""
        if self._subject is None:
            self._subject = Subject(self._command, self._patience)
            try:
                self._hello = _hello(self._subject)
            except Fault:
                self.stop()
                raise
        assert self._hello is not None
        return self._hello

    def play(self, script: Script) -> Conversation:
        """Play a script to a subject that remembers nothing. Raises CannotStart."""
        try:
            hello = self.meet()
        except Fault as fault:
            return Conversation("", (), _told(fault, None))
        playing = self.begin()
        try:
            for line in script.lines:
                playing.take(line)
            self.part(playing)
        except Fault as fault:
            self.stop()
            playing.world.note_end()
            return Conversation(hello.end, tuple(playing.world.log), _told(fault, playing.subject))
        return Conversation(hello.end, tuple(playing.world.log), idle_amid=playing.world.idle_amid)

    def begin(self) -> Playing:
        """A conversation to be played line by line, and to be parted from. Raises CannotStart, and Fault."""
        hello = self.meet()
        assert self._subject is not None
        return Playing(self._subject, World(hello.end))

    def part(self, playing: Playing) -> None:
        """The conversation is over: the subject starts anew, or ends. Raises Fault."""
        subject, world, hello = playing.subject, playing.world, self._hello
        assert hello is not None
        playing.settle()
        world.note_end()
        if hello.again:
            subject.say(world.told({"event": "reset"}))
            if _hello(subject) != hello:
                raise Garbage("after `reset` it says that it is another")
            return
        subject.say(world.told({"event": "end"}))
        self._subject = None
        code = subject.end()
        if code != 0:
            raise Crashed("told to end, it " + (f"ended with code {code}" if code is not None else "did not"))


class Playing:
    """One conversation under way. What is done in it may raise a Fault, after which the subject is of no use."""

    def __init__(self, subject: Subject, world: World) -> None:
        self.subject = subject
        self.world = world
        self._within: int | None = None  # milliseconds after which the subject wants to be told
        self._started = False

    def settle(self) -> None:
        """Let the subject do what it does before it is told anything."""
        if not self._started:
            self._started = True
            self._until_it_waits(None)

    def take(self, line: str) -> None:
        """Play a line of a script."""
        self.settle()
        for words, step in parse_line(line):
            self._take(step, words)

    def _take(self, step: Played, words: str) -> None:
        match step:
            case Run():
                for _ in self._deliver():
                    pass
                self.world.forget_plans()
                self.world.note_step("run")
                self.world.show_pages()
            case Pass():
                for _ in self._deliver():
                    pass
                self.world.take(step, words)
                self._let_time_pass()
            case Amid():
                self.world.plan(step)
            case Deliver(count):
                for _ in zip(range(count), self._deliver(), strict=False):
                    pass
            case _:
                self.world.take(step, words)

    def _deliver(self) -> Iterator[None]:
        """Tell the subject one event after another, for as long as there are any."""
        told = 0
        while (event := self.world.next_event()) is not None:
            told += 1
            if told > RESTLESS:
                raise Restless(f"it was told {RESTLESS} events and still causes more")
            self._until_it_waits(event)
            yield

    def _let_time_pass(self) -> None:
        """Half an hour, in steps that are longer than asked for where little was: who polls need not be asked often."""
        until = self.world.now + LONG
        while self.world.now < until:
            for _ in self._deliver():
                pass
            left = until - self.world.now
            if self._within is None:
                self.world.now = until
                return
            self.world.now += min(max(self._within, STEP), left)
            self._until_it_waits(self.world.told({"event": "time"}))

    def _until_it_waits(self, event: dict[str, Any] | None) -> None:
        """Tell an event, and answer what the subject asks until it waits for the next one."""
        if event is not None:
            self.subject.say(event)
        for _ in range(RESTLESS):
            request = self.subject.hear()
            if request.get("do") == "wait":
                check(request)
                self._within = request.get("within")
                return
            if request.get("do") == "hello":
                raise Garbage("it said hello twice")
            self.subject.say(self.world.answer(request))
        raise Restless(f"it made {RESTLESS} requests and does not wait")


def _hello(subject: Subject) -> Hello:
    said = subject.hear()
    if said.get("do") != "hello":
        raise Garbage(f"its first word is {shown(said)}; `hello` is meant")
    if said.get("protocol") != schema.SUT:
        raise Garbage(f"it speaks {shown(said.get('protocol'))}; this harness speaks {schema.SUT}")
    check(said)
    subject.say({"ok": True, "domain": World(said["end"]).domain})
    return Hello(said["end"], said["name"], said.get("again", False))


def _told(fault: Fault, subject: Subject | None) -> str:
    complaint = subject.complaints.decode(errors="replace").strip().splitlines()[-1:] if subject else []
    return str(fault) + (f"; its last words: {shown(complaint[0], 200)}" if complaint else "")
