"""A line of a recorder's log: an object of JSON, whose fields are asked for by what they are to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vtpm_traces.files import shown
from vtpm_traces.observe import Origin


class Unusable(ValueError):
    """A line lacks something, or has something else in its place."""


@dataclass(frozen=True)
class JsonLine:
    """Where it is, and its fields."""

    origin: Origin
    fields: Mapping[str, Any]

    def number(self, key: str, high: int = 0xFFFF_FFFF) -> int:
        """A number from 0 to `high`. Raises Unusable."""
        value = self.fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
            raise Unusable(f"{key} is {shown(value)}, expected a number from 0 to {high}")
        return value
