"""The frontend of Linux, xen-tpmfront, as it is: what it does otherwise than a frontend that meets every obligation."""

from __future__ import annotations

from typing import TypeVar

from vtpm_model import ring, sources
from vtpm_model.core import U8, U32, Actor, action, among, negate, replace, require
from vtpm_model.handshake import (
    CLOSED,
    CLOSING,
    CONNECTED,
    INITIALISED,
    INITIALISING,
    UNKNOWN,
    Device,
    stop_using,
    write_fe_state,
)

FRONTEND = Actor.FRONTEND
D = TypeVar("D", bound=Device)


@action(by=FRONTEND, cites=(sources.LINUX_SETUP_RING, sources.LINUX_PROBE))
def frontend_allocates(s: D) -> D:
    """A driver that is bound, or bound again, takes a new page and port without a look at the backend."""
    require(negate(s.granted))
    require(among(s.fe_state, INITIALISING, CLOSED))
    return replace(ring.with_new_page(s), fresh=True)


@action(by=FRONTEND, cites=(sources.LINUX_RESUME, sources.XENBUS_DEV_RESUME))
def frontend_resumes(s: D) -> D:
    """After a resume the driver forgets its page, whatever the backend still maps, and takes a new one."""
    require(s.open)
    require(among(s.fe_state, INITIALISED, CONNECTED))
    return replace(ring.with_new_page(ring.without_page(s)), fresh=True)


@action(by=FRONTEND, cites=sources.LINUX_PUBLISHES_KEYS)
def frontend_publishes(s: D) -> D:
    """The keys go out in one transaction, over those of the connection before."""
    require(s.fresh)
    require(s.keys != s.epoch)
    require(s.fe_state != UNKNOWN)
    return replace(s, keys=s.epoch, fe_v2=True)


@action(by=FRONTEND, cites=(sources.LINUX_GOES_TO_INITIALISED, sources.LINUX_SENDS_BEFORE_CONNECTED))
def frontend_goes_to_initialised(s: D) -> D:
    """The state follows in a second transaction; the driver's first commands do too, before it is Connected."""
    require(s.fresh)
    require(s.keys == s.epoch)
    return write_fe_state(replace(s, fresh=False, open=True), INITIALISED)


@action(by=FRONTEND, cites=(sources.LINUX_BACKEND_CHANGED, sources.LINUX_CHECKS_THE_FEATURE))
def frontend_goes_to_connected(s: D) -> D:
    """The driver reads the backend's version only now, long after its first command."""
    require(s.open)
    require(s.fe_state == INITIALISED)
    require(among(s.be_state, INITIALISED, CONNECTED))
    require(s.be_v2)
    return write_fe_state(s, CONNECTED)


@action(by=FRONTEND, cites=(sources.LINUX_SUBMITS, sources.LINUX_SEND_BOUNDS))
def frontend_submits(s: D, length: U32, extra: U8) -> D:
    """The driver never uses extra pages."""
    require(extra == 0)
    after: D = ring.frontend_submits(s, length=length, extra=extra)
    return after


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_FOLLOWS_CLOSING, sources.XENBUS_DEVICE_VANISHES))
def frontend_loses_device(s: D) -> D:
    """The driver lets the device go on Closing and Closed, and when its own nodes vanish; no other state moves it."""
    require(s.open)
    require(among(s.be_state, CLOSING, CLOSED) | (s.fe_state == UNKNOWN))
    return stop_using(s)


REPLACED = (
    frontend_allocates,
    frontend_publishes,
    frontend_goes_to_initialised,
    frontend_goes_to_connected,
    frontend_submits,
    frontend_loses_device,
)

ADDED = (frontend_resumes,)

DROPPED = ("frontend_reads_version", "frontend_retracts_keys")

VIOLATES = {
    "a_request_is_sent_to_version_2_only": "it reads the backend's version only after its first commands",
    "a_new_connection_waits_for_the_end_of_the_old": "loaded again or resumed, it publishes new keys at once",
    "a_connection_has_lost_its_backend": "a backend that is gone goes unnoticed: only Closing and Closed move it",
}
"""The obligations of a frontend that Linux does not meet, each with what it does instead."""
