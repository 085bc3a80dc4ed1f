"""The handshake: how frontend, backend and toolstack bring a device up and down through xenstore, around its ring.

This is the composed system: the page, the ring, the xenbus states and keys of both ends, and the toolstack, for one
device and any number of epochs. Watches coalesce and are read by level: a watch event says only that something changed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from vtpm_model import ring, sources
from vtpm_model.core import (
    U8,
    U32,
    Actor,
    Nat,
    Step,
    action,
    always,
    among,
    eventually,
    every_step,
    implies,
    lemma,
    negate,
    record,
    replace,
    require,
)
from vtpm_model.ring import Ring

FRONTEND, BACKEND, TOOLSTACK = Actor.FRONTEND, Actor.BACKEND, Actor.TOOLSTACK


class XenbusState(IntEnum):
    """The value of a `state` node: UNKNOWN also where the node is missing, INVALID for any text that is no state."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8
    INVALID = 9


(
    UNKNOWN,
    INITIALISING,
    INIT_WAIT,
    INITIALISED,
    CONNECTED,
    CLOSING,
    CLOSED,
    RECONFIGURING,
    RECONFIGURED,
    INVALID,
) = XenbusState


@record
class Device(Ring):
    """One vTPM device: its ring, its nodes in xenstore, and what each end knows of them."""

    # the nodes
    fe_state: XenbusState
    be_state: XenbusState
    keys: Nat  # the epoch whose ring-ref and event-channel are published, 0: none
    fe_v2: bool  # the frontend's feature-protocol-v2
    be_v2: bool  # the backend's feature-protocol-v2
    online: bool
    complete: bool  # the backend's node names the frontend and a uuid
    backend_told: bool  # a watch event waits: something changed that the backend watches
    # the backend
    tracked: bool  # it serves this device; its application was told so
    leaving: bool  # it has found a reason to close the device
    seen: XenbusState  # the frontend's state as it read it last
    seen_keys: Nat  # the keys as it read them then
    seen_v2: bool
    # the frontend
    fresh: bool  # it has a page and a port that nobody has used yet
    peer_v2: bool  # it has read the backend's feature-protocol-v2 for this connection


D = TypeVar("D", bound=Device)


def no_device() -> Device:
    """No node exists; the backend is up."""
    return Device(
        **ring.at_rest()._asdict(),  # type: ignore[attr-defined]
        fe_state=UNKNOWN, be_state=UNKNOWN, keys=0, fe_v2=False, be_v2=False, online=False, complete=False,
        backend_told=False,
        tracked=False, leaving=False, seen=UNKNOWN, seen_keys=0, seen_v2=False,
        fresh=False, peer_v2=False,
    )  # fmt: skip


def write_fe_state(s: D, state: XenbusState) -> D:
    """The state after the frontend's `state` node was written: the backend's watch fires."""
    return replace(s, fe_state=state, backend_told=True)


def write_be_state(s: D, state: XenbusState) -> D:
    """The state after the backend's `state` node was written: the watches on it fire."""
    return replace(s, be_state=state, backend_told=True)


# ------------------------------------------------------------------------------------------------------ toolstack


@action(
    by=TOOLSTACK,
    cites=(
        sources.LIBXL_ADDS_IN_ONE_TRANSACTION,
        sources.LIBXL_FRONTEND_NODES,
        sources.LIBXL_BACKEND_NODES,
        sources.LIBXL_VTPM_NODES,
    ),
)
def toolstack_creates(s: D, complete: bool) -> D:
    """The toolstack makes both ends' nodes, in one transaction; what an earlier device left there is removed first."""
    require(negate(s.online))
    require(s.fe_state == UNKNOWN)
    return replace(
        s, fe_state=INITIALISING, be_state=INITIALISING, keys=0, fe_v2=False, be_v2=False, online=True,
        complete=complete, backend_told=True,
    )  # fmt: skip


@action(by=TOOLSTACK, cites=sources.LIBXL_ASKS_TO_CLOSE)
def toolstack_detaches(s: D) -> D:
    """The toolstack asks the backend to close: it is no longer online, and its state is set to Closing."""
    require(s.online)
    require(s.be_state != UNKNOWN)
    return write_be_state(replace(s, online=False), CLOSING)


