"""The frontend for asyncio: the same device, whose waiting is a task's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from vtpm_impl.xenbus.frontend import COMMAND_TIMEOUT, Frontend

AGAIN = 0.05
"""Seconds between two attempts to cancel a command."""


class AsyncFrontend:
    """Sends the commands of any number of tasks, one after another, from a thread of its own."""

    def __init__(self, frontend: Frontend) -> None:
        """`frontend` is open, and stays its owner's to close."""
        self._frontend = frontend
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vtpm")
        self._lock = threading.Lock()
        self._serving: object = None

    async def transmit(self, command: bytes, *, locality: int = 0, timeout: float = COMMAND_TIMEOUT) -> bytes:
        """As `Frontend.transmit`. A task that is cancelled cancels its command, and ends when that has ended."""
        task = object()
        sent = self._thread.submit(self._send, task, command, locality, timeout)
        waiting = asyncio.wrap_future(sent)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not sent.cancel():
                await self._cancel(task, waiting)
            raise

    def _send(self, task: object, command: bytes, locality: int, timeout: float) -> bytes:
        with self._lock:
            self._serving = task
        try:
            return self._frontend.transmit(command, locality=locality, timeout=timeout)
        finally:
            with self._lock:
                self._serving = None

    async def _cancel(self, task: object, waiting: asyncio.Future[bytes]) -> None:
        """Cancel the command of one task, and no other; again, as it may not have been sent when it was first asked."""
        while not waiting.done():
            with self._lock:
                if self._serving is task:
                    self._frontend.cancel()
            await asyncio.wait([waiting], timeout=AGAIN)
        if not waiting.cancelled():
            waiting.exception()  # which has been asked for, so that nobody complains that it was not

    def close(self) -> None:
        """Wait for the command in service, if there is one, and end the thread."""
        self._thread.shutdown(cancel_futures=True)
