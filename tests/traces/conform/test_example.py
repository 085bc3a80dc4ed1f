"""The backend in C, whose shim was written from the page of the protocol: it builds, and it conforms."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vtpm_traces.conform.campaign import Campaign
from vtpm_traces.conform.trial import Verdict, kept_scripts

SOURCE = Path(__file__).parents[2] / "peers" / "sut"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> str:
    missing = [tool for tool in ("gcc", "make") if shutil.which(tool) is None]
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"{' and '.join(missing)} must be there")
        pytest.skip(f"{' and '.join(missing)} is not installed")
    folder = tmp_path_factory.mktemp("sut")
    subprocess.run(["make", "-s", "-C", str(SOURCE), f"OUT={folder}", "CC=gcc"], check=True)
    return str(folder / "backend")


def test_the_backend_in_c_conforms(backend: str) -> None:
    campaign = Campaign([backend], runs=20, patience=20, shrink=False, only=("accept/*", "random/*"))
    ended = list(campaign.play())
    assert campaign.name == "example in C"
    assert [(one.run, one.sentence) for one in ended if one.verdict is not Verdict.SUCCESS] == []
    assert sum(one.kind == "accept" for one in ended) == sum(
        name.startswith("accept/") for name in kept_scripts("backend")
    )
