"""swtpm behind a relay that keeps it going when QEMU's machine is reset.

    python -m tests.peers.kept_tpm socket --ctrl type=unixio,clientfd=N ...

It takes swtpm's place and arguments. When it is reset, QEMU stops its TPM, tells it the size of its buffer, and
initialises it; after the first time these three are answered here, as swtpm answered them then. What a program sees of
QEMU's own device is the same; the TPM behind it keeps its state, and spares the self-test.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

INIT: Final = bytes.fromhex("00000002")
STOP: Final = bytes.fromhex("0000000e")
SET_BUFFER_SIZE: Final = bytes.fromhex("00000011")
"""Commands of swtpm's control channel that a reset consists of."""

LONGEST: Final = 4096
"""Bytes of a command or of its answer."""


def relay(qemu: socket.socket, tpm: socket.socket) -> None:
    """Pass on commands, with the descriptors that come along, and answers, until either end is closed."""
    told: dict[bytes, bytes] = {}
    while True:
        command, descriptors, _, _ = socket.recv_fds(qemu, LONGEST, 4)
        if not command:
            return
        name = command[:4]
        if INIT in told and name in (INIT, STOP, SET_BUFFER_SIZE):
            qemu.sendall(told[name])
            continue
        socket.send_fds(tpm, [command], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        told[name] = tpm.recv(LONGEST)
        if not told[name]:
            return
        qemu.sendall(told[name])


def main(arguments: Sequence[str]) -> None:
    """Start swtpm, and stand between it and QEMU."""
    number = re.compile(r"(?<=,clientfd=)\d+")
    qemu = socket.socket(fileno=next(int(found[0]) for one in arguments if (found := number.search(one))))
    near, far = socket.socketpair()
    changed = [number.sub(str(far.fileno()), one) for one in arguments]
    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "swtpm", *changed], pass_fds=[far.fileno()]) as tpm:
        far.close()
        try:
            relay(qemu, near)
        finally:
            tpm.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
