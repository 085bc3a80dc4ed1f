"""Ring round trips between two processes, in ratio to the echo of a plain Unix socket between two processes.

    python -m tests.impl.host.bench

Each figure is the best of some rounds that alternate with those of the other, so that both meet the same machine.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.impl.host.guests import store
from tests.impl.xenbus.ends import BackendProcess, answer, command, frontend

ROUNDS: Final = 7
SECONDS: Final = 0.25
SIZES: Final = (64, 4088)


class Rate(NamedTuple):
    """Round trips per second with commands of one size."""

    size: int
    ring: float
    plain: float

    @property
    def ratio(self) -> float:
        """The ring's rate over the plain socket's."""
        return self.ring / self.plain

    def __str__(self) -> str:
        return f"{self.size} bytes: ring {self.ring:.0f}/s, Unix socket {self.plain:.0f}/s, ratio {self.ratio:.2f}"


def measure(sizes: tuple[int, ...] = SIZES, *, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Rate]:
    """The rates for each size."""
    found = []
    with store() as run, BackendProcess(run), frontend(run, 1) as end, plain_echo() as exchange:
        for size in sizes:
            packet = command(size)
            assert end.transmit(packet) == answer(size)
            assert exchange(packet) == packet
            both = [(rate(end.transmit, packet, seconds), rate(exchange, packet, seconds)) for _ in range(rounds)]
            found.append(Rate(size, max(ring for ring, _ in both), max(plain for _, plain in both)))
    return found


def rate(exchange: Callable[[bytes], bytes], packet: bytes, seconds: float) -> float:
    """Exchanges per second."""
    count = 0
    started = time.perf_counter()
    until = started + seconds
    while (now := time.perf_counter()) < until:
        for _ in range(20):
            exchange(packet)
        count += 20
    return count / (now - started)


@contextlib.contextmanager
def plain_echo() -> Iterator[Callable[[bytes], bytes]]:
    """What sends bytes to another process of Python and gives what comes back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,))
    process.start()
    theirs.close()

    def exchange(packet: bytes) -> bytes:
        ours.sendall(packet)
        found = ours.recv(8192)
        while len(found) < len(packet):
            found += ours.recv(8192)
        return found

    try:
        yield exchange
    finally:
        ours.close()
        process.join()


def _echo(stream: socket.socket) -> None:
    while piece := stream.recv(8192):
        stream.sendall(piece)


if __name__ == "__main__":
    for found in measure():
        sys.stdout.write(f"{found}\n")
