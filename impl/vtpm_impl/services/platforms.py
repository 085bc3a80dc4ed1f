"""Which platform a service runs on: the domain of Xen that this machine is, or a pretended one of this host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from vtpm_impl.xen.linux.platform import LinuxPlatform, is_there
from vtpm_impl.xen.platform import Platform, PlatformError
from vtpm_impl.xenbus.journal import Journals, journals_in, silent


class Kind(Enum):
    """The platforms that there are."""

    XEN = "xen"
    HOST = "host"


@contextlib.contextmanager
def platforms(
    kind: Kind | None, run_dir: Path, domain: int, log: Path | None = None
) -> Iterator[tuple[Callable[[], Platform], Journals]]:
    """What makes platforms of this domain, each with a connection to the store of its own, and its journals.

    Raises PlatformError. `log` is the folder of event logs, which processes of one host write together.

    Without a kind it is Xen where there is one; `run_dir` and `domain` are the host platform's.
    """
    with contextlib.ExitStack() as stack:
        if kind is Kind.XEN or (kind is None and is_there()):
            if log is not None:
                raise PlatformError("event logs are of processes of one host; what is done on Xen is recorded instead")
            yield (lambda: stack.enter_context(LinuxPlatform())), silent
        else:
            from vtpm_impl.xen.host.platform import HostDomain

            journals = journals_in(log)
            yield stack.enter_context(HostDomain(run_dir, domain, journals)).platform, journals
