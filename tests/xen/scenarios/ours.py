"""Our own frontend in a PV domain does what Linux never does."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import backend_up, ours_up

NOT_LOCAL = 0x33
"""TPM_NOTLOCAL: this locality may not do that."""


def ours(rig: Rig) -> None:
    """Locality, and cancel in service."""
    backend_up(rig)
    guest = ours_up(rig)
    with rig.step("localities are those of the command", 60):
        rig.guest(guest, "open", timeout=rig.left())
        codes = {
            locality: tpm12.code(rig.guest(guest, "transmit", command=tpm12.pcr_reset(20), locality=locality))
            for locality in (0, 2, 1, 4)
        }
        rig.check(codes[0] == NOT_LOCAL and codes[2] == 0, f"PCR_Reset(20) answers by locality: {codes}")
        rig.found(f"PCR_Reset(20) answers by locality: {codes}")
    with rig.step("a command is cancelled in service, and the next is answered", 120):
        ended = rig.guest(guest, "cancel_in_service", command=tpm12.make_key(), after=0.2)
        rig.found(f"{ended['ended'].split(';')[0]} after {ended['seconds']:.1f} s")
        rig.check(not ended["ended"].startswith("00c4"), f"the command was answered before it was cancelled: {ended}")
        rig.guest(guest, "await_free", timeout=rig.left())
        read = rig.guest(guest, "transmit", command=tpm12.pcr_read(0))
        rig.check(tpm12.code(read) == 0, f"PCRRead then answers {read}")
    with rig.step("our frontend leaves, and both domains are destroyed without complaint", 60):
        rig.guest(guest, "close")
        rig.destroy("ours", "backend")
