"""How quick the implementation is on this host, each figure in ratio to a peer that does the same in the same run.

    python -m tests.benchmarks.vtpm [--json] [--quick]

Rounds of the two alternate, so that both meet the same machine; a ratio is that of their best rounds. The event
channel keeps Xen's rules meanwhile: what is sent to an unbound end is lost, a bind sets the bit, a close unbinds.

Our ends look at their bit for a while before they sleep. A plain socket's ends sleep at once, so that each round trip
costs them two wake-ups: the ratio to those says what a user gains. The ratio to a socket's ends that look for as long
says how much of it is due to the ring.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.impl.host.guests import store
from tests.impl.xenbus.ends import BackendProcess, answer, command, frontend
from tests.impl.xenstore.bench import xenstore_rate

from vtpm_impl.engines.socket import SocketTpm

ROUNDS: Final = 7
SECONDS: Final = 0.25
SIZES: Final = (64, 4088)
MANY: Final = (1, 10, 100)

SPIN: Final = 60e-6
"""Seconds that an end looks before it sleeps, as in xen/host/bits.c."""

PCR_READ: Final = bytes.fromhex("8001000000140000017e00000001000b03010000")
"""TPM2_PCR_Read of PCR 0, SHA-256."""


@dataclass(frozen=True)
class Ratio:
    """How often a second, for us and for the peer; the ratio, and what is aimed at (0: nothing)."""

    what: str
    ours: float
    peer: str
    theirs: float
    ratio: float
    aim: float

    def __str__(self) -> str:
        aim = f", aim {self.aim}" if self.aim else ""
        return f"{self.what}: {self.ours:,.0f}/s, {self.peer} {self.theirs:,.0f}/s, ratio {self.ratio:.2f}{aim}"


def compared(
    what: str,
    ours: Callable[[], float],
    peer: str,
    theirs: Callable[[], float],
    *,
    aim: float = 0,
    rounds: int = ROUNDS,
) -> Ratio:
    """The best of some rounds of either."""
    both = [(ours(), theirs()) for _ in range(rounds)]
    best, other = max(one for one, _ in both), max(two for _, two in both)
    return Ratio(what, best, peer, other, best / other, aim)


def rate(exchange: Callable[[], object], seconds: float = SECONDS) -> float:
    """Exchanges per second."""
    count = 0
    started = time.perf_counter()
    until = started + seconds
    while (now := time.perf_counter()) < until:
        for _ in range(20):
            exchange()
        count += 20
    return count / (now - started)


def round_trips(*, rounds: int = ROUNDS) -> Iterator[Ratio]:
    """Commands from one process to another and back, against the echo of a Unix socket whose ends sleep, or look."""
    with (
        store() as run,
        BackendProcess(run),
        frontend(run, 1) as end,
        echoes() as (plain,),
        echoes(looks=True) as (looking,),
    ):
        for peer, exchange, aim in (("Unix socket", plain, 1.2), ("Unix socket that looks first", looking, 0)):
            for size in SIZES:
                packet = command(size)
                assert end.transmit(packet) == answer(size)
                assert exchange(packet) == packet
                yield compared(
                    f"ring round trips of {size} bytes", partial(rate, partial(end.transmit, packet)),
                    peer, partial(rate, partial(exchange, packet)), aim=aim, rounds=rounds,
                )  # fmt: skip


def many_frontends(*, rounds: int = 3) -> Iterator[Ratio]:
    """So many frontends, each in a thread of one process, against one of them alone, and against as many sockets."""
    with store() as run, BackendProcess(run, domid=0), contextlib.ExitStack() as stack:
        ends = [stack.enter_context(frontend(run, domid, 0)) for domid in range(1, max(MANY) + 1)]
        packet = command(64)
        transmits = [partial(end.transmit, packet) for end in ends]
        for number in MANY:
            ours = partial(together, transmits[:number])
            what = f"{number} frontends together"
            yield compared(what, ours, "one alone", partial(rate, transmits[0]), rounds=rounds)
            with echoes(number) as exchanges:
                theirs = partial(together, [partial(exchange, packet) for exchange in exchanges])
                yield compared(what, ours, f"{number} Unix sockets", theirs, rounds=rounds)


def together(exchanges: Sequence[Callable[[], object]]) -> float:
    """Exchanges per second of as many threads."""
    done = [0] * len(exchanges)
    over = threading.Event()

    def one(index: int) -> None:
        while not over.is_set():
            exchanges[index]()
            done[index] += 1

    with ThreadPoolExecutor(len(exchanges)) as threads:
        started = time.perf_counter()
        for index in range(len(exchanges)):
            threads.submit(one, index)
        time.sleep(SECONDS * 2)
        over.set()
    return sum(done) / (time.perf_counter() - started)


def pcr_read(*, rounds: int = ROUNDS) -> Ratio:
    """PCR_Read through frontend, backend and swtpm, against another connection to swtpm's socket."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(_swtpm(Path(name, which))) for which in ("ours", "theirs"))
        run = stack.enter_context(store())
        stack.enter_context(BackendProcess(run, f"swtpm:{ours}"))
        end = stack.enter_context(frontend(run, 1))
        direct = SocketTpm(theirs)
        stack.callback(direct.close)
        assert end.transmit(PCR_READ)[6:10] == bytes(4)
        return compared(
            "PCR_Read through the ring and swtpm", lambda: rate(lambda: end.transmit(PCR_READ)),
            "swtpm's socket", lambda: rate(lambda: direct.transmit(PCR_READ, locality=0)), aim=0.5, rounds=rounds,
        )  # fmt: skip


