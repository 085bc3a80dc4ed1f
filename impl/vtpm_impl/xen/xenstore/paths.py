"""Paths of the xenstore: which are valid, what a relative one means, and who is above whom."""

from __future__ import annotations

import re
from typing import Final

from vtpm_impl.xen.xenstore.wire import RELATIVE_PATH_MAX

SPECIAL: Final = ("@introduceDomain", "@releaseDomain")
"""Not nodes: a watch on one fires when a domain appears or goes, and its permissions say who may know."""

_VALID = re.compile(r"/|(?:/[-A-Za-z0-9_@]+)+")
_DOMAIN = re.compile(r"/local/domain/(?:-?[0-9]{1,4}|[0-9]{5})/")


def is_valid(path: str, limit: int = RELATIVE_PATH_MAX) -> bool:
    """Whether an absolute path may name a node; `limit` is in bytes and counts from below a domain's own path."""
    if _VALID.fullmatch(path) is None:
        return False
    if len(path) <= limit:
        return True
    domain = _DOMAIN.match(path)
    return domain is not None and len(path) <= domain.end() + limit


def is_relative(path: str) -> bool:
    """Whether a path is meant from the domain's own path; an empty one is."""
    return not path.startswith(("/", "@"))


def absolute(path: str, base: str) -> str:
    """Give the path that a client with the given base means."""
    return f"{base}/{path}" if is_relative(path) else path


def parent(path: str) -> str:
    """Give the path above; the root is above itself."""
    return path[: path.rfind("/")] or "/"


def name(path: str) -> str:
    """Give the last part of a path."""
    return path[path.rfind("/") + 1 :]


def child(path: str, leaf: str) -> str:
    """Give the path of a child."""
    return f"{path}/{leaf}" if path != "/" else f"/{leaf}"
