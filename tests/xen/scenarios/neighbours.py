"""Several guests: on one backend domain, on two, and one of them hostile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import HOSTILE, backend_up, linux_up, ours_up

COMMANDS = 100
HOSTILE_SECONDS = 20.0


def neighbours(rig: Rig) -> None:
    """Two guests share a backend domain, then have one each; a hostile guest does not disturb the other."""
    backend_up(rig)
    guest = linux_up(rig)
    other = ours_up(rig)
    with rig.step("two guests use one backend at the same time", 180):
        rig.guest(other, "open", timeout=rig.left())
        rig.guest(guest, "tpm", command=tpm12.extend(11, b"of the first"))
        wanted = rig.guest(guest, "tpm", command=tpm12.pcr_read(11))
        with ThreadPoolExecutor() as both:
            one = both.submit(rig.guest, guest, "repeat", command=tpm12.pcr_read(11), count=COMMANDS)
            two = both.submit(rig.guest, other, "repeat_ours", command=tpm12.get_random(20), count=COMMANDS)
            first, second = one.result(), two.result()
        rig.check(first["answers"] == [wanted], f"PCR 11 is {wanted}; the first guest got {first['answers']}")
        rig.check(len(second["answers"]) > 1, f"the second guest's random bytes are always {second['answers']}")
        rig.check(wanted not in second["answers"], f"the second guest got an answer of the first one's: {wanted}")
        rig.found(f"{COMMANDS} commands each, median {first['us']['median'] / 1e3:.1f} and "
                  f"{second['us']['median'] / 1e3:.1f} ms")  # fmt: skip
        rig.guest(other, "close")
    with rig.step("one of them is hostile, and the other is not disturbed", 150):
        rig.frontends[other] = HOSTILE
        with ThreadPoolExecutor() as both:
            bad = both.submit(rig.guest, other, "vandalize", seed=5, seconds=HOSTILE_SECONDS)
            got = rig.guest(guest, "repeat", command=tpm12.pcr_read(11), count=COMMANDS)
            done = bad.result()
        rig.check(got["answers"] == [wanted], f"PCR 11 is {wanted}; beside a hostile guest it was {got['answers']}")
        rig.check(done["stores"] > 100, f"the hostile guest did only {done}")
        rig.check(done["connected"] > 0, f"the hostile guest was never connected: {done}")
        rig.found(f"{done['stores']} hostile stores, {done['connected']} times seen connected")
        rig.found(
            f"the other's median {got['us']['median'] / 1e3:.1f} ms, nine of ten in {got['us']['ninth'] / 1e3:.0f} ms"
        )
    with rig.step("the hostile guest is destroyed without complaint", 60):
        rig.destroy("ours")
    backend_up(rig, "backend", "name='second'")
    other = ours_up(rig, "vtpm=['backend=second']")
    with rig.step("two guests on two backend domains have a TPM each", 90):
        rig.guest(other, "open", timeout=rig.left())
        here = tpm12.value(rig.guest(guest, "tpm", command=tpm12.pcr_read(11)))
        there = tpm12.value(rig.guest(other, "transmit", command=tpm12.pcr_read(11)))
        rig.check(here == tpm12.value(wanted), f"PCR 11 of the first TPM is {here}, no longer {wanted}")
        rig.check(there == "00" * 20, f"PCR 11 of the second TPM is {there}")
    with rig.step("all domains are destroyed without complaint", 90):
        rig.destroy("guest", "ours", "backend", "second")
