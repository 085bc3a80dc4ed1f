"""The composed system: one device, whole, with each of the frontends that it is proved against."""

from __future__ import annotations

from vtpm_model import handshake, ring
from vtpm_model.core import Spec
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
