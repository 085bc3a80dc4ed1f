"""The TPM behind its FIFO: how it gets ready, takes a command, executes it and gives the response, for one locality.

This is the machine of the STS register of the TPM Interface Specification, shared by the systems `tis` and
`tis.device`. Bytes are counted, not kept: what is lost, doubled or taken from elsewhere shows in the counts.
"""

from __future__ import annotations

from enum import IntEnum

from vtpm_model.core import Nat, negate, record


class Phase(IntEnum):
    """The states of the interface; PREPARING is the way from any of them to READY, after commandReady."""

    IDLE = 0
    PREPARING = 1
    READY = 2
    RECEPTION = 3
    EXECUTION = 4
    COMPLETION = 5


IDLE, PREPARING, READY, RECEPTION, EXECUTION, COMPLETION = Phase


@record
class Fifo:
    """What the device is doing, and how many bytes it has taken and given."""

    phase: Phase
    taken: Nat  # bytes of the command
    size: Nat  # bytes that the command has by its own header; before that is known, bytes that it has at least
    given: Nat  # bytes of the response
    answer: Nat  # bytes of the whole response


def empty(phase: Phase) -> Fifo:
    """Nothing of a command or of a response is in it."""
    return Fifo(phase=phase, taken=0, size=0, given=0, answer=0)


def command(phase: Phase, taken: int, size: int) -> Fifo:
    """So many bytes of a command are in it."""
    return Fifo(phase=phase, taken=taken, size=size, given=0, answer=0)


def response(given: int, answer: int) -> Fifo:
    """A response is in it, of which so many bytes were given."""
    return Fifo(phase=COMPLETION, taken=0, size=0, given=given, answer=answer)


EMPTY = empty(IDLE)


def expects(f: Fifo) -> bool:
    """Expect: it waits for another byte of a command that it has begun to take."""
    return f.taken < f.size


def has_data(f: Fifo) -> bool:
    """dataAvail: there is a byte of a response that was not read."""
    return f.given < f.answer


def takes_bytes(f: Fifo) -> bool:
    """A byte that is written now becomes a byte of a command."""
    return (f.phase == READY) | expects(f)


def told_to_get_ready(f: Fifo) -> Fifo:
    """After commandReady: whatever was going on is dropped."""
    return empty(READY if f.phase == READY else PREPARING)


def written(f: Fifo, count: int, size: int) -> Fifo:
    """After so many bytes of a command whose header says `size`; bytes that nobody waits for are dropped."""
    if takes_bytes(f):
        return command(RECEPTION, f.taken + count, size)
    return f


def told_to_go(f: Fifo) -> Fifo:
    """After tpmGo: a command that is whole is executed."""
    if (f.phase == RECEPTION) & negate(expects(f)):
        return command(EXECUTION, f.taken, f.size)
    return f


def completed(answer: int) -> Fifo:
    """After the execution, with a response of so many bytes."""
    return response(0, answer)


def read(f: Fifo, count: int) -> Fifo:
    """After so many bytes of the response were read; without one, 0xFF is read and nothing changes."""
    if has_data(f):
        return response(f.given + count, f.answer)
    return f


def told_to_retry(f: Fifo) -> Fifo:
    """After responseRetry: the response begins anew."""
    if f.phase == COMPLETION:
        return response(0, f.answer)
    return f
