"""The agent of domain 0: runs programs, looks into xenstore, and passes requests on to the agents of other domains."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from vtpm_impl.xen.linux.platform import XENSTORED, LinuxPlatform
from vtpm_impl.xen.xenstore.client import Client

from .counterpart import Counterpart
from .serving import answer, memory, packed

PORT_NAME = "rig"
PAUSE = 0.05
"""Seconds between two looks at a file."""


class Dom0:
    """What the rig may ask for. Requests run side by side."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = iter(range(1, 1_000_000))

    def run(self, argv: list[str], timeout: float) -> dict[str, Any]:
        """Run a program to its end: its exit code, all that it said, and how many seconds it took."""
        started = time.monotonic()
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        seconds = round(time.monotonic() - started, 3)
        return {"code": done.returncode, "said": done.stdout.decode(errors="replace")[-20000:], "seconds": seconds}

    def start(self, name: str, argv: list[str]) -> None:
        """Start a program that goes on; what it says goes into /tmp/NAME.log."""
        with Path(f"/tmp/{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, name: str, number: int = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Send it a signal and wait for its end: its exit code."""
        process = self._running.pop(name)
        process.send_signal(number)
        return process.wait(timeout)

    def stop_all(self) -> list[str]:
        """Kill what has been started and goes on; the names."""
        names = list(self._running)
        for name in names:
            self.stop(name, signal.SIGKILL)
        return names

    def await_text(self, path: str, pattern: str, timeout: float, beyond: int = 0) -> list[str]:
        """Wait until a file matches beyond an offset: the groups of the match."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                with Path(path).open("rb") as file:
                    file.seek(beyond)
                    text = file.read()
            except FileNotFoundError:
                text = b""
            if found := re.search(pattern.encode(), text):
                return [group.decode(errors="replace") for group in found.groups()]
            if time.monotonic() > deadline or b"Kernel panic" in text:
                raise TimeoutError(f"{path} says nothing like {pattern!r}; it ends with {text[-300:]!r}")
            time.sleep(PAUSE)

    def size(self, path: str) -> int:
        """Bytes of a file, 0 where there is none."""
        return Path(path).stat().st_size if Path(path).exists() else 0

    def sizes(self, paths: list[str]) -> dict[str, int]:
        """Bytes of each file, and of each log in a folder."""
        found = [log for path in map(Path, paths) for log in (sorted(path.glob("*.log")) if path.is_dir() else [path])]
        return {str(log): log.stat().st_size for log in found}

    def memory(self) -> dict[str, int]:
        """Of domain 0: KiB in all, and KiB that are left."""
        return memory()

    def node(self, path: str) -> str | None:
        """The value of a node of xenstore."""
        with Client.open() as store:
            value = store.read_or_none(path)
        return None if value is None else value.decode("latin-1")

    def write_node(self, path: str, value: str) -> None:
        """Write a node of xenstore."""
        with Client.open() as store:
            store.write(path, value.encode("latin-1"))

    def await_node(self, path: str, values: list[str | None], timeout: float) -> str | None:
        """Wait until a node has one of these values; None: until it is not there."""
        deadline = time.monotonic() + timeout
        with Client.open() as store:
            store.watch(path, "await")
            while True:
                found = store.read_or_none(path)
                value = None if found is None else found.decode("latin-1")
                if value in values:
                    return value
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{path} is {value!r}, not {values}")
                store.event(left)

    def await_domain(self, name: str, timeout: float) -> int:
        """Wait until there is a domain of that name; its number."""
        deadline = time.monotonic() + timeout
        with Client.open() as store:
            store.watch("/local/domain", "await")
            while True:
                for domid in store.directory("/local/domain"):
                    if store.read_or_none(f"/local/domain/{domid}/name") == name.encode():
                        return int(domid)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"there is no domain {name!r}")
                store.event(left)

    def ask(self, domid: int, request: dict[str, Any], timeout: float) -> Any:
        """Ask the agent of another domain, through two nodes of that domain."""
        request = {**request, "n": next(self._numbers)}
        folder = f"/local/domain/{domid}/data"
        deadline = time.monotonic() + timeout
        with Client.open() as store:
            store.watch(f"{folder}/answer", "answer")
            store.write(f"{folder}/ask", packed(request))
            while True:
                found = store.read_or_none(f"{folder}/answer")
                given = json.loads(found) if found else {}
                if given.get("n") == request["n"]:
                    if "error" in given:
                        raise RuntimeError(f"domain {domid}: {given['error']}")
                    return given["value"]
                if store.read_or_none(f"/local/domain/{domid}/name") is None:
                    raise RuntimeError(f"domain {domid} is gone")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"domain {domid} does not answer {request['do']} in {timeout:g} s")
                store.event(min(left, 2.0))

    def play(self, domid: int, handle: int, lines: list[str], patience: float) -> dict[str, Any]:
        """Play the toolstack and the backend of a device of another domain; what was done and seen."""
        with LinuxPlatform() as platform, Client.connect(XENSTORED) as store:
            return Counterpart(platform, store, domid, handle, patience).play(lines)

    def collect(self, paths: list[str]) -> list[str]:
        """Copy files and folders to where the rig finds them; those that are there."""
        kept = []
        for path in map(Path, paths):
            target = Path("/share/logs") / path.name
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            elif path.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copy(path, target)
            else:
                continue
            kept.append(str(path))
        return kept


def _port() -> str:
    for folder in Path("/sys/class/virtio-ports").iterdir():
        if (folder / "name").read_text().strip() == PORT_NAME:
            return f"/dev/{folder.name}"
    raise FileNotFoundError(f"there is no virtio port {PORT_NAME!r}")


def main() -> None:
    """Answer requests, a line each, for ever."""
    agent = Dom0()
    descriptor = os.open(_port(), os.O_RDWR)
    lock = threading.Lock()

    def serve(request: dict[str, Any]) -> None:
        line = packed(answer(agent, request)) + b"\n"
        with lock:
            while line:
                line = line[os.write(descriptor, line) :]

    serve({"n": 0, "do": "run", "with": {"argv": ["xl", "list"], "timeout": 60}})
    rest = b""
    while True:
        data = os.read(descriptor, 65536)
        if not data:  # nobody is at the other end
            time.sleep(PAUSE)
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
