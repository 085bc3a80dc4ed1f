"""What several scenarios begin with."""

from __future__ import annotations

from tests.xen.rig import Rig

BOOT_LIMIT = 180.0
"""Seconds for Xen and domain 0."""

BACKEND_LIMIT = 180.0
"""Seconds for a backend domain, whose software TPM may make a key of its own when it starts."""

GUEST_LIMIT = 150.0

LINUX, OURS, HOSTILE = "device.linux", "device", None
"""What a guest's frontend is, by the system of the specification that it is held against; None: it keeps no rule."""

UNRECORDED = (
    "extra='console=hvc0 loglevel=4 panic=1 mitigations=off tpm=1.2 -- "
    "backend --engine swtpm:/run/tpm,/run/tpm.control'"
)
"""A setting of a backend domain that is measured."""


def backend_up(rig: Rig, config: str = "backend", *settings: str) -> int:
    """Make a backend domain and wait until it serves; its number."""
    name = next((one[6:-1] for one in settings if one.startswith("name='")), config)
    with rig.step(f"the backend domain {name} is up", BACKEND_LIMIT):
        beyond = rig.console_size(name)
        domid = rig.create(config, *settings)
        rig.console_says(name, "serves vTPMs with", beyond)
    return domid


def linux_up(rig: Rig, *settings: str) -> int:
    """Make a Linux guest and wait until it has a TPM; its number."""
    with rig.step("a Linux guest is up, and has a TPM", GUEST_LIMIT):
        guest = rig.create("guest", *settings)
        rig.frontends[guest] = LINUX
        rig.await_agent(guest)
        rig.guest(guest, "await_tpm", timeout=rig.left())
        rig.await_node(f"/local/domain/{guest}/device/vtpm/0/state", "4")
    return guest


def ours_up(rig: Rig, *settings: str) -> int:
    """Make a guest for our own code; its number."""
    with rig.step("a guest with our own frontend is up", GUEST_LIMIT):
        guest = rig.create("ours", *settings)
        rig.frontends[guest] = OURS
        rig.await_agent(guest)
    return guest
