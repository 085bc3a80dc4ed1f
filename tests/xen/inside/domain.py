"""The agent of a guest: uses the TPM that Linux' driver gives it, or our own frontend, as the rig asks for."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vtpm_impl.engines.tis import tis_engine
from vtpm_impl.ring import page as layout
from vtpm_impl.ring.frontend import RingError
from vtpm_impl.xen.linux.platform import LinuxPlatform
from vtpm_impl.xen.platform import StoreError
from vtpm_impl.xenbus.frontend import Connection, Frontend, FrontendError, await_device

from .serving import memory, serve

CLASS = Path("/sys/class/tpm")
DRIVER = Path("/sys/bus/xen/drivers/vtpm")


class Linux:
    """What may be asked of Linux' own driver."""

    def uptime(self) -> float:
        """Seconds since this domain began."""
        return float(Path("/proc/uptime").read_text().split()[0])

    def memory(self) -> dict[str, int]:
        """KiB in all, and KiB that are left."""
        return memory()

    def await_tpm(self, timeout: float, *, there: bool = True) -> float:
        """Wait until Linux has a TPM, or has none; how long it took."""
        started = time.monotonic()
        while bool(self.names()) is not there:
            if time.monotonic() - started > timeout:
                raise TimeoutError(f"there is {'no' if there else 'still a'} TPM after {timeout:g} s")
            time.sleep(0.02)
        return time.monotonic() - started

    def names(self) -> list[str]:
        """The TPMs that have a device node, by their names; after a resume Linux gives another one."""
        return sorted(path.name for path in Path("/dev").glob("tpm[0-9]*"))

    def _device(self) -> str:
        names = self.names()
        if not names:
            raise FileNotFoundError("Linux has no TPM")
        return f"/dev/{names[-1]}"

    def attribute(self, name: str) -> str:
        """An attribute of the TPM in sysfs."""
        return (CLASS / self.names()[-1] / name).read_text()

    def tpm(self, command: str) -> str:
        """Send one command through the device node."""
        device = os.open(self._device(), os.O_RDWR)
        try:
            os.write(device, bytes.fromhex(command))
            return os.read(device, 4096).hex()
        finally:
            os.close(device)

    def repeat(self, command: str, count: int) -> dict[str, Any]:
        """Send a command many times: the answers that came, and microseconds (a tenth, half, nine tenths took less)."""
        data = bytes.fromhex(command)
        device = os.open(self._device(), os.O_RDWR)
        try:

            def ask() -> bytes:
                os.write(device, data)
                return os.read(device, 4096)

            return _timed(ask, count)
        finally:
            os.close(device)

    def begin(self, command: str) -> None:
        """Send a command, and do not wait for its answer."""
        threading.Thread(target=self.tpm, args=(command,), daemon=True).start()

    def unload(self) -> None:
        """Take the driver away from its device, and out of the kernel."""
        for device in DRIVER.glob("vtpm-*"):
            (DRIVER / "unbind").write_text(device.name)
        _run("rmmod", "xen_tpmfront")

    def load(self) -> None:
        """Put the driver into the kernel."""
        module = next(path for path in Path("/etc/modules").read_text().split() if "tpmfront" in path)
        _run("insmod", module)

    def reload(self, times: int, command: str) -> dict[str, Any]:
        """Take the driver out and put it in again, with a command each time; the answers that came, and seconds."""
        answers = set()
        started = time.monotonic()
        for _ in range(times):
            self.unload()
            self.await_tpm(5, there=False)
            self.load()
            self.await_tpm(60)
            answers.add(self.tpm(command))
        return {"answers": sorted(answers), "seconds": round(time.monotonic() - started, 2)}

    def reboot(self) -> None:
        """Begin anew, at once, after the answer is on its way."""
        threading.Timer(0.3, lambda: subprocess.run(["reboot", "-f"], check=False)).start()

    def kernel_log(self, contains: str) -> list[str]:
        """The lines of the kernel's log that contain some text."""
        return [line for line in _run("dmesg").splitlines() if contains in line][-20:]


