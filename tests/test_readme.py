"""Every example of the README runs, and ends as it says."""

import re
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
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


def test_a_vtpm_on_this_host_is_had_as_the_readme_says() -> None:
    section = README.partition("## A vTPM on this host")[2].partition("\n## ")[0]
    lines = re.findall(r"^    (vtpm .*)$", section, re.MULTILINE)
    serving = [line for line in lines if line.split()[1] in ("backend", "frontend") or " serve " in line]
    assert len(serving) == 3
    assert len(lines) == 8
    command = str(Path(sys.executable).with_name("vtpm"))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, ExitStack() as stack:

        def words(line: str) -> list[str]:
            return [command, *shlex.split(line.replace("/tmp/vtpm", folder))[1:]]

        processes = []
        for line in serving:
            process = stack.enter_context(subprocess.Popen(words(line), stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            processes.append(process)
            assert process.stdout is not None
            assert process.stdout.readline()  # it is ready for the next
        said = {}
        for line in lines:
            if line not in serving:
                done = subprocess.run(words(line), capture_output=True, text=True, check=False, timeout=30)
                assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
                said[line.split()[1], line.split()[2]] = done.stdout
                if line.split()[2] == "create":
                    assert processes[2].stdout is not None
                    assert " is at " in processes[2].stdout.readline()
        assert "domain 1 (CONNECTED), served by domain 2 (CONNECTED)" in said["device", "list"]
        assert processes[2].wait(10) == 1  # its device was taken away
        for process in reversed(processes[:2]):
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


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
