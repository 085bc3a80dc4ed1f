"""A Unix socket at which programs find a TPM: a packet in, a packet out, as `swtpm socket` has it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vtpm_impl.tpm import header

LONGEST = 65536
"""Bytes of a command; whoever announces more does not speak TPM."""

LAST_ANSWERS = 1.0
"""Seconds that are left at the end to what is being answered."""


class ServerError(Exception):
    """The socket cannot be made; the message says why."""


class TpmServer:
    """Takes any number of clients; `answer` is called from a thread for each, and must not raise."""

    def __init__(
        self, path: Path, answer: Callable[[bytes], bytes], news: tuple[int, Callable[[], None]] | None = None
    ) -> None:
        """Make the socket, which only this user can open. One that a dead server left is replaced. ServerError.

        `news`: another descriptor to wait for, and what is called when it is readable.
        """
        self._news = news
        self._path = path
        self._answer = answer
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            if path.is_socket() and not _is_served(path):
                path.unlink()
            self._listener.bind(str(path))
            path.chmod(0o600)
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            os.close(self._wake)
            raise ServerError(f"cannot listen at {str(path)!r}: {error.strerror or error}") from error

    def serve(self) -> None:
        """Serve until `stop`, then remove the socket, take no more commands, and give the last answers."""
        try:
            waited_for = [self._listener.fileno(), self._wake, *(self._news or ())[:1]]
            while self._wake not in (ready := select.select(waited_for, [], [])[0]):
                if self._news is not None and self._news[0] in ready:
                    self._news[1]()
                if self._listener.fileno() not in ready:
                    continue
                with contextlib.suppress(OSError):  # the client has given up
                    client, _ = self._listener.accept()
                    thread = threading.Thread(target=self._attend, args=(client,), daemon=True)
                    with self._lock:
                        self._clients[client] = thread
                    thread.start()
        finally:
            self._listener.close()
            self._path.unlink(missing_ok=True)
            with self._lock:
                threads = list(self._clients.values())
                for client in self._clients:
                    with contextlib.suppress(OSError):
                        client.shutdown(socket.SHUT_RD)
            deadline = time.monotonic() + LAST_ANSWERS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Let `serve` return. May be called from another thread, and from a signal handler."""
        os.eventfd_write(self._wake, 1)

    def _attend(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while (command := _read_packet(client)) is not None:
                client.sendall(self._answer(command))
        with self._lock:
            del self._clients[client]


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _read_packet(client: socket.socket) -> bytes | None:
    """The next packet; None at the end, also where what comes is none."""
    packet = client.recv(header.SIZE, socket.MSG_WAITALL)
    parsed = header.parse(packet)
    if parsed is None or not header.SIZE <= parsed.size <= LONGEST:
        return None
    while len(packet) < parsed.size:
        piece = client.recv(parsed.size - len(packet), socket.MSG_WAITALL)
        if not piece:
            return None
        packet += piece
    return packet