@action(by=TOOLSTACK, cites=(sources.LIBXL_FORCED_REMOVAL_DELETES_THE_FRONTEND, sources.LIBXL_FORCES_AFTER_TIMEOUT))
def toolstack_forces(s: D) -> D:
    """The toolstack, which waits no longer or destroys the guest, removes the frontend's nodes and asks to close."""
    require(s.fe_state != UNKNOWN)
    s = replace(s, fe_state=UNKNOWN, keys=0, fe_v2=False, online=False, backend_told=True)
    if s.be_state == UNKNOWN:
        return s
    return write_be_state(s, CLOSING)


@action(by=TOOLSTACK, cites=(sources.LIBXL_REMOVES_THE_TREE_OF_A_DOMAIN, sources.LIBXL_DESTROYS_A_DOMAIN_LAST))
def toolstack_destroys_backend(s: D) -> D:
    """The toolstack destroys the backend's domain: its nodes go as one, without a close; the frontend's stay.

    The domain itself goes after that, as in a crash.
    """
    require(s.be_state != UNKNOWN)
    return replace(s, be_state=UNKNOWN, be_v2=False, online=False, backend_told=True)


@action(by=TOOLSTACK, cites=(sources.LIBXL_WAITS_FOR_CLOSED, sources.LIBXL_FINDS_THE_BACKEND_GONE))
def toolstack_removes(s: D) -> D:
    """The toolstack removes all nodes: the backend has closed or is gone, or had its time after a forced removal."""
    require(negate(s.online))
    require(among(s.be_state, CLOSED, UNKNOWN) | (s.fe_state == UNKNOWN))
    require((s.be_state != UNKNOWN) | (s.fe_state != UNKNOWN))
    return replace(
        s, fe_state=UNKNOWN, be_state=UNKNOWN, keys=0, fe_v2=False, be_v2=False,
        backend_told=True,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- backend


@action(
    by=BACKEND,
    owed=True,
    cites=(sources.LINUX_TPMIF_OPEN, sources.TPMBACK_NEW_DEVICE, sources.LIBXL_WAITS_FOR_INIT_WAIT),
)
def backend_tracks(s: D) -> D:
    """The backend finds the device's node, opens the device and goes to InitWait; a closing one it only opens."""
    require(s.up)
    require(negate(s.tracked))
    require(s.complete)
    require(s.be_state != UNKNOWN)
    require(negate(s.leaving) | (s.be_state == INITIALISING))
    s = replace(s, tracked=True, leaving=False, seen=UNKNOWN, seen_keys=0, seen_v2=False, backend_told=True)
    if s.online:
        return write_be_state(s, INIT_WAIT)
    return s


@action(by=BACKEND, cites=sources.TPMBACK_NEW_DEVICE)
def backend_answers_incomplete_node(s: D) -> D:
    """The backend goes to InitWait before it finds that the node lacks its frontend or uuid."""
    require(s.up)
    require(negate(s.tracked))
    require(negate(s.complete))
    require(s.be_state == INITIALISING)
    return write_be_state(s, INIT_WAIT)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FEATURE_AFTER_STATE)
def backend_publishes_version(s: D) -> D:
    """The backend writes its feature-protocol-v2, before or after its InitWait."""
    require(s.up)
    require((s.tracked & negate(s.leaving)) | (s.complete & (s.be_state == INITIALISING)))
    require(negate(s.be_v2))
    require(s.be_state != UNKNOWN)
    return replace(s, be_v2=True)


@action(
    by=BACKEND,
    owed=True,
    cites=(sources.WATCH_FIRES_ON_CHANGE, sources.WATCH_FIRES_AT_ONCE_AND_SPURIOUSLY, sources.TPMBACK_FRONTEND_CHANGED),
)
def backend_looks(s: D) -> D:
    """Told by a watch, the backend reads both ends' states and the frontend's keys as they are now."""
    require(s.tracked)
    require(s.backend_told)
    over = negate(s.online) | (s.be_state == UNKNOWN) | (s.fe_state == UNKNOWN)
    return replace(s, backend_told=False, seen=s.fe_state, seen_keys=s.keys, seen_v2=s.fe_v2, leaving=s.leaving | over)


@action(by=BACKEND, cites=sources.TPMBACK_SHUTDOWN)
def backend_retires(s: D) -> D:
    """The backend decides to close the device of its own accord."""
    require(s.tracked)
    return replace(s, leaving=True)


def wanted(s: Device) -> bool:
    """The backend knows of a frontend that wants to be served, and serves none."""
    ready = among(s.seen, INITIALISED, CONNECTED) & among(s.be_state, INIT_WAIT, CONNECTED, CLOSED)
    return s.tracked & negate(s.leaving) & (s.mapped == 0) & ready


