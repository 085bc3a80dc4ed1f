"""A backend as a service of domain 0, and our frontend, also as a program: sizes, extra pages, and being killed."""

from __future__ import annotations

import signal

from tests.xen import tpm12
from tests.xen.rig import Rig
from tests.xen.scenarios.common import ours_up

SERVICE = ("python3.11", "-m", "vtpm_impl.domain", "backend", "--record", "--engine", "echo")

LOOKS_AGAIN = '"ev": "event".* "state": 2,'
"""A line of the recorder: after an event the backend has found its own answer in the page, and no request."""


def service(rig: Rig) -> None:
    """Commands of 4 088 bytes, nr_extra_pages, vtpm frontend as a program; who is killed wakes the other end."""
    with rig.step("a backend is a service of domain 0", 60):
        rig.service("backend", *SERVICE)
        rig.says("backend", "domain 0 serves vTPMs with echo")
    guest = ours_up(rig, "vtpm=['backend=0']")
    with rig.step("commands of any size up to 4 088 bytes are carried", 90):
        rig.guest(guest, "open", timeout=rig.left())
        for size in (10, 11, 4087, 4088):
            got = rig.guest(guest, "transmit_sized", size=size)
            rig.check(got == {"size": size, "code": "00000000", "echoed": True}, f"{size} bytes: {got}")
        got = rig.guest(guest, "transmit_sized", size=4089)
        rig.check(got == {"error": "TooLong"}, f"4 089 bytes: {got}")
    with rig.step("requests behind extra pages are answered where they were", 60):
        command = tpm12.get_random(20)
        for extra in (1, 3, 255):
            got = rig.guest(guest, "with_extra_pages", command=command, extra=extra)
            wanted = {"state": 2, "extra": extra, "answer": f"00c40000000e00000000{command[20:]}"}
            rig.check(got == wanted, f"behind {extra} extra pages: {got}, not {wanted}")
    with rig.step("a service that is killed wakes its frontend: the kernel sends the event", 60):
        rig.guest(guest, "drain")
        rig.dom0("stop", name="backend", number=signal.SIGKILL)
        got = rig.guest(guest, "await_event", timeout=rig.left())
        rig.check(got == {"came": True, "page": 2, "backend": "4"}, f"after the backend's end the frontend sees {got}")
    with rig.step("started again it serves the same connection", 60):
        rig.service("backend", *SERVICE)
        got = rig.guest(guest, "transmit_sized", size=100)
        rig.check(got.get("echoed") is True, f"a command to the new service: {got}")
    with rig.step("the program `vtpm frontend` offers the TPM at a socket", 60):
        rig.guest(guest, "close")
        got = rig.guest(guest, "start_program", command=tpm12.get_random(20))
        rig.check(got == f"00c40000000e00000000{tpm12.get_random(20)[20:]}", f"the socket answers {got}")
        code = rig.guest(guest, "end_program", number=signal.SIGINT)
        rig.check(code == 0, f"the program ended with {code}")
    with rig.step("a program that is killed wakes its backend: the kernel sends the event", 60):
        rig.guest(guest, "start_program", command=tpm12.get_random(20))
        beyond = rig.said("backend")
        rig.guest(guest, "end_program", number=signal.SIGKILL)
        rig.says("backend", LOOKS_AGAIN, beyond)
    with rig.step("all is taken down without complaint", 60):
        rig.destroy("ours")
        code = rig.dom0("stop", name="backend")
        rig.check(code == 0, f"the service ended with {code}")
