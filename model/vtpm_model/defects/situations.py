"""Situations in which others fail, or which look wrong and are not: what a sound system does in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtpm_model.core import negate
from vtpm_model.defects.defect import Situation
from vtpm_model.device import DEVICE, LINUX
from vtpm_model.handshake import INIT_WAIT, INITIALISED, UNKNOWN, Device
from vtpm_model.page import TPM_HEADER
from vtpm_model.ring import CANCEL, FINISH, RING, Ring

Steps = tuple[tuple[str, Mapping[str, Any]], ...]


def steps(*given: str | tuple[str, Mapping[str, Any]]) -> Steps:
    """The steps of a run; a name alone is an action without picks."""
    return tuple((step, {}) if isinstance(step, str) else step for step in given)


ASKED: tuple[str, Mapping[str, Any]] = ("frontend_submits", {"length": 22, "extra": 0})

CREATED = steps(("toolstack_creates", {"complete": True}), "backend_tracks", "backend_publishes_version")

PUBLISHED = steps(
    "frontend_allocates", "frontend_publishes", ("frontend_goes_to_initialised", {"directly": False})
)  # fmt: skip

PUBLISHED_BY_LINUX = steps("frontend_allocates", "frontend_publishes", "frontend_goes_to_initialised")

CONNECTED_BACKEND = steps("backend_looks", "backend_maps", "backend_goes_to_connected")


def detached_at_once(s: Device) -> bool:
    """The device was there and is gone, and the backend has let go of it."""
    gone = (s.be_state == UNKNOWN) & (s.fe_state == UNKNOWN) & (s.mapped == 0)
    return gone & (s.epoch == 1) & negate(s.tracked)


def ended_in_an_error(s: Device) -> bool:
    """The caller has returned without an answer, and CANCEL stays in the page, over which nothing is submitted."""
    return negate(s.waiting) & (s.delivered == 0) & (s.request == 1) & (s.page.state == CANCEL)


def served_before_connected(s: Device) -> bool:
    """The first answer was delivered, and neither end has been Connected yet."""
    return (s.delivered == 1) & (s.fe_state == INITIALISED) & (s.be_state == INIT_WAIT)


def answered_by_a_packet(s: Ring) -> bool:
    """The empty request was answered by a TPM packet, of which the caller was told, and the engine was not asked."""
    return (s.page.state == FINISH) & (s.page.length == TPM_HEADER) & (s.delivered == 1) & (s.commands == 0)


SITUATIONS = (
    Situation(
        id="i8",
        system=LINUX,
        sentence="A hot detach from Linux: Closing, Closed, gone, and no time runs out.",
        run=(
            *CREATED, *PUBLISHED_BY_LINUX, *CONNECTED_BACKEND,
            *steps(
                "frontend_goes_to_connected", "toolstack_detaches", "backend_looks", "frontend_loses_device",
                "frontend_closes", "backend_disconnects", "frontend_releases_page", "backend_closes",
                "backend_releases_device", "toolstack_removes",
            ),
        ),
        shown=detached_at_once,
    ),
    Situation(
        id="i9",
        system=DEVICE,
        sentence="The backend is dead: a call ends in an error after two bounded waits, and the next one is not begun.",
        run=(
            *CREATED, *PUBLISHED, *CONNECTED_BACKEND,
            *steps(
                "frontend_reads_version", "frontend_goes_to_connected", "backend_crashes", ASKED, "frontend_notifies",
                ("frontend_looks", {"header": 0}), "frontend_times_out", "frontend_cancels", "frontend_notifies",
                "frontend_gives_up",
            ),
        ),
        shown=ended_in_an_error,
    ),
    Situation(
        id="i11",
        system=LINUX,
        sentence="A request that was submitted before the port was bound, and before Connected, is served.",
        run=(
            *CREATED, *PUBLISHED_BY_LINUX,
            *steps(
                ASKED, "frontend_notifies", "backend_looks", "backend_maps", "backend_wakes",
                ("backend_fetches", {"permitted": True}), ("backend_finishes", {"reply": 30}), "backend_notifies",
                "frontend_wakes", ("frontend_looks", {"header": 30}),
            ),
        ),
        shown=served_before_connected,
    ),
    Situation(
        id="r14",
        system=RING,
        sentence="A request without a byte is answered by a TPM error, which is a packet.",
        run=steps(
            "frontend_connects", "backend_connects", ("frontend_submits", {"length": 0, "extra": 0}),
            "frontend_notifies", "backend_wakes",
            ("backend_refuses_request", {"permitted": True, "with_error": True}), "backend_notifies",
            "frontend_wakes", ("frontend_looks", {"header": TPM_HEADER}),
        ),
        shown=answered_by_a_packet,
    ),
)  # fmt: skip
