"""Linux' frontend, and a driver who plays toolstack and backend: the surroundings of a real kernel under test.

The driver keeps no rule. It cannot hold the kernel still, so nothing here waits to be told: Linux acts by itself, and
is asked now and then whether it has come to rest.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from vtpm_model import handshake, linux, ring, sources
from vtpm_model.core import U8, U32, Actor, Spec, action, among, negate, record, replace, require
from vtpm_model.driven import taken
from vtpm_model.handshake import (
    CLOSED,
    CLOSING,
    CONNECTED,
    INITIALISED,
    INITIALISING,
    UNKNOWN,
    Device,
    XenbusState,
    write_fe_state,
)
from vtpm_model.ring import FINISH, IDLE, RingState

FRONTEND, BACKEND, TOOLSTACK, XEN = Actor.FRONTEND, Actor.BACKEND, Actor.TOOLSTACK, Actor.XEN


class Binding(IntEnum):
    """What the guest's administrator does with the driver and this device."""

    BY_ITSELF = 0
    UNBOUND = 1
    AGAIN = 2


@record
class DrivenLinux(Device):
    """A device of a Linux guest, and what the driver has done to it."""

    there: bool  # the frontend's directory exists, with or without a state in it
    own: XenbusState  # the state that the driver remembers to have written; UNKNOWN: it has no such device
    told: bool  # a watch event on the backend's state waits, the only node of the backend's that Linux watches
    named: U32  # the length that the packet in the page names in its own header
    late: bool  # a command may have waited longer than its time
    binding: Binding
    meddled: bool  # the application has cancelled by sysfs


R = TypeVar("R", bound=DrivenLinux)


def nothing_yet() -> DrivenLinux:
    """No node exists; the driver is loaded."""
    return DrivenLinux(
        **handshake.no_device()._asdict(),  # type: ignore[attr-defined]
        there=False, own=UNKNOWN, told=False, named=0, late=False, binding=Binding.BY_ITSELF, meddled=False,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ the driver


@action(by=TOOLSTACK)
def driver_writes_nodes(
    s: R,
    there: bool,
    fe_state: XenbusState,
    be_state: XenbusState,
    be_v2: bool,
    fe_v2: bool,
    online: bool,
    complete: bool,
    keeps_keys: bool,
    tells: bool,
) -> R:
    """The driver writes and removes nodes, any of them, at once.

    `complete`: the frontend's name the backend; `tells`: the backend's state is among them, be it the same as before.
    """
    keys = s.keys if keeps_keys else 0
    return replace(
        s, there=there, fe_state=fe_state, be_state=be_state, be_v2=be_v2, fe_v2=fe_v2, online=online,
        complete=complete, keys=keys, told=s.told | tells,
    )  # fmt: skip


@action(by=BACKEND)
def driver_maps(s: R) -> R:
    """The driver maps the page and binds the port that the frontend's keys name."""
    require(s.granted)
    require(s.keys == s.epoch)
    return ring.with_mapping(s)


@action(by=BACKEND)
def driver_unmaps(s: R) -> R:
    """The driver gives page and port back."""
    return ring.without_mapping(s)


@action(by=BACKEND)
def driver_stores(s: R, length: U32, state: RingState, extra: U8, named: U32) -> R:
    """The driver stores into the page that it has mapped, which then has this header, and a packet of this length."""
    require(s.mapped != 0)
    page = ring.backend_page(s)
    answer = page.request if state == FINISH else page.answer
    after = ring.put_backend_page(s, replace(page, length=length, state=state, extra=extra, answer=answer))
    return replace(after, named=named if s.mapped == s.epoch else s.named)


@action(by=XEN)
def driver_lets_time_pass(s: R) -> R:
    """So much time passes that a command may have waited too long, be it because it may wait hardly at all."""
    return replace(s, late=True)


@action(by=XEN)
def driver_binds(s: R, binding: Binding) -> R:
    """The guest's administrator takes the driver away from the device, or gives it back."""
    return replace(s, binding=binding)


@action(by=XEN)
def driver_cancels(s: R) -> R:
    """The application cancels by sysfs, whatever is going on."""
    return replace(s, meddled=True)


DRIVER = (
    driver_writes_nodes,
    driver_maps,
    driver_unmaps,
    driver_stores,
    driver_lets_time_pass,
    driver_binds,
    driver_cancels,
)
"""What the driver does."""


# ----------------------------------------------------------------------------------------------- Linux' own nodes


def written(s: R, state: XenbusState) -> R:
    """The state after the driver has gone to another state: a node that is gone is not made again."""
    node = UNKNOWN if s.fe_state == UNKNOWN else state
    return replace(write_fe_state(s, node), own=state)


@action(by=FRONTEND, owed=True, cites=(sources.XENBUS_IGNORES_A_DEVICE_THAT_IS_NOT_NEW, sources.LINUX_PROBE))
def frontend_allocates(s: R) -> R:
    """The driver takes a page and a port for a device that is new, or that is bound again."""
    again = s.binding == Binding.AGAIN
    require(s.complete)
    require(again | ((s.binding == Binding.BY_ITSELF) & (s.fe_state == INITIALISING)))
    require(negate(s.granted))
    after = replace(ring.with_new_page(s), fresh=True, binding=Binding.BY_ITSELF)
    return after if again else replace(after, own=INITIALISING)


@action(by=FRONTEND, owed=True)
def frontend_finds_no_backend(s: R) -> R:
    """The nodes do not lead to a backend's: the bus takes no driver for the device, and says Closing (row l2)."""
    require(s.there & negate(s.complete))
    require((s.binding == Binding.BY_ITSELF) & (s.fe_state == INITIALISING))
    require(negate(s.granted))
    return replace(written(s, CLOSING), own=UNKNOWN)


@action(by=FRONTEND, owed=True, cites=linux.frontend_publishes.cites)
def frontend_publishes(s: R) -> R:
    """The keys go out in one transaction."""
    return taken(linux.frontend_publishes, s)


@action(by=FRONTEND, owed=True, cites=linux.frontend_goes_to_initialised.cites)
def frontend_goes_to_initialised(s: R) -> R:
    """The state follows in a second transaction, whatever the backend's is, which is read once by its watch."""
    require(s.fresh)
    require(s.keys == s.epoch)
    return written(replace(s, fresh=False, open=True, told=True), INITIALISED)


@action(by=FRONTEND, owed=True, cites=linux.frontend_goes_to_connected.cites)
def frontend_goes_to_connected(s: R) -> R:
    """The backend is Initialised or Connected, and speaks version 2: so the driver goes to Connected."""
    require(s.open & s.told)
    require(s.own != CONNECTED)
    require(among(s.be_state, INITIALISED, CONNECTED))
    require(s.be_v2)
    return written(replace(s, told=False), CONNECTED)


@action(by=FRONTEND, owed=True, cites=sources.LINUX_CHECKS_THE_FEATURE)
def frontend_refuses_version(s: R) -> R:
    """The backend is Initialised or Connected, and does not speak version 2: so the driver goes to Closing."""
    require(s.open & s.told)
    require(s.own != CONNECTED)
    require(among(s.be_state, INITIALISED, CONNECTED))
    require(negate(s.be_v2))
    return written(replace(s, told=False), CLOSING)


@action(by=FRONTEND, cites=(sources.XENBUS_OTHEREND_CHANGED, sources.LINUX_BACKEND_CHANGED))
def frontend_ignores_backend(s: R) -> R:
    """Told of the backend's state, the driver finds nothing that concerns it; other nodes it hears nothing of."""
    require(s.told)
    require((s.own == CONNECTED) | negate(among(s.be_state, INITIALISED, CONNECTED)))
    return replace(s, told=False)


@action(by=FRONTEND, owed=True, cites=(*linux.frontend_loses_device.cites, sources.LINUX_REMOVE))
def frontend_loses_device(s: R) -> R:
    """The driver lets the device go on Closing and Closed, and when its own directory vanishes, after a command."""
    require(s.open)
    require(negate(s.waiting))
    require(among(s.be_state, CLOSING, CLOSED) | negate(s.there))
    return handshake.stop_using(s)


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_FOLLOWS_CLOSING, sources.LINUX_REMOVE, sources.XENBUS_DEV_REMOVE))
def frontend_closes(s: R) -> R:
    """Of a device that it has let go, or that is unbound, the driver says Closed; a command ends before."""
    require(negate(s.waiting))
    require(among(s.own, INITIALISED, CONNECTED, CLOSING))
    require(s.there)
    require(negate(s.open) | among(s.be_state, CLOSING, CLOSED) | (s.binding == Binding.UNBOUND))
    require(negate(s.frontend_owes_event))
    return written(handshake.stop_using(s), CLOSED)


