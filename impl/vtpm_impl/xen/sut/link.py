"""Lines of JSON to and from the harness: each request has one answer (the protocol `vtpm-sut/1`)."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from vtpm_impl.xen.platform import PlatformError, StoreError, Unavailable

PROTOCOL = "vtpm-sut/1"


class LinkLost(Exception):
    """The harness is gone, or speaks another protocol."""


class RefusedByHarness(StoreError, Unavailable):
    """The harness, as the machine, says no; `reason` is the name of its error."""

    def __init__(self, asked: str, reason: str) -> None:
        super().__init__(f"{asked}: {reason}")
        self.reason = reason


class Link:
    """Speaks with the harness. `now` is the time as it was told last, in milliseconds."""

    def __init__(self, from_harness: BinaryIO, to_harness: BinaryIO) -> None:
        self._from = from_harness
        self._to = to_harness
        self.now = 0

    def ask(self, do: str, **fields: object) -> dict[str, Any]:
        """The harness's answer to a request. Raises RefusedByHarness and LinkLost."""
        request = {"do": do, **{name: value for name, value in fields.items() if value is not None}}
        self._to.write(json.dumps(request).encode("ascii") + b"\n")
        self._to.flush()
        line = self._from.readline()
        if not line.endswith(b"\n"):
            raise LinkLost("the harness has closed the line")
        try:
            answer = json.loads(line)
            if answer["ok"] is True:
                return dict(answer)
            reason = str(answer["error"])
        except (ValueError, LookupError, TypeError) as error:
            raise LinkLost(f"the harness answers {line[:60]!r}") from error
        raise RefusedByHarness(f"{request}", reason)

    def wait(self, within: float | None = None) -> dict[str, Any]:
        """What happens next; at most `within` milliseconds from now, if given."""
        event = self.ask("wait", within=None if within is None else max(0, round(within)))
        self.now = event["now"]
        return event


__all__ = ["PROTOCOL", "Link", "LinkLost", "PlatformError", "RefusedByHarness"]
