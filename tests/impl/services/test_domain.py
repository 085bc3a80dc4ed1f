"""The first process of a small domain: the standard library only, and wrong use told in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vtpm_impl import domain
from vtpm_impl.xen.linux.platform import is_there

IMPL = Path(domain.__file__).parent.parent


def test_it_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(IMPL)!r}); import vtpm_impl.domain"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert domain.main(["backend", "--engine", "tpm"]) == 2
    said = capsys.readouterr().err
    assert said == "vtpm: 'tpm' is no engine: echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL or tis:WHERE is meant\n"
    with pytest.raises(SystemExit) as ended:
        domain.main(["frontend"])
    assert ended.value.code == 2


@pytest.mark.skipif(is_there(), reason="this is a domain of Xen")
def test_without_xen_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert domain.main(["backend"]) == 1
    assert capsys.readouterr().err.startswith("vtpm: no store at ")
