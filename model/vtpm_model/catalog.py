"""Every system that is specified here, by name, and every named variant of one."""

from __future__ import annotations

from typing import Any

from vtpm_model import order, page
from vtpm_model.core import Spec
from vtpm_model.defects import DEFECT_VARIANTS, at_the_ring
from vtpm_model.device import DEVICE, HOSTILE, LINUX
from vtpm_model.driven import DRIVEN
from vtpm_model.driven_linux import DRIVEN_LINUX
from vtpm_model.isolation import ISOLATION
from vtpm_model.minios import MINIOS
from vtpm_model.order import ORDER, ORDER_TSO
from vtpm_model.page import PAGE
from vtpm_model.recorder import RECORDER
from vtpm_model.ring import RING
from vtpm_model.tis import TIS
from vtpm_model.tis_device import QEMU, TIS_DEVICE
from vtpm_model.watch import WATCH

SYSTEMS: dict[str, Spec[Any]] = {
    spec.name: spec for spec in (PAGE, ORDER, ORDER_TSO, WATCH, RING, DEVICE, LINUX, HOSTILE, ISOLATION, TIS)
}
"""The systems whose facts are proved."""

SURROUNDINGS: dict[str, Spec[Any]] = {spec.name: spec for spec in (DRIVEN, DRIVEN_LINUX, TIS_DEVICE, QEMU)}
"""Systems that only recordings are held against: devices in the hands of software that is not held to any rule."""

_OTHERS: tuple[Spec[Any], ...] = (
    *page.DEFECTS.values(),
    *order.DEFECTS.values(),
    at_the_ring.ACKNOWLEDGED_BY_ANOTHER,
    RECORDER,
    MINIOS,
)

VARIANTS: dict[str, Spec[Any]] = {spec.name: spec for spec in _OTHERS} | DEFECT_VARIANTS
"""Systems with a known mistake in them; of each, some fact fails."""


def variant(name: str) -> Spec[Any]:
    """The variant of that name, in full ("device.linux+i4") or in short where it is the only one ("i4").

    Raises KeyError with a sentence that says what there is.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    meant = [full for full in VARIANTS if full.rpartition("+")[2] == name]
    if len(meant) == 1:
        return VARIANTS[meant[0]]
    there = f"say which: {', '.join(meant)}" if meant else f"there are {', '.join(VARIANTS)}"
    raise KeyError(f"no one variant is called {name!r}; {there}")
