"""Known defects, each a named variant with the fact that fails on it, and what a sound system does in their place."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from vtpm_model.core import Spec
from vtpm_model.defects import at_the_handshake, at_the_ring, at_the_tis, between_frontends, situations
from vtpm_model.defects.defect import Defect, Situation

DEFECTS = MappingProxyType(
    {
        defect.id: defect
        for defect in (*at_the_ring.DEFECTS, *at_the_handshake.DEFECTS, *between_frontends.DEFECTS, *at_the_tis.DEFECTS)
    }
)  # fmt: skip
"""Every known defect, by its row."""

SITUATIONS = MappingProxyType({situation.id: situation for situation in situations.SITUATIONS})
"""What a sound system does where others fail, by its row."""

DEFECT_VARIANTS: dict[str, Spec[Any]] = {defect.variant.name: defect.variant for defect in DEFECTS.values()}
"""The variants, by name: "ring+r8", "device.linux+i4"."""

__all__ = ["DEFECTS", "DEFECT_VARIANTS", "SITUATIONS", "Defect", "Situation"]
