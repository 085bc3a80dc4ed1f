"""How long a TPM may take for a command: the classes into which TCG puts ordinals, with seconds.

A TPM can be asked for its own figures, and some lie. These are no shorter than those of the usual drivers.
"""

from __future__ import annotations

from enum import Enum


class Duration(Enum):
    """A class of commands, with its seconds."""

    SHORT = 2.0
    MEDIUM = 20.0
    LONG = 60.0
    KEY = 300.0  # generates keys, TPM 2.0
    UNKNOWN = 120.0  # in no class
