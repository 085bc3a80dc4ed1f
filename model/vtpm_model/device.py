"""The composed system: one device, whole, with each of the frontends that it is proved against."""

from __future__ import annotations

import dataclasses

from vtpm_model import handshake, hostile, linux, ring
from vtpm_model.core import Actor, Spec
from vtpm_model.handshake import Device, no_device

DEVICE = Spec(
    name="device",
    doc="page, ring, handshake and toolstack of one device, with a frontend that meets every obligation",
    state=Device,
    init=no_device,
    actions=(
        *handshake.TOOLSTACK_ACTIONS,
        *handshake.FRONTEND_ACTIONS,
        handshake.frontend_submits,
        *(a for a in ring.REQUEST_ACTIONS if a.name != "frontend_submits"),
        *handshake.BACKEND_ACTIONS,
        *ring.ANSWER_ACTIONS,
        *ring.SURPRISES,
    ),
    facts=ring.FACTS + handshake.FACTS,
    lemmas=ring.LEMMAS + handshake.LEMMAS,
    liveness=ring.LIVENESS + handshake.LIVENESS,
    fair=ring.FAIR | handshake.FAIR,
)

LINUX = dataclasses.replace(
    DEVICE.variant(
        "linux",
        doc="the same device with the frontend of Linux, as it is",
        replaced=linux.REPLACED,
        added=linux.ADDED,
        dropped=linux.DROPPED,
    ),
    name="device.linux",
    facts=tuple(f for f in DEVICE.facts if f.name not in linux.VIOLATES),
    liveness=tuple(c for c in DEVICE.liveness if c.name not in linux.VIOLATES),
)

HOSTILE = dataclasses.replace(
    DEVICE.variant(
        "hostile",
        doc="the same device with a frontend that keeps no rule at all",
        added=hostile.ACTIONS,
        dropped=tuple(a.name for a in DEVICE.actions if a.by == Actor.FRONTEND),
    ),
    name="device.hostile",
    facts=(*(f for f in DEVICE.facts if f.about == Actor.BACKEND), ring.a_mapped_page_is_not_used_again),
    lemmas=hostile.LEMMAS,
    liveness=hostile.LIVENESS,
)
