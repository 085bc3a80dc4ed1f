"""Carries packets between standard input and output and a TPM's socket, as a program of the TCG's stack wants it.

tpm2_getrandom -T "cmd:python3 tests/peers/tpm_at_a_socket.py SOCKET" 8
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

HEADER = 10


def main(path: str) -> None:
    """A command in, its answer out, until the input ends."""
    with socket.socket(socket.AF_UNIX) as tpm:
        tpm.connect(path)
        while (command := _packet(lambda size: os.read(0, size))) is not None:
            tpm.sendall(command)
            answer = _packet(tpm.recv)
            if answer is None:
                return
            os.write(1, answer)


def _packet(read: Callable[[int], bytes]) -> bytes | None:
    """The next packet; None where there is no more."""
    packet = b""
    while len(packet) < HEADER or len(packet) < int.from_bytes(packet[2:6], "big"):
        wanted = int.from_bytes(packet[2:6], "big") if len(packet) >= HEADER else HEADER
        piece = read(wanted - len(packet))
        if not piece:
            return None
        packet += piece
    return packet


if __name__ == "__main__":
    main(sys.argv[1])
