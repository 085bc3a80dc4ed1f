"""The agent of a guest whose own driver is under test: the application of its vTPMs, and who watches its kernel."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from vtpm_impl.xen.xenstore.client import Client

from .canned import sized
from .serving import serve

DEVICES = Path("/sys/bus/xen/devices")
DRIVER = Path("/sys/bus/xen/drivers/vtpm")
PAUSE = 0.02
"""Seconds between two looks at sysfs."""

MOST_COMPLAINTS = 30
"""Lines of the kernel that are told."""

_GRAVE = ("BUG", "WARNING:", "Oops", "general protection", "Call Trace", "unable to handle", "hung task")
"""What a kernel says of a mistake of its own."""


class Caller:
    """What may be asked for; a TPM is named by the handle of its vTPM."""

    def call(self, handle: int, command: str) -> dict[str, Any]:
        """Send a command, given in hexadecimal or as `size N`: the answer's length and digest, or what went wrong."""
        data = sized(int(command.split()[1])) if command.startswith("size") else bytes.fromhex(command)
        doing = "open"
        try:
            device = os.open(f"/dev/{self._name(handle)}", os.O_RDWR)
            try:
                doing = "write"
                os.write(device, data)
                doing = "read"
                got = os.read(device, 4096)
            finally:
                os.close(device)
        except OSError as error:
            return {"error": errno.errorcode.get(error.errno or 0, str(error)), "at": doing}
        return {"length": len(got), "digest": hashlib.sha256(got).hexdigest()}

    def cancel(self, handle: int) -> None:
        """Cancel by sysfs whatever the TPM may be doing."""
        (Path("/sys/class/tpm") / self._name(handle) / "device" / "cancel").write_text("1")

    def unbind(self, handle: int) -> None:
        """Take the driver away from a device."""
        (DRIVER / "unbind").write_text(f"vtpm-{handle}")

    def bind(self, handle: int) -> None:
        """Give the device to its driver again."""
        (DRIVER / "bind").write_text(f"vtpm-{handle}")

    def await_gone(self, handle: int, timeout: float) -> bool:
        """Whether Linux has forgotten a device, by then at the latest."""
        until = time.monotonic() + timeout
        while (DEVICES / f"vtpm-{handle}").exists():
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE)
        return True

    def _name(self, handle: int) -> str:
        with contextlib.suppress(FileNotFoundError):
            for path in (DEVICES / f"vtpm-{handle}" / "tpm").iterdir():
                return path.name
        raise OSError(errno.ENODEV, "there is no TPM of this device")


def watch_kernel() -> None:
    """Tell in a node of this domain what the kernel says of mistakes of its own, as long as it is able to."""
    said: list[str] = []
    with Client.open() as store, Path("/dev/kmsg").open(errors="replace") as log:
        for line in log:
            text = line.partition(";")[2].strip()
            if any(word in text for word in _GRAVE) and len(said) < MOST_COMPLAINTS:
                said.append(text[:100])
                store.write("data/kernel", "\n".join(said).encode())


if __name__ == "__main__":
    threading.Thread(target=watch_kernel, daemon=True).start()
    serve(Caller())