def unwanted(s: Device) -> bool:
    """The backend knows that the connection which it holds is over."""
    changed = among(s.seen, INITIALISED, CONNECTED) & (s.seen_keys != s.mapped)
    return (s.mapped != 0) & (s.leaving | (s.seen == CLOSED) | changed)


@action(
    by=BACKEND,
    owed=True,
    cites=(sources.TPMBACK_MAPS_AND_BINDS, sources.BIND_SETS_PENDING, sources.GRANT_MAP_TAKES_THE_GRANTER),
)
def backend_maps(s: D) -> D:
    """The backend maps the page and binds the port that the keys name; both are the frontend's own."""
    require(wanted(s))
    require(s.seen_v2)
    require(s.granted)
    require(s.seen_keys == s.epoch)
    require(s.latest < s.epoch)
    return ring.with_mapping(s)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_REFUSES_TO_CONNECT, sources.TPMBACK_CHECKS_THE_FEATURE))
def backend_refuses_connection(s: D, failed: bool) -> D:
    """The keys are missing or name nothing, the version is not 2, or Xen refused (`failed`): Closed."""
    require(wanted(s))
    require(s.be_state != CLOSED)
    require(failed | negate(s.seen_v2) | negate(s.granted) | (s.seen_keys != s.epoch) | (s.latest >= s.epoch))
    return write_be_state(s, CLOSED)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_SETS_CONNECTED, sources.LINUX_TPMIF_OPEN))
def backend_goes_to_connected(s: D) -> D:
    """The backend has mapped and bound, and says so."""
    require(s.mapped != 0)
    require(negate(unwanted(s)))
    require(among(s.seen, INITIALISED, CONNECTED))
    require(s.be_v2)
    require(s.online)
    require(among(s.be_state, INIT_WAIT, CLOSED))
    return write_be_state(s, CONNECTED)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_FOLLOWS_CLOSING, sources.LINUX_TPMIF_CLOSE))
def backend_follows_closing(s: D) -> D:
    """The frontend is Closing: so is the backend. The connection stays until the frontend has closed."""
    require(s.tracked)
    require(s.seen == CLOSING)
    require(among(s.be_state, INIT_WAIT, CONNECTED))
    return write_be_state(s, CLOSING)


@action(by=BACKEND, cites=sources.TPMBACK_FREE_DEVICE)
def backend_starts_closing(s: D) -> D:
    """A backend that is leaving says Closing before it is Closed."""
    require(s.tracked)
    require(s.leaving)
    require(among(s.be_state, INIT_WAIT, CONNECTED))
    return write_be_state(s, CLOSING)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_DISCONNECT, sources.LINUX_TPMIF_CLOSE))
def backend_disconnects(s: D) -> D:
    """The backend unmaps the page and unbinds the port of a connection that is over."""
    require(unwanted(s))
    return ring.without_mapping(s)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_FOLLOWS_CLOSED, sources.LINUX_TPMIF_CLOSE))
def backend_awaits_reopening(s: D, closed: bool) -> D:
    """The frontend has closed: the backend, which holds nothing, goes to InitWait, or to Closed."""
    require(negate(s.leaving))
    require(s.mapped == 0)
    require(s.seen == CLOSED)
    require(s.online)
    require(among(s.be_state, INITIALISING, CONNECTED, CLOSING))
    return write_be_state(s, CLOSED if closed else INIT_WAIT)


@action(by=BACKEND, cites=sources.LINUX_TPMIF_CLOSE)
def backend_reopens(s: D) -> D:
    """A backend that holds nothing goes to InitWait: after it was Closed, or when its node was made anew."""
    require(s.tracked)
    require(negate(s.leaving))
    require(s.mapped == 0)
    require(s.online)
    require(among(s.be_state, INITIALISING, CONNECTED, CLOSED))
    return write_be_state(s, INIT_WAIT)


@action(by=BACKEND, owed=True, cites=(sources.LIBXL_WAITS_FOR_CLOSED, sources.TPMBACK_FREE_DEVICE))
def backend_closes(s: D) -> D:
    """A backend that is leaving, and holds nothing, goes to Closed; neither a node that is gone nor a new one."""
    require(s.leaving)
    require(s.mapped == 0)
    require(s.tracked | (s.be_state == CLOSING))
    require(negate(among(s.be_state, UNKNOWN, CLOSED, INITIALISING)))
    return write_be_state(s, CLOSED)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FREE_DEVICE)
