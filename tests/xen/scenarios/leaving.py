"""Either end goes away and comes back: the driver, the guest, the backend's domain."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import LINUX, backend_up, linux_up

RELOADS = 50
TOLD = 10
"""Reloads of one step."""


def leaving(rig: Rig) -> None:
    """The driver is reloaded 50 times; the guest reboots, dies in mid-command; the backend's domain, too."""
    backend_up(rig)
    guest = linux_up(rig)
    for first in range(0, RELOADS, TOLD):
        with rig.step(f"the driver is unloaded and loaded {first + TOLD} times, with a command each time", 240):
            wanted = rig.guest(guest, "tpm", command=tpm12.pcr_read(0))
            done = rig.guest(guest, "reload", times=TOLD, command=tpm12.pcr_read(0))
            rig.check(done["answers"] == [wanted], f"the answers were {done['answers']}, not {wanted}")
            rig.found(f"{done['seconds'] / TOLD:.2f} s each")
    with rig.step("the guest reboots, and has its TPM again", 150):
        rig.guest(guest, "tpm", command=tpm12.extend(10, b"before the reboot"))
        kept = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
        rig.guest(guest, "reboot")
        rig.await_node(f"/local/domain/{guest}/name", None)
        guest = rig.await_domain("guest")
        rig.frontends[guest] = LINUX
        rig.await_agent(guest)
        rig.guest(guest, "await_tpm", timeout=rig.left())
        found = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
        rig.check(found == kept, f"PCR 10 of the backend's TPM was {kept}, and is {found}")
    with rig.step("the guest is destroyed in mid-command", 90):
        rig.guest(guest, "begin", command=tpm12.make_key())
        taken = rig.quietly("xl", "destroy", "guest")
        rig.found(f"in {taken:.1f} s")
    guest = linux_up(rig)
    with rig.step("the backend's domain is destroyed and made again", 180):
        beyond = rig.console_size("backend")
        rig.run("xl", "destroy", "backend")
        rig.create("backend")
        rig.console_says("backend", "serves vTPMs with", beyond)
    with rig.step("the guest is given its device anew", 90):
        rig.run("xl", "vtpm-detach", "guest", "0", code=None)
        rig.await_node(f"/local/domain/{guest}/device/vtpm/0", None)
        rig.guest(guest, "await_tpm", timeout=rig.left(), there=False)
        rig.run("xl", "vtpm-attach", "guest", "backend=backend")
        rig.guest(guest, "await_tpm", timeout=rig.left())
        read = rig.guest(guest, "tpm", command=tpm12.pcr_read(10))
        rig.check(tpm12.value(read) == "00" * 20, f"PCR 10 of a new TPM is {read}")
    with rig.step("both domains are destroyed without complaint", 60):
        rig.destroy("guest", "backend")
