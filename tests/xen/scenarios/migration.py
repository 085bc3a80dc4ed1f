"""A guest is saved and restored; migration is where it ends with Debian's Xen."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import LINUX, backend_up, linux_up

NO_MIGRATION = "Failed to enable logdirty"
"""Debian builds Xen without CONFIG_SHADOW_PAGING, without which the pages that a PV guest writes cannot be followed."""


def migration(rig: Rig) -> None:
    """Save and restore by xl: the vTPM is connected anew, with the TPM as it was. Migration is refused by Xen."""
    backend_up(rig)
    guest = linux_up(rig)
    with rig.step("a PCR is extended", 30):
        rig.guest(guest, "tpm", command=tpm12.extend(10, b"before"))
        kept = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
    with rig.step("the guest is saved", 120):
        rig.found(f"in {rig.timed('xl', 'save', 'guest', '/run/guest.saved'):.1f} s")
    with rig.step("the guest is restored, and finds the same TPM", 150):
        rig.found(f"in {rig.timed('xl', 'restore', '/run/guest.saved'):.1f} s")
        guest = _served_again(rig, kept)
        rig.run("rm", "/run/guest.saved")
    with rig.step("Debian's Xen refuses to migrate a PV guest, which goes on", 200):
        said = rig.run("xl", "migrate", "-s", "", "guest", "xl migrate-receive", code=1)
        rig.check(NO_MIGRATION in said, f"xl migrate should fail by {NO_MIGRATION!r}, and says: {said}")
        found = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
        rig.check(found == kept, f"PCR 10 was {kept}, and is {found}")
    with rig.step("both domains are destroyed without complaint", 60):
        rig.destroy("guest", "backend")


def _served_again(rig: Rig, kept: str) -> int:
    guest = rig.await_domain("guest")
    rig.frontends[guest] = LINUX
    rig.await_node(f"/local/domain/{guest}/device/vtpm/0/state", "4")
    rig.guest(guest, "await_tpm", timeout=rig.left())
    rig.found(f"its device node is {', '.join(rig.guest(guest, 'names'))}")
    found = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
    rig.check(found == kept, f"PCR 10 was {kept}, and is {found}")
    return guest