def backend_releases_device(s: D) -> D:
    """The backend closes the device towards its application, after the last command of it."""
    require(s.tracked)
    require(s.leaving)
    require(s.mapped == 0)
    require(negate(s.busy))
    require(among(s.be_state, CLOSED, UNKNOWN, INITIALISING))
    return replace(s, tracked=False)


@action(by=BACKEND, cites=(sources.TPMBACK_FREE_DEVICE, sources.LIBXL_PERMISSIONS))
def backend_removes_node(s: D) -> D:
    """A backend that has closed a device may remove the device's node."""
    require(s.leaving)
    require(s.mapped == 0)
    require(s.be_state == CLOSED)
    return replace(s, be_state=UNKNOWN, be_v2=False, backend_told=True)


@action(by=BACKEND, cites=sources.CLOSE_LEAVES_THE_PEER_UNBOUND)
def backend_crashes(s: D) -> D:
    """The backend dies: Xen unmaps its pages and closes its ports; its nodes stay."""
    s = ring.backend_crashes(s)
    return replace(s, tracked=False, leaving=False, seen=UNKNOWN, seen_keys=0, seen_v2=False)


# ------------------------------------------------------------------------------------------------------- frontend


@action(
    by=FRONTEND, cites=(sources.LINUX_SETUP_RING, sources.TPMFRONT_ZEROES_THE_PAGE, sources.TPMFRONT_WAITS_FOR_CLOSED)
)
def frontend_allocates(s: D) -> D:
    """The frontend takes a zeroed page and a port; to connect again, it first waits until the backend let go."""
    require(negate(s.granted))
    require((s.fe_state == INITIALISING) | ((s.fe_state == CLOSED) & among(s.be_state, INIT_WAIT, CLOSED)))
    return replace(ring.with_new_page(s), fresh=True, peer_v2=False)


@action(by=FRONTEND, cites=(sources.LINUX_PUBLISHES_KEYS, sources.TPMFRONT_PUBLISHES_KEYS))
def frontend_publishes(s: D) -> D:
    """The frontend writes ring-ref, event-channel and feature-protocol-v2."""
    require(s.fresh)
    require(s.keys != s.epoch)
    require(among(s.fe_state, INITIALISING, CLOSED))
    return replace(s, keys=s.epoch, fe_v2=True)


@action(by=FRONTEND, cites=(sources.LINUX_GOES_TO_INITIALISED, sources.TPMFRONT_GOES_TO_CONNECTED))
def frontend_goes_to_initialised(s: D, directly: bool) -> D:
    """The keys stand: the frontend goes to Initialised, or directly to Connected. It may send requests from now on."""
    require(s.fresh)
    require(s.keys == s.epoch)
    return write_fe_state(replace(s, fresh=False, open=True), CONNECTED if directly else INITIALISED)


@action(by=FRONTEND, cites=(sources.LINUX_CHECKS_THE_FEATURE, sources.TPMFRONT_CHECKS_THE_FEATURE))
def frontend_reads_version(s: D) -> D:
    """The frontend finds the backend's feature-protocol-v2."""
    require(s.open)
    require(s.be_v2)
    return replace(s, peer_v2=True)


@action(by=FRONTEND, cites=(sources.LINUX_BACKEND_CHANGED, sources.LINUX_TPMIF_OPEN))
def frontend_goes_to_connected(s: D) -> D:
    """The backend is Connected, and speaks version 2: so is the frontend."""
    require(s.open)
    require(s.peer_v2)
    require(s.fe_state == INITIALISED)
    require(s.be_state == CONNECTED)
    return write_fe_state(s, CONNECTED)


@action(by=FRONTEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.LINUX_SENDS_BEFORE_CONNECTED))
def frontend_submits(s: D, length: U32, extra: U8) -> D:
    """The frontend, which knows that the backend speaks version 2, writes a request and, after it, SUBMIT."""
    require(s.peer_v2)
    after: D = ring.frontend_submits(s, length=length, extra=extra)
    return after


@action(by=FRONTEND, cites=(sources.LINUX_TPMIF_CLOSE, sources.TPMFRONT_SHUTDOWN))
def frontend_starts_closing(s: D) -> D:
    """The frontend stops using the connection and goes to Closing."""
    require(s.open)
    require(among(s.fe_state, INITIALISED, CONNECTED))
    require(negate(s.frontend_owes_event))
    return write_fe_state(stop_using(s), CLOSING)


def without_page(s: D) -> D:
    """The state after the frontend has let go of its page and port, used or not."""
    return replace(ring.without_page(s), fresh=False)


