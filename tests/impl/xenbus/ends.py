"""A backend in a process of its own, and a frontend's domain in this one."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.impl.host.guests import Guest, control, obey, say

from vtpm_impl.ring.frontend import RingError
from vtpm_impl.toolstack.devices import Attached, Toolstack
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xen.platform import StoreError
from vtpm_impl.xenbus.frontend import Frontend, FrontendError, await_device
from vtpm_impl.xenbus.journal import Journals, journals_in
from vtpm_impl.xenbus.nodes import Device

BACKEND = 9
"""The domain of the backend in these tests."""


class BackendProcess(Guest):
    """A backend whose engine is named as `services.backend.make_engine` names it."""

    def __init__(self, run: Path, engine: str = "echo", domid: int = BACKEND) -> None:
        os.environ["VTPM_TEST_ENGINE"] = engine
        super().__init__(run, domid, __name__)

    def leave(self) -> None:
        """Stop the backend; the process must end well."""
        super().leave()
        assert self.process.returncode == 0


class Slow:
    """An engine that takes as many milliseconds as the command's code says, then answers as Echo does."""

    prompt = False

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        from vtpm_impl.engines.echo import Echo

        time.sleep(int.from_bytes(command[6:10], "big") / 1000)
        return Echo().transmit(command, locality=locality)

    def close(self) -> None:
        """Nothing is held."""


class FrontendProcess(Guest):
    """A frontend that is told what to do, in a domain that has been given a device."""

    def __init__(self, run: Path, domid: int, backend: int = BACKEND) -> None:
        os.environ["VTPM_TEST_ENGINE"] = ""
        super().__init__(run, domid, __name__)
        attach(run, domid, backend)
        self.ask("open")


class Obedient:
    """What such a process does."""

    def __init__(self, domain: HostDomain) -> None:
        self.platform = domain.platform()
        self.journals = domain.journals

    def open(self) -> None:
        await_device(self.platform, timeout=5)
        self.frontend = Frontend(self.platform, journals=self.journals)
        self.frontend.open()

    def transmit(self, size: int, fill: int) -> str:
        return self.frontend.transmit(command(size, fill=fill)).hex()

    def reopen(self) -> None:
        self.frontend.open()

    def converse(self, seed: int, most: int) -> dict[str, Any]:
        """Send commands that nobody else sends, until one fails; how many were answered, and the error's name."""
        chance = random.Random(seed)
        for number in range(most):
            size = chance.randrange(30, 4089)
            mark = f"{os.getpid()} {number}".encode().ljust(20)
            asked = command(size)[:10] + mark + bytes(size - 30)
            try:
                found = self.frontend.transmit(asked, timeout=5)
            except (FrontendError, RingError) as error:
                return {"answers": number, "error": type(error).__name__}
            if found[10:30] != mark or len(found) != size:
                raise AssertionError(f"{asked[:30]!r} was answered by {found[:30]!r}")
        return {"answers": most, "error": None}

    def vandalize(self, seed: int, seconds: float, least: int = 0) -> tuple[int, int]:
        """Store nonsense into pages and own nodes for some seconds, and at least so often.

        Give how often, and how often it was found connected.
        """
        chance = random.Random(seed)
        store = self.platform.store
        peer = self.frontend.backend
        grants, ports = [self.platform.grant(peer) for _ in range(2)], [self.platform.open_port(peer) for _ in range(2)]
        values = [b"", b"x", b"1", b"3", b"4", b"5", b"6", b"9", b"-1", b"4294967296", b"3 ", b"\0", b"8" * 2000]
        until = time.monotonic() + seconds
        stores = connected = 0
        while stores < least or time.monotonic() < until:
            stores += 1
            grant, port = chance.choice(grants), chance.choice(ports)
            lengths = [0, 9, 10, 4088, 4089, 0xFFFFFFF8, 0xFFFFFFFF, chance.getrandbits(32)]
            head = struct.pack("=IBBBB", chance.choice(lengths), chance.randrange(5), *chance.randbytes(3))
            grant.memory[:8] = head
            for _ in range(chance.randrange(20)):
                grant.memory[chance.randrange(16)] = chance.randrange(256)
            port.notify()
            quiet = stores // 2000 % 2 == 1  # for a while it keeps to sound keys, and is connected
            if stores % 20 == 0:
                connected += store.read(f"/local/domain/{peer}/backend/vtpm/{self.platform.domid}/0/state") == b"4"
            if stores % 20 == 0 and not quiet:
                name = chance.choice(["state", "state", "ring-ref", "event-channel", "feature-protocol-v2", "a/b/c"])
                sound = {"ring-ref": b"%d" % grant.ref, "event-channel": b"%d" % port.number, "state": b"3"}
                value = chance.choice([*values, sound.get(name, b"1"), sound.get(name, b"1")])
                with contextlib.suppress(StoreError):
                    store.write(f"device/vtpm/0/{name}", value)
            if stores % (2000 if quiet else 100) == 0:
                for name, value in sound_keys(grant.ref, port.number).items():
                    store.write(f"device/vtpm/0/{name}", value)
            # without this node the device is over: nothing but the toolstack brings it back
            if (stores % 1000 == 0 and not least) or stores == least - 100:
                store.remove("device/vtpm/0/state")
        return stores, connected


