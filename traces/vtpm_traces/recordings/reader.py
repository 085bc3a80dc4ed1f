"""What the readers of driven programs share: the order in which lines are read, and what becomes a recording."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from vtpm_model.core import Actor
from vtpm_model.driven import DRIVEN, DRIVER
from vtpm_model.minios import MINIOS
from vtpm_traces.observe import Observation, Recording, StepTest, Stream
from vtpm_traces.recordings.script import Driven, Entry, Malformed, Seen
from vtpm_traces.recordings.stand_in import Store, shown_data

WITHOUT_MEANING = frozenset(
    {
        "log", "create_thread", "thread_exit", "xs_ls", "xs_watch", "xs_unwatch", "watch_event", "evtchn_mask",
        "evtchn_unmask", "end",
    }
)  # fmt: skip
"""Lines that say nothing of the protocol. Their order is the program's own affair."""


def done_by(actor: Actor) -> frozenset[str]:
    """The actions of a driven program: those of its end that are not the driver's."""
    drivers = {action.name for action in DRIVER}
    return frozenset(
        action.name
        for spec in (DRIVEN, MINIOS)
        for action in spec.actions
        if action.by is actor and action.name not in drivers
    )


class Reader(ABC):
    """Goes through the lines of one file: the program's own domain, what xenstore holds, and what leaves a line."""

    def __init__(self, file: str, domain: int, sight: StepTest) -> None:
        self.file = file
        self.domain = domain
        self.sight = sight
        self.nodes = Store(file)

    def read(self, entries: tuple[Entry, ...]) -> None:
        """Note what each line shows. Raises Malformed."""
        for entry in entries:
            if isinstance(entry, Driven):
                self._end_step()
                self._driven(entry)
            else:
                if entry.kind == "end":
                    self._end_step()
                self._seen(entry)

    @abstractmethod
    def _end_step(self) -> None:
        """All lines that belong to the driver's last step have been read."""

    @abstractmethod
    def _driven(self, entry: Driven) -> None:
        """The driver does something."""

    @abstractmethod
    def _seen(self, entry: Seen) -> None:
        """The program does something."""

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"/local/domain/{self.domain}/{path}"

    def _bytes(self, entry: Seen, name: str) -> bytes:
        try:
            return shown_data(entry[name])
        except ValueError:
            raise Malformed(self.file, entry.origin.line, f"{name} is not in hexadecimal digits") from None

    def recording(self, title: str, observations: Sequence[Observation], subject: frozenset[str]) -> Recording:
        """What was noted of one device, with what its end may have done unseen."""
        return Recording(
            title=title,
            streams=(Stream("script", tuple(observations), sees=subject, sight=self.sight),),
            hidden=subject,
        )
