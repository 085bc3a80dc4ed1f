"""A guest is saved and restored, and migrated to the machine that it is on."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import backend_up, linux_up


def migration(rig: Rig) -> None:
    """Save, restore, migrate by xl: the vTPM is connected anew each time, with the TPM as it was."""
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
    with rig.step("the guest is migrated to this very machine, and finds the same TPM", 200):
        rig.found(f"in {rig.timed('xl', 'migrate', '-s', '', 'guest', 'xl migrate-receive'):.1f} s")
        _served_again(rig, kept)
    with rig.step("both domains are destroyed without complaint", 60):
        rig.destroy("guest", "backend")


def _served_again(rig: Rig, kept: str) -> int:
    guest = rig.await_domain("guest")
    rig.linux.add(guest)
    rig.await_node(f"/local/domain/{guest}/device/vtpm/0/state", "4")
    rig.guest(guest, "await_tpm", timeout=rig.left())
    rig.found(f"its device node is {', '.join(rig.guest(guest, 'names'))}")
    found = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
    rig.check(found == kept, f"PCR 10 was {kept}, and is {found}")
    return guest
