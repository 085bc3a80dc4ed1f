"""A domain of this host, and the platform that its frontends and backends run on."""

from __future__ import annotations

import contextlib
import itertools
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vtpm_impl.toolstack import domains
from vtpm_impl.toolstack.devices import Toolstack
from vtpm_impl.xen.host.directory import RunDirectory
from vtpm_impl.xen.host.grants import HostGrant, HostMapping
from vtpm_impl.xen.host.ports import HostPort
from vtpm_impl.xen.platform import PlatformError, Unavailable
from vtpm_impl.xen.store import ClientStore, told_by_platform
from vtpm_impl.xen.xenstore.client import Client
from vtpm_impl.xen.xenstore.server import socket_path
from vtpm_impl.xen.xenstore.store import CONTROL_DOMAIN
from vtpm_impl.xenbus.journal import Journals, silent

FIRST_NUMBER: Final = 8
"""The first grant and port of a domain. Numbers are not used again: a stale one means nothing."""

PATIENCE: Final = 1.0
"""Seconds that a domain's start or end waits for each backend of its devices to close them."""


class HostDomain:
    """This process as a domain. Several platforms may share it, each with a connection to the store of its own."""

    def __init__(self, run_directory: Path, domid: int, journals: Journals = silent) -> None:
        """Become the domain, and be introduced to the store. Raises DomainTaken, StoreGone, PlatformError."""
        self.journals = journals
        self.directory = RunDirectory(run_directory)
        self.domid = domid
        self.refs = itertools.count(FIRST_NUMBER)
        self.ports = itertools.count(FIRST_NUMBER)
        self._platforms: list[HostPlatform] = []
        self._lock = self.directory.claim(domid)
        try:
            if domid != CONTROL_DOMAIN:
                with _control(run_directory) as control:
                    Toolstack(control, journals).destroy_all(domid, timeout=PATIENCE)
                    domains.build(control, domid)
        except BaseException:
            self.directory.give_back(domid, self._lock)
            raise

    @property
    def folder(self) -> Path:
        """Where this domain keeps its grants and ports."""
        return self.directory.domain(self.domid)

    def __enter__(self) -> HostDomain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def platform(self) -> HostPlatform:
        """A platform for one frontend, or for one backend. Raises StoreGone."""
        platform = HostPlatform(self)
        self._platforms.append(platform)
        return platform

    def close(self) -> None:
        """End the domain: all its platforms, its nodes, its folder."""
        for platform in self._platforms:
            platform.close()
        if self.domid != CONTROL_DOMAIN:
            with contextlib.suppress(PlatformError), _control(self.directory.path) as control:
                Toolstack(control, self.journals).destroy_all(self.domid, timeout=PATIENCE)
                domains.remove(control, self.domid)
        self.directory.give_back(self.domid, self._lock)


class HostPlatform:
    """What a frontend or a backend of a domain stands on."""

    def __init__(self, domain: HostDomain) -> None:
        self._domain = domain
        self._grants: set[HostGrant] = set()
        self._mappings: set[HostMapping] = set()
        self._ports: set[HostPort] = set()
        with told_by_platform():
            self._store = ClientStore(Client.connect(socket_path(domain.directory.path, domain.domid)))

    @property
    def domid(self) -> int:
        """The number of this domain."""
        return self._domain.domid

    @property
    def store(self) -> ClientStore:
        """This platform's connection to the store."""
        return self._store

    def grant(self, domid: int) -> HostGrant:
        """A zeroed page that domain `domid` may map."""
        return HostGrant(self._domain.folder / "grants", next(self._domain.refs), domid, self._grants)

    def map_grant(self, domid: int, ref: int) -> HostMapping:
        """Map a page that domain `domid` has granted this one. Raises Unavailable."""
        return HostMapping(self._living(domid) / "grants", ref, self.domid, self._mappings)

    def open_port(self, domid: int) -> HostPort:
        """A port that domain `domid` may bind."""
        return HostPort.open(self._domain.folder / "ports", next(self._domain.ports), domid, self._ports)

    def bind_port(self, domid: int, port: int) -> HostPort:
        """Bind a port that domain `domid` has opened for this one; the new end's bit is set. Raises Unavailable."""
        return HostPort.bind(self._living(domid) / "ports", port, self.domid, next(self._domain.ports), self._ports)

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def poller(self) -> select.poll:
        """A new one."""
        return select.poll()

    def close(self) -> None:
        """Give everything back that is still open. May be called again."""
        for port in list(self._ports):
            port.close()
        for mapping in list(self._mappings):
            mapping.unmap()
        for grant in list(self._grants):
            grant.drop()
        self._store.close()

    def _living(self, domid: int) -> Path:
        if not self._domain.directory.is_running(domid):
            raise Unavailable(f"there is no domain {domid}")
        return self._domain.directory.domain(domid)


@contextlib.contextmanager
def _control(run_directory: Path) -> Iterator[Client]:
    """Speak to the store as the control domain: whoever starts a domain on this host is its toolstack as well."""
    with told_by_platform(), Client.connect(socket_path(run_directory, CONTROL_DOMAIN)) as client:
        yield client