def stop_using(s: D) -> D:
    """The state after the frontend has ended every wait; it still holds its page."""
    return replace(
        s, open=False, waiting=False, awake=False, cancelling=False, cancelled=False, frontend_owes_event=False
    )


@action(by=FRONTEND, cites=sources.TPMFRONT_SHUTDOWN)
def frontend_retracts_keys(s: D) -> D:
    """The frontend, which uses them no more, removes its keys."""
    require(negate(s.open))
    require(s.keys != 0)
    return replace(s, keys=0)


@action(
    by=FRONTEND,
    cites=(sources.LINUX_TPMIF_CLOSE, sources.XENBUS_DEV_REMOVE, sources.XENBUS_RESETS_CONNECTED_AND_CLOSED),
)
def frontend_closes(s: D) -> D:
    """The frontend goes to Closed: after Closing, at once, or because it finds the state of a driver that is gone."""
    require(among(s.fe_state, INITIALISED, CONNECTED, CLOSING))
    require(negate(s.frontend_owes_event))
    return write_fe_state(stop_using(s), CLOSED)


@action(by=FRONTEND, cites=(sources.TPMFRONT_SHUTDOWN, sources.XENBUS_RESET_FRONTEND))
def frontend_goes_back_to_initialising(s: D) -> D:
    """The backend has let go, or is gone: the frontend leaves the device as it found it."""
    require(s.fe_state == CLOSED)
    require(among(s.be_state, INIT_WAIT, CLOSED, UNKNOWN))
    return write_fe_state(s, INITIALISING)


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_FOLLOWS_CLOSING, sources.XENBUS_DEVICE_VANISHES))
def frontend_loses_device(s: D) -> D:
    """The backend has gone, or the nodes were made anew: the frontend stops using the connection."""
    require(s.open)
    require(among(s.be_state, UNKNOWN, CLOSING, CLOSED) | (s.fe_state == INITIALISING))
    return stop_using(s)


@action(by=FRONTEND, cites=(sources.GRANT_IS_WITHDRAWN_ONLY_UNUSED, sources.LINUX_RING_FREE))
def frontend_releases_page(s: D) -> D:
    """The frontend ends the grant and closes the port; a page that is still mapped is kept aside."""
    require(s.granted)
    require(negate(s.open))
    require(negate(among(s.fe_state, INITIALISED, CONNECTED)))
    return without_page(s)


@action(by=FRONTEND, cites=(sources.LINUX_RESUME, sources.CLOSE_LEAVES_THE_PEER_UNBOUND))
def frontend_vanishes(s: D) -> D:
    """The guest crashes, is reset, or resumes on another host: page and port are gone, the nodes stay."""
    require(s.granted)
    return without_page(s)


# ---------------------------------------------------------------------------------------------------------- facts


@every_step(covers="E18", about=BACKEND, cites=(sources.GRANT_MAP_TAKES_THE_GRANTER, sources.GRANT_NAMES_ONE_DOMAIN))
def only_the_frontends_own_page_is_mapped(before: Device, step: Step, after: Device) -> bool:
    """The backend maps what the frontend published, and it is the frontend that granted it."""
    new = (before.mapped != after.mapped) & (after.mapped != 0)
    own = before.granted & (after.mapped == before.epoch) & (after.mapped == before.seen_keys)
    return implies(new, own)


@always(
    covers="E19",
    cites=(sources.LINUX_TPMIF_OPEN, sources.TPMBACK_STAYS_CONNECTED),
    derived_from=(
        "the_backend_knows_the_frontends_state",
        "the_backend_knows_the_keys",
        "an_open_connection_is_published",
        "an_open_connection_holds_its_page",
    ),
)
def connected_ends_share_one_page(s: Device) -> bool:
    """Once both are Connected and the backend has read the last news, it holds what the frontend published."""
    both = s.open & (s.fe_state == CONNECTED) & (s.be_state == CONNECTED)
    settled = s.tracked & negate(s.backend_told) & negate(s.leaving) & negate(unwanted(s)) & negate(wanted(s))
    return implies(both & settled, (s.mapped == s.keys) & (s.mapped == s.epoch) & s.granted)


@every_step(covers="E19", about=BACKEND, cites=sources.TPMBACK_SETS_CONNECTED)
def the_backend_is_connected_to_what_it_read(before: Device, step: Step, after: Device) -> bool:
    """The backend goes to Connected only when it holds the keys that it read."""
    if step.by != BACKEND:
        return True
    connects = (before.be_state != CONNECTED) & (after.be_state == CONNECTED)
    return implies(connects, (before.mapped != 0) & (before.mapped == before.seen_keys))


