"""How quick the implementation is on this host, each figure in ratio to a peer that does the same in the same run.

    python -m tests.benchmarks.vtpm [--json] [--quick]

Rounds of the two alternate, so that both meet the same machine; a ratio is that of their best rounds. The event
channel keeps Xen's rules meanwhile: what is sent to an unbound end is lost, a bind sets the bit, a close unbinds.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
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
    """Commands from one process to another and back, against a plain Unix socket's echo."""
    with store() as run, BackendProcess(run), frontend(run, 1) as end, plain_echo() as exchange:
        for size in SIZES:
            packet = command(size)
            assert end.transmit(packet) == answer(size)
            assert exchange(packet) == packet
            yield compared(
                f"ring round trips of {size} bytes", lambda p=packet: rate(lambda: end.transmit(p)),  # type: ignore[misc]
                "Unix socket", lambda p=packet: rate(lambda: exchange(p)), aim=1.2, rounds=rounds,  # type: ignore[misc]
            )  # fmt: skip


def many_frontends(*, rounds: int = 3) -> Iterator[Ratio]:
    """So many frontends, each in a thread of one process, against one of them alone."""
    with store() as run, BackendProcess(run, domid=0), contextlib.ExitStack() as stack:
        ends = [stack.enter_context(frontend(run, domid, 0)) for domid in range(1, max(MANY) + 1)]
        packet = command(64)

        def together(number: int) -> float:
            done = [0] * number
            over = threading.Event()

            def one(index: int) -> None:
                while not over.is_set():
                    ends[index].transmit(packet)
                    done[index] += 1

            with ThreadPoolExecutor(number) as threads:
                started = time.perf_counter()
                for index in range(number):
                    threads.submit(one, index)
                time.sleep(SECONDS * 2)
                over.set()
            return sum(done) / (time.perf_counter() - started)

        for number in MANY:
            yield compared(
                f"{number} frontends together", lambda n=number: together(n),  # type: ignore[misc]
                "one alone", lambda: rate(lambda: ends[0].transmit(packet)), rounds=rounds,
            )  # fmt: skip


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