class Ours:
    """What may be asked of our own frontend."""

    def __init__(self) -> None:
        self._platform: LinuxPlatform | None = None
        self._frontend: Frontend | None = None
        self._program: subprocess.Popen[bytes] | None = None

    def open(self, timeout: float) -> int:
        """Open the device with our frontend; the backend's domain."""
        self._platform = self._platform or LinuxPlatform()
        await_device(self._platform, timeout=timeout)
        self._frontend = self._frontend or Frontend(self._platform)
        self._frontend.open(timeout)
        return self._frontend.backend

    def close(self) -> None:
        """Close it, and leave the platform."""
        if self._frontend is not None:
            self._frontend.shutdown()
        if self._platform is not None:
            self._platform.close()
        self._frontend = self._platform = None

    def transmit(self, command: str, locality: int = 0, timeout: float = 60.0) -> str:
        """Send a command; what went wrong is told by its name."""
        return self._exchange(bytes.fromhex(command), locality, timeout).hex()

    def transmit_sized(self, size: int, timeout: float = 60.0) -> dict[str, Any]:
        """Send a command of so many bytes: size and code of its answer, whether it echoes; or what went wrong."""
        data = struct.pack(">HII", 0x00C1, size, 0x46) + bytes(at % 251 for at in range(size - 10))
        try:
            got = self._exchange(data, 0, timeout)
        except (FrontendError, RingError) as error:
            return {"error": type(error).__name__}
        return {
            "size": len(got),
            "code": got[6:10].hex(),
            "echoed": got[10:] == data[10:],
        }

    def repeat_ours(self, command: str, count: int) -> dict[str, Any]:
        """As `repeat`, through our frontend."""
        data = bytes.fromhex(command)
        return _timed(lambda: self._exchange(data, 0, 60.0), count)

    def cancel_in_service(self, command: str, after: float) -> dict[str, Any]:
        """Send a command, cancel it after so many seconds, and tell how that ended, and when."""
        frontend = self._opened()
        threading.Timer(after, frontend.cancel).start()
        started = time.monotonic()
        try:
            ended = self._exchange(bytes.fromhex(command), 0, 60.0)[:10].hex()
        except (FrontendError, RingError) as error:
            ended = f"{type(error).__name__}: {error}"
        return {"ended": ended, "seconds": round(time.monotonic() - started, 3)}

    def await_free(self, timeout: float) -> None:
        """Wait until nothing that was asked for stands in the page."""
        connection = self._connected()
        deadline = time.monotonic() + timeout
        while layout.read_state(connection.grant.memory) not in (layout.State.IDLE, layout.State.FINISH):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page's state is {layout.read_state(connection.grant.memory)}")
            time.sleep(0.05)

    def drain(self) -> None:
        """Take the event that waits, if one does."""
        self._connected().port.take()

    def await_event(self, timeout: float) -> dict[str, Any]:
        """Wait for an event and take it; the page's state and the backend's then."""
        connection = self._connected()
        came = bool(select.select([connection.port], [], [], timeout)[0]) and connection.port.take()
        assert self._platform is not None
        state = layout.read_state(connection.grant.memory)
        folder = self._platform.store.read("device/vtpm/0/backend") or b""
        backend = self._platform.store.read(f"{folder.decode()}/state")
        return {"came": came, "page": state, "backend": (backend or b"").decode()}

    def start_program(self, command: str) -> str:
        """Start `vtpm frontend` as a program, and send a command through its socket: the answer."""
        self._program = subprocess.Popen(
            ["python3.11", "-m", "vtpm_impl.domain", "frontend", "--listen", "/run/vtpm"], stdout=subprocess.PIPE
        )
        assert self._program.stdout is not None
        for line in self._program.stdout:
            if b" is at " in line:
                break
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect("/run/vtpm")
            stream.sendall(bytes.fromhex(command))
            return stream.recv(4096).hex()

    def end_program(self, number: int) -> int:
        """Send that program a signal: the code that it ends with."""
        assert self._program is not None
        self._program.send_signal(number)
        return self._program.wait(20)

    def with_extra_pages(self, command: str, extra: int, timeout: float = 30.0) -> dict[str, Any]:
        """Put a request behind `extra` grant references into the page, as no frontend of Linux does."""
        connection = self._connected()
        page = connection.grant.memory
        connection.ring.submit(bytes.fromhex(command), extra=extra)
        poll = select.poll()
        poll.register(connection.port.fileno(), select.POLLIN)
        deadline = time.monotonic() + timeout
        while layout.read_state(page) == layout.State.SUBMIT and time.monotonic() < deadline:
            poll.poll(200)
            connection.port.take()
        length, state, _, _, kept = layout.read_header(page)
        begins = layout.data_offset(kept)
        return {"state": state, "extra": kept, "answer": bytes(page[begins : begins + length]).hex()}

    def vandalize(self, seed: int, seconds: float) -> dict[str, int]:
        """Store nonsense into pages and own nodes for some seconds; how often, and how often while connected."""
        platform = self._platform or LinuxPlatform()
        self._platform = platform
        chance = random.Random(seed)
        store = platform.store
        found = store.read("device/vtpm/0/backend-id")
        peer = int(found or b"0")
        me = platform.domid
        grants = [platform.grant(peer) for _ in range(2)]
        ports = [platform.open_port(peer) for _ in range(2)]
        values = [b"", b"x", b"1", b"3", b"4", b"5", b"6", b"9", b"-1", b"4294967296", b"3 ", b"8" * 2000]
        until = time.monotonic() + seconds
        stores = connected = 0
        while time.monotonic() < until:
            stores += 1
            grant, port = chance.choice(grants), chance.choice(ports)
            lengths = [0, 9, 10, 4088, 4089, 0xFFFFFFF8, 0xFFFFFFFF, chance.getrandbits(32)]
            head = struct.pack("=IBBBB", chance.choice(lengths), chance.randrange(5), *chance.randbytes(3))
            grant.memory[:8] = head
            grant.memory[chance.randrange(16)] = chance.randrange(256)
            port.notify()
            if stores % 20 == 0:
                connected += store.read(f"/local/domain/{peer}/backend/vtpm/{me}/0/state") == b"4"
                name = chance.choice(["state", "state", "ring-ref", "event-channel", "feature-protocol-v2", "a/b/c"])
                sound = {"ring-ref": b"%d" % grant.ref, "event-channel": b"%d" % port.number, "state": b"3"}
                value = chance.choice([*values, sound.get(name, b"1"), sound.get(name, b"1")])
                with contextlib.suppress(StoreError):
                    store.write(f"device/vtpm/0/{name}", value)
            if stores % 100 == 0:
                keys = {"ring-ref": grant.ref, "event-channel": port.number, "feature-protocol-v2": 1, "state": 3}
                for key, number in keys.items():
                    with contextlib.suppress(StoreError):
                        store.write(f"device/vtpm/0/{key}", b"%d" % number)
        return {"stores": stores, "connected": connected}

    def _opened(self) -> Frontend:
        if self._frontend is None:
            raise RuntimeError("our frontend is not open")
        return self._frontend

    def _connected(self) -> Connection:
        connection = self._opened()._connection
        if connection is None:
            raise RuntimeError("our frontend is not connected")
        return connection

    def _exchange(self, command: bytes, locality: int, timeout: float) -> bytes:
        return self._opened().transmit(command, locality=locality, timeout=timeout)


class Registers:
    """What may be asked of the TIS driver, in a domain that has the registers."""

    def tis(self, commands: list[tuple[int, str]]) -> list[str]:
        """Send commands, each at its locality."""
        driver = tis_engine("devmem")
        try:
            return [driver.transmit(bytes.fromhex(command), locality=locality).hex() for locality, command in commands]
        finally:
            driver.close()

    def repeat_tis(self, command: str, count: int) -> dict[str, Any]:
        """As `repeat`, at the registers."""
        driver = tis_engine("devmem")
        try:
            return _timed(lambda: driver.transmit(bytes.fromhex(command), locality=0), count)
        finally:
            driver.close()


class Domain(Linux, Ours, Registers):
    """All that may be asked for."""


def _timed(ask: Callable[[], bytes], count: int) -> dict[str, Any]:
    times = []
    answers = set()
    for _ in range(count):
        started = time.monotonic()
        answers.add(ask())
        times.append(time.monotonic() - started)
    tenths = [round(seconds * 1e6) for seconds in statistics.quantiles(times, n=10)]
    return {
        "answers": sorted(one.hex() for one in answers)[:3],
        "us": {"tenth": tenths[0], "median": tenths[4], "ninth": tenths[8]},
    }


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    serve(Domain())
