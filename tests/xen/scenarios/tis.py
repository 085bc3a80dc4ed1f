"""The TIS driver in a PV domain, and the machine's own TPM behind a backend."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import backend_up, linux_up
from tests.xen.scenarios.ours import NOT_LOCAL


def tis(rig: Rig) -> None:
    """Registers through /dev/mem of a PV domain; then a Linux guest reads the same TPM through a vTPM."""
    with rig.step("a domain with the TPM's registers is up", 120):
        domain = rig.create("tis")
        rig.await_agent(domain)
    with rig.step("the driver reads, extends, resets and draws random bytes", 90):
        got = rig.guest(domain, "tis", commands=[
            [0, tpm12.pcr_read(0)], [0, tpm12.pcr_read(16)], [0, tpm12.extend(16, b"by TIS")], [0, tpm12.pcr_read(16)],
            [0, tpm12.get_random(16)], [0, tpm12.pcr_reset(20)], [2, tpm12.pcr_reset(20)], [1, tpm12.pcr_reset(20)],
        ])  # fmt: skip
        codes = [tpm12.code(one) for one in got]
        rig.check(codes == [0, 0, 0, 0, 0, NOT_LOCAL, 0, NOT_LOCAL], f"the return codes are {codes}")
        measured = tpm12.value(got[0])
        rig.check(measured.strip("0") != "", "the machine's firmware has measured nothing into PCR 0")
        wanted = tpm12.extended(tpm12.value(got[1]), b"by TIS")
        rig.check(tpm12.value(got[3]) == wanted, f"PCR 16 is {tpm12.value(got[3])}, SHA-1 says {wanted}")
    with rig.step("200 commands in a row", 90):
        got = rig.guest(domain, "repeat_tis", command=tpm12.pcr_read(0), count=200)
        rig.check([tpm12.value(one) for one in got["answers"]] == [measured], f"PCR 0 is {got['answers']}")
        rig.found(f"median {got['us']['median'] / 1e3:.1f} ms")
    with rig.step("the domain is destroyed", 60):
        rig.destroy("tis")
    backend_up(rig, "manager")
    guest = linux_up(rig, "vtpm=['backend=manager']")
    with rig.step("a Linux guest reads through its vTPM what the firmware has measured", 60):
        read = tpm12.value(rig.guest(guest, "tpm", command=tpm12.pcr_read(0)))
        rig.check(read == measured, f"PCR 0 is {read} in the guest, {measured} at the registers")
    with rig.step("both domains are destroyed without complaint", 60):
        rig.destroy("guest", "manager")