@every_step(covers="E20", about=BACKEND, cites=(sources.TPMBACK_CHECKS_THE_FEATURE, sources.LINUX_TPMIF_OPEN))
def only_version_2_is_mapped(before: Device, step: Step, after: Device) -> bool:
    """The backend connects only to a frontend that says version 2, and is Connected only after it said so itself."""
    maps = (before.mapped != after.mapped) & (after.mapped != 0)
    connects = (before.be_state != CONNECTED) & (after.be_state == CONNECTED) & (step.by == BACKEND)
    return implies(maps, before.seen_v2) & implies(connects, before.be_v2)


@every_step(covers="E20", about=FRONTEND, cites=(sources.LINUX_TPMIF_OPEN, sources.TPMFRONT_CHECKS_THE_FEATURE))
def a_request_is_sent_to_version_2_only(before: Device, step: Step, after: Device) -> bool:
    """The frontend sends a request only after it has read that the backend speaks version 2."""
    return implies(before.request != after.request, before.peer_v2)


@every_step(
    about=BACKEND, covers="E24", cites=(sources.TPMBACK_CHANGE_STATE_IS_NOT_ATOMIC, sources.XENBUS_SWITCH_STATE)
)
def a_removed_node_is_not_written(before: Device, step: Step, after: Device) -> bool:
    """The backend writes nothing below a node that is gone."""
    if step.by != BACKEND:
        return True
    return implies(before.be_state == UNKNOWN, (after.be_state == UNKNOWN) & (after.be_v2 == before.be_v2))


@every_step(about=BACKEND, covers="E24", cites=(sources.LIBXL_ASKS_TO_CLOSE, sources.LIBXL_WAITS_FOR_CLOSED))
def a_close_that_is_asked_for_is_not_undone(before: Device, step: Step, after: Device) -> bool:
    """Once the device is not online, the backend's state moves only to Closing and Closed."""
    if step.by != BACKEND:
        return True
    moved = negate(before.online) & (before.be_state != after.be_state)
    return implies(moved, among(after.be_state, CLOSING, CLOSED, UNKNOWN))


@every_step(covers="E19", about=FRONTEND, cites=(sources.LINUX_TPMIF_CLOSE, sources.TPMFRONT_WAITS_FOR_CLOSED))
def a_new_connection_waits_for_the_end_of_the_old(before: Device, step: Step, after: Device) -> bool:
    """The frontend takes a new page only on nodes that are new, or after the backend's InitWait or Closed."""
    fresh_nodes = before.fe_state == INITIALISING
    return implies(before.epoch != after.epoch, fresh_nodes | among(before.be_state, INIT_WAIT, CLOSED))


@always(
    covers="E26",
    about=BACKEND,
    cites=(sources.TPMBACK_FREE_RACES_WITH_WAITERS, sources.VTPMMGR_OPAQUE_POINTS_INTO_THE_CONNECTION),
)
def a_command_in_service_has_its_device(s: Device) -> bool:
    """The device is open towards the application from before its first command until after its last."""
    return implies(s.busy, s.tracked)


@always(covers="E28", about=BACKEND, cites=sources.WATCH_FIRES_ON_CHANGE)
def the_backend_knows_the_frontends_state(s: Device) -> bool:
    """The backend has read the state that the frontend wrote last, or a watch event waits for it."""
    return implies(s.tracked, s.backend_told | (s.seen == s.fe_state))


# --------------------------------------------------------------------------------------------------------- lemmas


@lemma
def a_device_is_tracked_by_a_living_backend(s: Device) -> bool:
    """Only a backend that is up tracks a device, and it maps only what it tracks."""
    return implies(s.tracked, s.up) & implies(s.mapped != 0, s.tracked)


@lemma
def an_open_connection_is_published(s: Device) -> bool:
    """Whoever uses a connection has published its keys."""
    return implies(s.open & (s.fe_state != UNKNOWN) & (s.fe_state != INITIALISING), s.keys == s.epoch)


@lemma
def the_backend_knows_the_keys(s: Device) -> bool:
    """What the backend has read of the keys is what the open connection published."""
    read = s.tracked & negate(s.backend_told) & s.open & among(s.fe_state, INITIALISED, CONNECTED)
    return implies(read, s.seen_keys == s.keys)


@lemma
def a_fresh_page_is_empty(s: Device) -> bool:
    """Nobody has written into a page that was not used yet."""
    return implies(s.fresh, s.granted & negate(s.open) & (s.page == ring.EMPTY_PAGE))


