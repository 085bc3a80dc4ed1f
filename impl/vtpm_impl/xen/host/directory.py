"""The run directory: a folder for each domain, which is its process's as long as that process lives.

    RUN/domains/<domid>/lock                    held by the domain's process
    RUN/domains/<domid>/xenstore                the socket at which the domain finds the store, made by the store
    RUN/domains/<domid>/grants/<ref>-<peer>     a page that the domain lets `peer` map; whoever maps it holds a lock
    RUN/domains/<domid>/ports/<number>-<peer>/  an event channel that `peer` may bind: a FIFO for either end's bit

Only the user of this host who made the directory can open it. That is the whole of its security: processes of one user
are not kept from each other by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vtpm_impl.xen.host.locks import is_locked, try_lock
from vtpm_impl.xen.platform import PlatformError
from vtpm_impl.xen.xenstore.store import CONTROL_DOMAIN, DomainState

LAST_DOMID: Final = 0x7FEF
"""Higher numbers mean no domain (DOMID_FIRST_RESERVED is 0x7FF0)."""


class DomainTaken(PlatformError):
    """A process that lives is that domain already."""


class RunDirectory:
    """The folders of all domains of a host."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._domains = self.path / "domains"

    def domain(self, domid: int) -> Path:
        """The folder of a domain, whether it is there or not."""
        return self._domains / str(domid)

    def is_running(self, domid: int) -> bool:
        """Whether a process that lives is that domain."""
        return _is_held(self.domain(domid))

    def state_of(self, domid: int) -> DomainState:
        """What became of a domain, as the store asks."""
        return DomainState.RUNNING if self.is_running(domid) else DomainState.GONE

    def claim(self, domid: int) -> int:
        """Become a domain: give the descriptor that must stay open as long. What dead domains left is removed.

        Raises DomainTaken, ValueError for a number that no domain has, and PlatformError where the host says no.
        """
        if not 0 <= domid <= LAST_DOMID:
            raise ValueError(f"domain {domid}; a domain has a number from 0 to {LAST_DOMID}")
        folder = self.domain(domid)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._domains.mkdir(mode=0o700, exist_ok=True)
            with self._alone():
                self._sweep()
                if _is_held(folder):
                    raise DomainTaken(f"domain {domid} is running already, in {str(self.path)!r}")
                folder.mkdir(mode=0o700, exist_ok=True)
                lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                if not try_lock(lock):
                    os.close(lock)
                    raise DomainTaken(f"domain {domid} is running already, in {str(self.path)!r}")
                (folder / "grants").mkdir(mode=0o700)
                (folder / "ports").mkdir(mode=0o700)
        except OSError as error:
            raise PlatformError(f"the run directory {str(self.path)!r} cannot be used: {error.strerror}") from error
        return lock

    def give_back(self, domid: int, lock: int) -> None:
        """Be that domain no longer: its folder goes."""
        with contextlib.suppress(OSError), self._alone():
            _remove(self.domain(domid))
        os.close(lock)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off everybody else who makes or removes folders of domains."""
        descriptor = os.open(self._domains, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        for folder in self._domains.iterdir():
            if not _is_held(folder):
                _remove(folder)


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a domain's folder; the control domain's stays, with its socket in it, where a store serves it."""
    if folder.name != str(CONTROL_DOMAIN):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for part in ("grants", "ports"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
