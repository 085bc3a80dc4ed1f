"""Which platform a service runs on: the domain of Xen that this machine is, or a pretended one of this host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from vtpm_impl.xen.linux.platform import LinuxPlatform, is_there
from vtpm_impl.xen.platform import Platform


class Kind(Enum):
    """The platforms that there are."""

    XEN = "xen"
    HOST = "host"


@contextlib.contextmanager
def platforms(kind: Kind | None, run_dir: Path, domain: int) -> Iterator[Callable[[], Platform]]:
    """What makes platforms of this domain, each with a connection to the store of its own. Raises PlatformError.

    Without a kind it is Xen where there is one; `run_dir` and `domain` are the host platform's.
    """
    with contextlib.ExitStack() as stack:
        if kind is Kind.XEN or (kind is None and is_there()):
            yield lambda: stack.enter_context(LinuxPlatform())
        else:
            from vtpm_impl.xen.host.platform import HostDomain

            yield stack.enter_context(HostDomain(run_dir, domain)).platform
