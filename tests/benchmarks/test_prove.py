"""How long proving everything takes, against what is promised: 10 s cold, 30 s with both solvers, 2 s warm."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def seconds(cache: Path, *words: str) -> float:
    """The wall-clock time of a `vtpmspec prove` that holds."""
    environment = dict(os.environ, XDG_CACHE_HOME=str(cache))
    begun = time.perf_counter()
    command = [sys.executable, "-m", "vtpm_proofs.cli", "prove", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun


@pytest.mark.parametrize(("words", "budget"), [((), 10.0), (("--solver", "z3,cvc5"), 30.0)])
def test_cold_and_then_warm(tmp_path: Path, words: tuple[str, ...], budget: float) -> None:
    assert seconds(tmp_path, *words) < budget
    assert seconds(tmp_path, *words) < 2.0
