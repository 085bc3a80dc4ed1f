"""Domains in processes of their own, told by lines of JSON what to do, and a store for them in a thread of this one."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from vtpm_impl.xen.host.directory import RunDirectory
from vtpm_impl.xen.platform import Grant, GrantMapping, Page, PlatformError, Port
from vtpm_impl.xen.xenstore.client import Client
from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.server import Server, socket_path

PATIENCE = 10.0
"""Seconds within which a guest answers; one that hangs fails its test."""


class Refusal(Exception):
    """What a guest was told to do raised an error, of which this is the name."""


class Guest:
    """A domain that another process is."""

    def __init__(self, run: Path, domid: int, module: str = __name__) -> None:
        self.domid = domid
        command = [sys.executable, "-m", module, str(run), str(domid)]
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=root
        )
        try:
            self._answer()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def tell(self, what: str, *arguments: Any) -> None:
        """Let the guest begin to do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, *arguments]) + "\n")

    def hear(self) -> Any:
        """Wait for what came of it. Raises Refusal."""
        return self._answer()

    def has_said(self) -> bool:
        """Whether something came of it by now."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def ask(self, what: str, *arguments: Any) -> Any:
        """Let the guest do something, and give what came of it. Raises Refusal."""
        self.tell(what, *arguments)
        return self._answer()

    def kill(self) -> None:
        """End the process as kill -9 does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def leave(self) -> None:
        """Let the domain end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"domain {self.domid} does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"domain {self.domid} has ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refusal(answer["error"])
        return answer["value"]


@contextlib.contextmanager
def store(quotas: Quotas | None = None) -> Iterator[Path]:
    """Serve a store in a run directory of its own, which is given."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        run = Path(name)
        server = Server(run, quotas, state_of=RunDirectory(run).state_of)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield run
        finally:
            server.stop()
            thread.join()


def control(run: Path) -> Client:
    """A client of the control domain."""
    return Client.connect(socket_path(run, 0))


class Shared:
    """The grants and ports of a guest, as it is told to use them."""

    def __init__(self, run: Path, domid: int) -> None:
        from vtpm_impl.xen.host.platform import HostDomain

        self.domain = HostDomain(run, domid)
        self.platform = self.domain.platform()
        self.grants: dict[int, Grant] = {}
        self.mappings: dict[int, GrantMapping] = {}
        self.ports: dict[int, Port] = {}

    def grant(self, peer: int) -> int:
        grant = self.platform.grant(peer)
        self.grants[grant.ref] = grant
        return grant.ref

    def map(self, owner: int, ref: int) -> None:
        self.mappings[ref] = self.platform.map_grant(owner, ref)

    def poke(self, ref: int, offset: int, value: int) -> None:
        self._page(ref).memory[offset] = value

    def peek(self, ref: int, offset: int) -> int:
        return self._page(ref).memory[offset]

    def _page(self, ref: int) -> Page:
        return self.mappings[ref] if ref in self.mappings else self.grants[ref]

    def end(self, ref: int) -> bool:
        return self.grants[ref].end()

    def unmap(self, ref: int) -> None:
        self.mappings[ref].unmap()

    def open(self, peer: int) -> int:
        port = self.platform.open_port(peer)
        self.ports[port.number] = port
        return port.number

    def bind(self, owner: int, number: int) -> int:
        port = self.platform.bind_port(owner, number)
        self.ports[port.number] = port
        return port.number

    def notify(self, number: int, times: int = 1) -> None:
        for _ in range(times):
            self.ports[number].notify()

    def take(self, number: int) -> bool:
        return self.ports[number].take()

    def wait(self, number: int, seconds: float) -> bool:
        return bool(select.select([self.ports[number]], [], [], seconds)[0])

    def close_port(self, number: int) -> None:
        self.ports.pop(number).close()

    def descriptors(self) -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())


def obey(subject: Any) -> None:
    """Do what lines on the standard input say, and answer on the standard output."""
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            say({"value": getattr(subject, what)(*arguments)})
        except (PlatformError, ValueError) as error:
            say({"error": type(error).__name__})


def say(answer: object) -> None:
    """Answer one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be a guest."""
    shared = Shared(Path(sys.argv[1]), int(sys.argv[2]))
    say({"value": None})
    obey(shared)
    shared.domain.close()


if __name__ == "__main__":
    main()
