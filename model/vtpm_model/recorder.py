"""The backend that the recordings of Linux were made with: a quick one, which writes to a node after its removal."""

from __future__ import annotations

from typing import TypeVar

from vtpm_model import sources
from vtpm_model.core import Actor, action, require
from vtpm_model.device import LINUX
from vtpm_model.handshake import CLOSED, Device, write_be_state

D = TypeVar("D", bound=Device)


@action(by=Actor.BACKEND, owed=True, cites=sources.LIBXL_WAITS_FOR_CLOSED)
def backend_closes(s: D) -> D:
    """Leaving, it writes Closed without a look at its node: one that was removed is there again."""
    require(s.up)
    require(s.leaving)
    require(s.mapped == 0)
    require(s.be_state != CLOSED)
    return write_be_state(s, CLOSED)


RECORDER = LINUX.variant(
    "recorder-backend",
    doc="the device with Linux' frontend and the backend of the recordings",
    replaced=(backend_closes,),
)
