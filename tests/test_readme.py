"""Every `vtpmspec` example of the README runs, and ends as it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^\$ (vtpmspec .*?)(?: +# exits with (\d))?$", README, re.MULTILINE)


def test_the_readme_has_examples_and_all_stand_in_console_blocks() -> None:
    blocks = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    fenced = [line for block in blocks for line in block.splitlines() if line.startswith("$ vtpmspec ")]
    assert len(fenced) == len(EXAMPLES) > 0


@pytest.mark.parametrize(("line", "code"), EXAMPLES, ids=[line for line, _ in EXAMPLES])
def test_an_example_ends_as_the_readme_says(line: str, code: str) -> None:
    command = Path(sys.executable).with_name("vtpmspec")
    said = subprocess.run(
        [command, *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert said.returncode == int(code or 0), said.stdout + said.stderr


def test_make_knows_every_target_that_the_readme_names() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"^    make ([a-z]+)|`make ([a-z]+)`", README, re.MULTILINE))
    targets = {target for pair in named for target in pair if target}
    assert {"verify", "test"} <= targets <= set(phony.split())


def test_the_first_instruction_installs_what_the_script_asks_for() -> None:
    script = (ROOT / "scripts" / "debian-packages.sh").read_text()
    script, peers, _ = script.partition("= peers ]")  # what follows is installed by `make test`
    assert peers
    needed = set(re.findall(r'missing="\$missing ([a-z0-9-]+)"', script))
    [line] = re.findall(r"apt-get install ([a-z0-9 -]+)", README)[:1]
    assert set(line.split()) == needed


def test_the_excerpts_of_the_model_stand_in_the_model() -> None:
    sources = [path.read_text() for path in (ROOT / "model").rglob("*.py")]
    excerpts = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert excerpts
    for excerpt in excerpts:
        assert any(excerpt in source for source in sources), excerpt
