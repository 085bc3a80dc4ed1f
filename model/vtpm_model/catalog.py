"""Every system that is specified here, by name, and every named variant of one."""

from __future__ import annotations

from typing import Any

from vtpm_model import order, page
from vtpm_model.core import Spec
from vtpm_model.device import DEVICE, HOSTILE, LINUX
from vtpm_model.isolation import ISOLATION
from vtpm_model.order import ORDER, ORDER_TSO
from vtpm_model.page import PAGE
from vtpm_model.recorder import RECORDER
from vtpm_model.ring import RING
from vtpm_model.watch import WATCH

SYSTEMS: dict[str, Spec[Any]] = {
    spec.name: spec for spec in (PAGE, ORDER, ORDER_TSO, WATCH, RING, DEVICE, LINUX, HOSTILE, ISOLATION)
}
"""The systems whose facts are proved."""

_VARIANTS: tuple[Spec[Any], ...] = (*page.DEFECTS.values(), *order.DEFECTS.values(), RECORDER)

VARIANTS: dict[str, Spec[Any]] = {spec.name: spec for spec in _VARIANTS}
"""The same systems with a known mistake in them; of each, some fact fails."""
