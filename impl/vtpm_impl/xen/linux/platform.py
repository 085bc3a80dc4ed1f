"""This very domain of a real Xen, and the platform that its frontends and backends run on."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vtpm_impl.xen.linux.calls import DEVICES, XenDevice
from vtpm_impl.xen.linux.grants import LinuxGrant, LinuxMapping
from vtpm_impl.xen.linux.ports import LinuxPort
from vtpm_impl.xen.platform import PlatformError
from vtpm_impl.xen.store import ClientStore, told_by_platform
from vtpm_impl.xen.xenstore.client import Client

XENSTORED: Final = Path("/run/xenstored/socket")
"""Where xenstored listens in its own domain, for programs that the kernel's device is not there for."""

_DOMID: Final = "domid"
"""The node in which the toolstack tells each domain its number."""


def is_there(devices: Path = DEVICES) -> bool:
    """Whether this is a domain of Xen."""
    return (devices / "xenbus").exists()


class LinuxPlatform:
    """What a frontend or a backend of this domain stands on. Each has a connection to the store of its own."""

    def __init__(self, *, devices: Path = DEVICES, xenstored: Path = XENSTORED) -> None:
        """Connect to xenstore. Raises StoreGone, or PlatformError where the domain has not been told its number."""
        self._devices = devices
        self._grants: set[LinuxGrant] = set()
        self._mappings: set[LinuxMapping] = set()
        self._ports: set[LinuxPort] = set()
        with told_by_platform():
            client = Client.open(devices / "xenbus") if is_there(devices) else Client.connect(xenstored)
        self._store = ClientStore(client)
        number = self._store.read(_DOMID)
        if number is None or not number.isdigit():
            self._store.close()
            raise PlatformError(f"{_DOMID!r} in xenstore is {number!r}; a toolstack writes the domain's number there")
        self._domid = int(number)

    def __enter__(self) -> LinuxPlatform:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def domid(self) -> int:
        """The number of this domain."""
        return self._domid

    @property
    def store(self) -> ClientStore:
        """This platform's connection to the store."""
        return self._store

    def grant(self, domid: int) -> LinuxGrant:
        """A zeroed page that domain `domid` may map."""
        return LinuxGrant(self._open, domid, self._grants)

    def map_grant(self, domid: int, ref: int) -> LinuxMapping:
        """Map a page that domain `domid` has granted this one. Raises Unavailable."""
        return LinuxMapping(self._open, domid, ref, self._mappings)

    def open_port(self, domid: int) -> LinuxPort:
        """A port that domain `domid` may bind."""
        return _tied(LinuxPort.open(self._open, domid, self._ports), domid, self._grants)

    def bind_port(self, domid: int, port: int) -> LinuxPort:
        """Bind a port that domain `domid` has opened for this one; the new end's bit is set. Raises Unavailable."""
        return _tied(LinuxPort.bind(self._open, domid, port, self._ports), domid, self._mappings)

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def poller(self) -> select.poll:
        """A new one."""
        return select.poll()

    def close(self) -> None:
        """Give everything back that is still open: pages are unmapped before ports go. May be called again."""
        for mapping in list(self._mappings):
            mapping.unmap()
        for grant in list(self._grants):
            grant.end()
        for port in list(self._ports):
            port.close()
        self._store.close()

    def _open(self, name: str) -> XenDevice:
        return XenDevice(name, self._devices)


def _tied(port: LinuxPort, domid: int, pages: Iterable[LinuxGrant | LinuxMapping]) -> LinuxPort:
    """Tie the page that was shared with a domain, and had no port yet, to the port that now belongs to it.

    So the peer is woken when this process dies, and looks at the page and at xenstore once more.
    """
    for page in pages:
        if page.domid == domid and not page.tied:
            page.tie(port)
    return port