@action(by=FRONTEND, cites=handshake.frontend_releases_page.cites)
def frontend_releases_page(s: R) -> R:
    """The grant and the port of a device that is let go are given back."""
    require(s.granted)
    require(negate(s.open) & negate(s.fresh))
    return handshake.without_page(s)


# ----------------------------------------------------------------------------------------------- Linux' own ring


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_POLLS, *ring.frontend_looks.cites))
def frontend_looks(s: R) -> R:
    """The driver polls: it finds its answer, or that there is none. A caller gets a whole packet, or an error."""
    require(among(s.page.state, FINISH, IDLE))
    return taken(ring.frontend_looks, replace(s, awake=True), header=s.named)


@action(by=FRONTEND, cites=ring.frontend_times_out.cites)
def frontend_times_out(s: R) -> R:
    """A command that has waited too long is about to be cancelled."""
    require(s.late)
    return taken(ring.frontend_times_out, s)


@action(by=FRONTEND, cites=ring.frontend_gives_up.cites)
def frontend_gives_up(s: R) -> R:
    """The caller of a command that was cancelled gets an error."""
    require(s.late)
    return taken(ring.frontend_gives_up, s)


@action(by=FRONTEND, cites=ring.frontend_cancels_at_rest.cites)
def frontend_cancels_at_rest(s: R) -> R:
    """The page is not free for another command, or the application cancels for no reason: the driver says CANCEL."""
    require(s.meddled | negate(among(s.page.state, IDLE, FINISH)))
    return taken(ring.frontend_cancels_at_rest, s)


FRONTEND_ACTIONS = (
    frontend_allocates,
    frontend_finds_no_backend,
    frontend_publishes,
    frontend_goes_to_initialised,
    frontend_goes_to_connected,
    frontend_refuses_version,
    frontend_ignores_backend,
    frontend_loses_device,
    frontend_closes,
    frontend_releases_page,
    linux.frontend_submits,
    ring.frontend_notifies,
    frontend_looks,
    frontend_times_out,
    ring.frontend_cancels,
    frontend_gives_up,
    frontend_cancels_at_rest,
)
"""What Linux does; it polls, so that no event of the backend's moves it."""

DRIVEN_LINUX: Spec[DrivenLinux] = Spec(
    name="driven.linux",
    doc="the frontend of Linux, of which a script plays toolstack and backend, obeying no rule",
    state=DrivenLinux,
    init=nothing_yet,
    actions=(*FRONTEND_ACTIONS, *DRIVER),
    facts=(),
)
