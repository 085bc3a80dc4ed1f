"""A Linux guest finds its TPM by its own driver, uses it, loses it and gets it back."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import backend_up, linux_up

PROMPT = 8.0
"""Seconds for a device to be taken away: libxl waits 10 for a backend that does not close, and then complains."""


def boot(rig: Rig) -> None:
    """Boot; sysfs, commands through the device node; xl vtpm-list, vtpm-detach, vtpm-attach."""
    backend_up(rig)
    guest = linux_up(rig)
    with rig.step("sysfs shows the PCRs, and commands agree with it", 60):
        shown = tpm12.pcrs_of_sysfs(rig.guest(guest, "attribute", name="pcrs"))
        rig.check(len(shown) == 24, f"sysfs shows {len(shown)} PCRs")
        for number in (0, 10, 23):
            value = tpm12.value(rig.guest(guest, "tpm", command=tpm12.pcr_read(number)))
            rig.check(value == shown[number], f"PCR {number} is {shown[number]} in sysfs, {value} by command")
    with rig.step("a PCR is extended as SHA-1 says", 60):
        before = tpm12.value(rig.guest(guest, "tpm", command=tpm12.pcr_read(10)))
        after = tpm12.value(rig.guest(guest, "tpm", command=tpm12.extend(10, b"measured")))
        wanted = tpm12.extended(before, b"measured")
        read = tpm12.value(rig.guest(guest, "tpm", command=tpm12.pcr_read(10)))
        rig.check(after == wanted == read, f"PCR 10 is {read}, the answer said {after}, SHA-1 says {wanted}")
    with rig.step("random bytes differ", 60):
        some = [rig.guest(guest, "tpm", command=tpm12.get_random(16)) for _ in range(2)]
        rig.check(all(tpm12.code(one) == 0 for one in some), f"GetRandom answers {some}")
        rig.check(some[0] != some[1], f"GetRandom answers twice {some[0]}")
    with rig.step("xl lists the device, and takes it away promptly", 60):
        listed = rig.run("xl", "vtpm-list", "guest")
        row = listed.splitlines()[-1].split()
        rig.check(row[4] == "4", f"xl vtpm-list shows {listed}")
        taken = rig.quietly("xl", "vtpm-detach", "guest", "0")
        rig.found(f"detached in {taken:.1f} s")
        rig.check(taken < PROMPT * rig.patience, f"xl vtpm-detach took {taken:.1f} s")
        rig.await_node(f"/local/domain/{guest}/device/vtpm/0", None)
        rig.guest(guest, "await_tpm", timeout=rig.left(), there=False)
    with rig.step("xl gives it back", 60):
        taken = rig.timed("xl", "vtpm-attach", "guest", "backend=backend")
        rig.found(f"attached in {taken:.1f} s")
        rig.guest(guest, "await_tpm", timeout=rig.left())
        value = tpm12.value(rig.guest(guest, "tpm", command=tpm12.pcr_read(10)))
        rig.check(value == wanted, f"PCR 10 is {value}, no longer {wanted}")
    with rig.step("both domains are destroyed without complaint", 60):
        rig.destroy("guest", "backend")
