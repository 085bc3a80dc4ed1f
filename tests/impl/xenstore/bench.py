"""How many requests a second our served store answers, in ratio to Debian's xenstored on the same host."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.peers.xenstored import debian

from vtpm_impl.xen.xenstore.client import Client
from vtpm_impl.xen.xenstore.server import Server, socket_path

ROUNDS: Final = 7
SECONDS: Final = 0.4
"""How long each store is asked in each round; the rounds of the two alternate, so that both see the same load."""


class Rate(NamedTuple):
    """Requests a second, the median of the rounds; one client, one request at a time, writes and reads in turn."""

    ours: float
    xenstored: float
    ratio: float


def xenstore_rate() -> Rate:
    """Measure both stores, each in a process of its own, the control domain being the client."""
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="xs") as folder:
        one, other = Path(folder, "ours"), Path(folder, "theirs")
        other.mkdir()
        with (
            _served(one) as here,
            debian.running(other, clock="real") as peer,
            Client.connect(here) as client,
            Client.connect(peer.socket) as peer_client,
        ):
            for _ in range(ROUNDS):
                ours.append(_asked(client))
                theirs.append(_asked(peer_client))
    rates = statistics.median(ours), statistics.median(theirs)
    return Rate(*rates, statistics.median(a / b for a, b in zip(ours, theirs, strict=True)))


def _asked(client: Client) -> float:
    path = "/local/domain/1/device/vtpm/0/state"
    started = time.perf_counter()
    requests = 0
    while time.perf_counter() - started < SECONDS:
        for _ in range(50):
            client.write(path, b"4")
            client.read(path)
        requests += 100
    return requests / (time.perf_counter() - started)


def _serve(folder: Path) -> None:
    Server(folder).serve()


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[Path]:
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder,))
    process.start()
    try:
        deadline = time.monotonic() + 20
        while not socket_path(folder, 0).exists():
            if not process.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("our server does not start")
            time.sleep(0.01)
        yield socket_path(folder, 0)
    finally:
        process.terminate()
        process.join()
        process.close()