def xenstore() -> Ratio:
    """Requests to our store, against Debian's xenstored."""
    found = xenstore_rate()
    return Ratio("xenstore requests", found.ours, "xenstored", found.xenstored, found.ratio, 0)


@contextlib.contextmanager
def _swtpm(folder: Path) -> Iterator[Path]:
    program = shutil.which("swtpm")
    assert program is not None, "swtpm is missing: sh scripts/debian-packages.sh peers"
    folder.mkdir()
    process = subprocess.Popen(
        [program, "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--flags", "not-need-init,startup-clear",
         "--server", f"type=unixio,path={folder}/tpm"],
    )  # fmt: skip
    try:
        while not (folder / "tpm").exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield folder / "tpm"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def echoes(number: int = 1, *, looks: bool = False) -> Iterator[list[Callable[[bytes], bytes]]]:
    """Each sends bytes to one other process of Python and gives what comes back; `looks`: before it sleeps."""
    pairs = [socket.socketpair(socket.AF_UNIX) for _ in range(number)]
    theirs = [there for _, there in pairs]
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs, looks))
    process.start()
    for there in theirs:
        there.close()

    def exchange(ours: socket.socket, packet: bytes) -> bytes:
        ours.sendall(packet)
        found = _received(ours, looks=looks)
        while len(found) < len(packet):
            found += _received(ours, looks=looks)
        return found

    try:
        yield [partial(exchange, ours) for ours, _ in pairs]
    finally:
        for ours, _ in pairs:
            ours.close()
        process.join()


def _echo(streams: list[socket.socket], looks: bool) -> None:
    by_descriptor = {stream.fileno(): stream for stream in streams}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    while by_descriptor:
        ready = by_descriptor if len(by_descriptor) == 1 else [descriptor for descriptor, _ in poll.poll()]
        for descriptor in list(ready):
            piece = _received(by_descriptor[descriptor], looks=looks)
            if piece:
                by_descriptor[descriptor].sendall(piece)
            else:
                poll.unregister(descriptor)
                del by_descriptor[descriptor]


def _received(stream: socket.socket, *, looks: bool) -> bytes:
    until = time.perf_counter() + SPIN
    while looks and time.perf_counter() < until:
        try:
            return stream.recv(8192, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
    return stream.recv(8192)


def measured(*, quick: bool) -> Iterator[Ratio]:
    """Every figure, or the two that are aimed at something, in fewer rounds."""
    rounds = 2 if quick else ROUNDS
    yield from round_trips(rounds=rounds)
    yield pcr_read(rounds=rounds)
    if not quick:
        yield from many_frontends()
        yield xenstore()


def main(arguments: list[str]) -> int:
    """Print the figures and the machine's load; code 1 if one misses its aim."""
    if set(arguments) - {"--json", "--quick"}:
        sys.stderr.write("usage: python -m tests.benchmarks.vtpm [--json] [--quick]\n")
        return 2
    found = []
    for one in measured(quick="--quick" in arguments):
        found.append(one)
        if "--json" not in arguments:
            sys.stdout.write(f"{one}\n")
            sys.stdout.flush()
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if "--json" in arguments:
        document = {"version": 1, "load": load, "processors": processors, "ratios": [asdict(one) for one in found]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        sys.stdout.write(f"load {load:.1f} on {processors} processors\n")
    return int(any(one.ratio < one.aim for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
