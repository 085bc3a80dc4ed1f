"""What can go wrong between a driver and a TPM behind the TIS; every message shows the value that tells it."""

from __future__ import annotations

from vtpm_impl.engines import EngineError


class TisError(EngineError):
    """A command was not answered, or the device cannot be used."""


class BadCommand(TisError):
    """What the caller gave is no whole command; nothing was written."""


class CarrierError(TisError):
    """The registers cannot be reached at all."""


class Absent(TisError):
    """There is no TPM at the address."""


class LocalityDenied(TisError):
    """The locality was not granted in time."""


class LocalityLost(TisError):
    """The locality is no longer ours, as after a reset; what became of the command is not known."""


class Seized(LocalityLost):
    """A higher locality has taken the TPM."""


class TimedOut(TisError):
    """The device did not do in time what it must."""


class Dropped(TisError):
    """The command was dropped before it was answered: by `abort`, or by the device."""


class Violation(TisError):
    """The device says what the specification does not allow here."""


class MalformedResponse(TisError):
    """The device's bytes are no whole response."""
