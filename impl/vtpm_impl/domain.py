"""The first process of a small domain of Xen: `vtpm backend` or `vtpm frontend` with nothing but the standard library.

python3 -m vtpm_impl.domain backend --engine swtpm:/run/tpm,/run/tpm.control
python3 -m vtpm_impl.domain frontend --listen /run/tpm
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vtpm_impl.engines import EngineError
from vtpm_impl.services.backend import NoSuchEngine, make_engine, serve_backend
from vtpm_impl.services.frontend import serve_frontend
from vtpm_impl.tpm.server import ServerError
from vtpm_impl.xen.linux.platform import LinuxPlatform
from vtpm_impl.xen.platform import PlatformError
from vtpm_impl.xenbus.frontend import FrontendError


def main(arguments: list[str] | None = None) -> int:
    """Do it until interrupted. 0: done; 1: it could not be done; 2: wrong use."""
    parser = argparse.ArgumentParser(prog="vtpm_impl.domain", description="Be one end of vTPMs in this domain of Xen.")
    ends = parser.add_subparsers(dest="end", required=True)
    backend = ends.add_parser("backend", help="serve every vTPM that the toolstack gives this domain")
    backend.add_argument("--engine", default="echo", help="echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL, or tis:devmem")
    backend.add_argument(
        "--record",
        action="store_true",
        help="print what is read, written and seen, a JSON line each; sentences go to stderr",
    )
    frontend = ends.add_parser("frontend", help="let programs use this domain's vTPM at a socket")
    frontend.add_argument("--listen", type=Path, required=True, metavar="SOCKET", help="the Unix socket to make")
    frontend.add_argument("--handle", type=int, default=0, help="the number of the device")
    frontend.add_argument(
        "--locality", type=int, choices=range(256), default=0, metavar="0..255", help="of every command"
    )
    asked = parser.parse_args(arguments)
    try:
        return _backend(asked.engine, record=asked.record) if asked.end == "backend" else _frontend(asked)
    except NoSuchEngine as error:
        _complain(str(error))
        return 2
    except (EngineError, FrontendError, PlatformError, ServerError) as error:
        _complain(str(error))
        return 1


def _backend(named: str, *, record: bool) -> int:
    engine, localities = make_engine(named)
    try:
        with LinuxPlatform() as platform:
            say, record_line = (_say_aside, _say) if record else (_say, None)
            serve_backend(platform, engine, localities, named, say, record_line)
    finally:
        engine.close()
    return 0


def _frontend(asked: argparse.Namespace) -> int:
    with LinuxPlatform() as platform:
        kept = serve_frontend(
            platform, asked.handle, asked.listen, locality=asked.locality, timeout=None, say=_say, complain=_complain
        )
    return 0 if kept else 1


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _say_aside(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _complain(sentence: str) -> None:
    _say_aside(f"vtpm: {sentence}")


if __name__ == "__main__":
    sys.exit(main())
