"""A domain's own nodes in xenstore, made before it is introduced and removed when it is gone (libxl__domain_make)."""

from __future__ import annotations

from vtpm_impl.xen.xenstore.client import Client


def home(domid: int) -> str:
    """The directory of a domain, below which its relative paths lie."""
    return f"/local/domain/{domid}"


def build(client: Client, domid: int) -> None:
    """Let a domain connect to the store, as the control domain; what an earlier one of this number left is removed.

    The domain reads what is its own; it writes below `data` and `error` only, and where a device is made for it.
    """
    remove(client, domid)
    client.introduce(domid)
    readable, own = ["n0", f"r{domid}"], [f"n{domid}"]
    permissions = {"": readable, "/device": readable, "/data": own, "/error": own, "/domid": readable}
    for transaction in client.transaction():
        with transaction:
            for name, permitted in permissions.items():
                transaction.mkdir(home(domid) + name)
                transaction.set_perms(home(domid) + name, permitted)
            transaction.write(f"{home(domid)}/domid", b"%d" % domid)


def remove(client: Client, domid: int) -> None:
    """Take a domain's nodes away, and its connection, as far as there are any."""
    if client.is_introduced(domid):
        client.release(domid)
    if client.read_or_none(home(domid)) is not None:
        client.rm(home(domid))
