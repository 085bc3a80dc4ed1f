"""What one unprivileged domain may take of the store."""

from __future__ import annotations

from dataclasses import dataclass

from vtpm_impl.xen.xenstore.wire import RELATIVE_PATH_MAX


@dataclass(frozen=True)
class Quotas:
    """The limits that xenstored 4.17 has, with its defaults; the control domain has none but those of the protocol."""

    entries: int = 1000
    """Nodes that a domain owns; at this number it creates no further one (ENOSPC)."""
    watches: int = 128
    """A domain that has more than this number of watches sets no further one (E2BIG)."""
    node_size: int = 2048
    """Bytes of a node, all told, must stay below this (ENOSPC); see `tree.size`."""
    transactions: int = 10
    """A domain that has more than this number of open transactions starts no further one (ENOSPC)."""
    permissions: int = 5
    """Entries of a node's permissions (ENOSPC)."""
    transaction_nodes: int = 1024
    """Nodes that one transaction touches, missing ones counted (ENOSPC; its end then says ENOMEM)."""
    path: int = RELATIVE_PATH_MAX
    """Bytes of a path, below the domain's own where it begins with that (EINVAL); more than the default is not had."""