@lemma
def a_closing_device_is_known_to_close(s: Device) -> bool:
    """A device that is not online is closing or gone; of that, and of a node that is gone, the backend knows."""
    over = negate(s.online) | (s.be_state == UNKNOWN)
    return implies(negate(s.online), among(s.be_state, UNKNOWN, CLOSING, CLOSED)) & implies(
        s.tracked & over, s.backend_told | s.leaving
    )


# ------------------------------------------------------------------------------------------------------- liveness


@eventually(
    helpful=lambda s: "the backend tracks",
    rank=lambda s: (0,),
    covers="E25",
    about=BACKEND,
    cites=(sources.LIBXL_WAITS_FOR_INIT_WAIT, sources.LIBXL_TIMEOUTS),
)
def a_new_device_waits_for_its_backend(s: Device) -> bool:
    """A living backend that does not track the device yet goes to InitWait."""
    return s.up & negate(s.tracked) & s.complete & s.online & (s.be_state == INITIALISING)


@eventually(
    helpful=lambda s: "the backend looks",
    rank=lambda s: (0,),
    covers="E28",
    about=BACKEND,
    cites=sources.WATCH_FIRES_ON_CHANGE,
)
def a_watch_event_waits(s: Device) -> bool:
    """The backend reads every change in the end."""
    return s.tracked & s.backend_told


def knows_of_the_end(s: Device) -> bool:
    """The backend has read that the frontend closed and, if the toolstack asked it to close, that too."""
    return (s.seen == CLOSED) & (s.online | s.leaving)


def closing_after_the_frontend(s: Device) -> str:
    """What the backend does next for a frontend that has closed."""
    if negate(knows_of_the_end(s)):
        return "the backend looks"
    if s.mapped != 0:
        return "the backend disconnects"
    return "the backend closes" if s.leaving else "the backend awaits reopening"


def distance_to_closed_after_the_frontend(s: Device) -> tuple[int, ...]:
    """How far the backend is from letting go of a frontend that has closed."""
    known = knows_of_the_end(s)
    return (
        1 if s.online else 0,
        0 if s.leaving else 1,
        0 if s.be_state == CLOSING else 1,
        0 if known else 1,
        1 if known & (s.mapped != 0) else 0,
    )


@eventually(
    helpful=closing_after_the_frontend,
    rank=distance_to_closed_after_the_frontend,
    covers="E24",
    about=BACKEND,
    cites=(sources.LINUX_TPMIF_CLOSE, sources.TPMFRONT_WAITS_FOR_CLOSED),
)
def a_closed_frontend_waits_for_its_backend(s: Device) -> bool:
    """After the frontend's Closed the backend goes to InitWait or Closed."""
    return s.tracked & (s.fe_state == CLOSED) & among(s.be_state, CONNECTED, CLOSING)


def closing_for_the_toolstack(s: Device) -> str:
    """What the backend does next for a toolstack that asked it to close."""
    if s.leaving:
        return "the backend disconnects" if s.mapped != 0 else "the backend closes"
    return "the backend looks" if s.tracked else "the backend tracks"


def distance_to_closed_for_the_toolstack(s: Device) -> tuple[int, ...]:
    """How far the backend is from closing for the toolstack."""
    known = 0 if s.leaving else 1 if s.tracked else 2
    return (known, 1 if s.mapped != 0 else 0)


@eventually(
    helpful=closing_for_the_toolstack,
    rank=distance_to_closed_for_the_toolstack,
    covers="E24",
    about=BACKEND,
    cites=(sources.LIBXL_WAITS_FOR_CLOSED, sources.LIBXL_TIMEOUTS),
)
def a_toolstack_waits_for_the_backend(s: Device) -> bool:
    """Asked by the toolstack, the backend goes to Closed, whatever the frontend does."""
    return s.up & s.complete & negate(s.online) & negate(among(s.be_state, CLOSED, UNKNOWN))


@eventually(
    helpful=lambda s: "the backend disconnects" if s.leaving else "the backend looks",
    rank=lambda s: (0 if s.leaving else 1,),
    covers="E24",
    about=BACKEND,
    cites=(sources.LIBXL_FORCES_AFTER_TIMEOUT, sources.WATCH_EVENT_OF_A_REMOVED_PARENT),
)
def a_page_is_held_although_its_node_is_gone(s: Device) -> bool:
    """The backend lets go of a connection whose node was removed."""
    return s.tracked & (s.mapped != 0) & (s.be_state == UNKNOWN)