def sound_keys(ref: int, port: int) -> dict[str, bytes]:
    """What a frontend that wants to be connected writes."""
    return {"ring-ref": b"%d" % ref, "event-channel": b"%d" % port, "feature-protocol-v2": b"1", "state": b"3"}


def command(size: int = 64, *, code: int = 1, fill: int = 0xA5) -> bytes:
    """A packet of so many bytes."""
    return bytes.fromhex("00c1") + size.to_bytes(4, "big") + code.to_bytes(4, "big") + bytes([fill]) * (size - 10)


def answer(size: int = 64, *, fill: int = 0xA5) -> bytes:
    """What Echo says to it."""
    return bytes.fromhex("00c4") + size.to_bytes(4, "big") + bytes(4) + bytes([fill]) * (size - 10)


def attach(run: Path, frontend: int, backend: int = BACKEND) -> Attached:
    """Make a device and wait for its backend."""
    with control(run) as client:
        return Toolstack(client, journals_asked_for()).attach(frontend, backend)


def detach(run: Path, device: Device, *, timeout: float = 10.0) -> bool:
    """Take a device away."""
    with control(run) as client:
        return Toolstack(client, journals_asked_for()).detach(device, timeout=timeout)


@contextlib.contextmanager
def frontend(run: Path, domid: int, backend: int = BACKEND) -> Iterator[Frontend]:
    """An open frontend in a domain of its own, with a device that the toolstack has just made."""
    with HostDomain(run, domid, journals_asked_for()) as domain:
        attach(run, domid, backend)
        end = Frontend(domain.platform(), journals=domain.journals)
        end.open()
        yield end


def journals_asked_for() -> Journals:
    """Where the environment says that event logs are wanted, those."""
    folder = os.environ.get("VTPM_TEST_LOGS")
    return journals_in(Path(folder) if folder else None)


def main() -> None:
    """Be a backend until the standard input ends."""
    from vtpm_impl.engines import Engine
    from vtpm_impl.engines.echo import Echo
    from vtpm_impl.engines.socket import SocketTpm
    from vtpm_impl.xenbus.backend import Backend

    if not os.environ["VTPM_TEST_ENGINE"]:
        with HostDomain(Path(sys.argv[1]), int(sys.argv[2]), journals_asked_for()) as domain:
            say({"value": None})
            obey(Obedient(domain))
        return
    name, _, path = os.environ["VTPM_TEST_ENGINE"].partition(":")
    engine: Engine = SocketTpm(Path(path)) if name == "swtpm" else Slow() if name == "slow" else Echo()
    with HostDomain(Path(sys.argv[1]), int(sys.argv[2]), journals_asked_for()) as domain:
        backend = Backend(domain.platform(), engine, removal=0 if domain.domid else None, journals=domain.journals)

        def stop_at_end() -> None:
            sys.stdin.read()
            backend.stop()

        threading.Thread(target=stop_at_end, daemon=True).start()
        say({"value": None})
        backend.serve()
    engine.close()


if __name__ == "__main__":
    main()
