"""QEMU and swtpm as peers: where both are installed, a machine with a TPM behind the TIS can be started."""

from __future__ import annotations

import os

import pytest

from vtpm_impl.tis.qemu import missing


def required() -> None:
    """Skip the test with a plain word where there is no such machine; in continuous integration fail."""
    reason = missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and continuous integration must have it")
        pytest.skip(f"unsupported here: {reason}")