def knows_the_connection(s: Device) -> bool:
    """The backend has read what the frontend published."""
    return among(s.seen, INITIALISED, CONNECTED) & (s.seen_keys == s.keys)


def connecting(s: Device) -> str:
    """What the backend does next for a frontend that has published a connection."""
    if negate(knows_the_connection(s)):
        return "the backend looks"
    return "the backend disconnects" if s.mapped != 0 else "the backend maps"


def distance_to_connection(s: Device) -> tuple[int, ...]:
    """How far the backend is from holding what the frontend published."""
    return (0 if knows_the_connection(s) else 1, 1 if s.mapped != 0 else 0)


@eventually(
    helpful=connecting,
    rank=distance_to_connection,
    covers=("E10", "E19"),
    about=BACKEND,
    cites=(sources.LINUX_TPMIF_OPEN, sources.TPMBACK_STAYS_CONNECTED),
)
def a_published_connection_waits_for_its_backend(s: Device) -> bool:
    """The backend lets go of what it held before and maps what the frontend published, or goes to Closed."""
    published = s.open & among(s.fe_state, INITIALISED, CONNECTED) & (s.mapped != s.epoch)
    return s.tracked & s.online & negate(s.leaving) & published & among(s.be_state, INIT_WAIT, CONNECTED)


@eventually(
    helpful=lambda s: "the frontend loses the device",
    rank=lambda s: (0,),
    covers="E11",
    about=FRONTEND,
    cites=(sources.LINUX_BACKEND_CHANGED, sources.LIBXL_FORCES_AFTER_TIMEOUT),
)
def a_connection_has_lost_its_backend(s: Device) -> bool:
    """A frontend whose backend's node is gone stops using the connection."""
    return s.open & (s.be_state == UNKNOWN)


TOOLSTACK_ACTIONS = (
    toolstack_creates,
    toolstack_detaches,
    toolstack_forces,
    toolstack_destroys_backend,
    toolstack_removes,
)

BACKEND_ACTIONS = (
    backend_tracks,
    backend_answers_incomplete_node,
    backend_publishes_version,
    backend_looks,
    backend_retires,
    backend_maps,
    backend_refuses_connection,
    backend_goes_to_connected,
    backend_follows_closing,
    backend_starts_closing,
    backend_disconnects,
    backend_awaits_reopening,
    backend_reopens,
    backend_closes,
    backend_releases_device,
    backend_removes_node,
    backend_crashes,
    ring.backend_starts,
)
"""The xenbus side of the backend."""

FRONTEND_ACTIONS = (
    frontend_allocates,
    frontend_publishes,
    frontend_goes_to_initialised,
    frontend_reads_version,
    frontend_goes_to_connected,
    frontend_starts_closing,
    frontend_retracts_keys,
    frontend_closes,
    frontend_goes_back_to_initialising,
    frontend_loses_device,
    frontend_releases_page,
    frontend_vanishes,
)
"""The xenbus side of the frontend."""

FACTS = (
    only_the_frontends_own_page_is_mapped,
    connected_ends_share_one_page,
    the_backend_is_connected_to_what_it_read,
    only_version_2_is_mapped,
    a_request_is_sent_to_version_2_only,
    a_new_connection_waits_for_the_end_of_the_old,
    a_removed_node_is_not_written,
    a_close_that_is_asked_for_is_not_undone,
    a_command_in_service_has_its_device,
    the_backend_knows_the_frontends_state,
)

LEMMAS = (
    a_fresh_page_is_empty,
    a_device_is_tracked_by_a_living_backend,
    an_open_connection_is_published,
    the_backend_knows_the_keys,
    a_closing_device_is_known_to_close,
)

LIVENESS = (
    a_new_device_waits_for_its_backend,
    a_watch_event_waits,
    a_closed_frontend_waits_for_its_backend,
    a_toolstack_waits_for_the_backend,
    a_page_is_held_although_its_node_is_gone,
    a_published_connection_waits_for_its_backend,
    a_connection_has_lost_its_backend,
)

FAIR = {
    "the backend tracks": ("backend_tracks",),
    "the backend looks": ("backend_looks",),
    "the backend maps": ("backend_maps", "backend_refuses_connection"),
    "the backend disconnects": ("backend_disconnects",),
    "the backend awaits reopening": ("backend_awaits_reopening",),
    "the backend closes": ("backend_closes",),
    "the frontend loses the device": ("frontend_loses_device",),
}
