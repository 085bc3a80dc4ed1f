"""The machine: QEMU with Xen and domain 0 on it, a software TPM behind its TIS, and a line to domain 0's agent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.xen.images import HERE, Images

MEMORY: Final = 2048
"""MiB of the machine; domain 0 gets DOM0_MEMORY of them."""

DOM0_MEMORY: Final = 768

# without -smap Linux as domain 0 dies at once on QEMU 7.2; without eager-fpu domains lose vector registers to each
# other; without -rdtscp a PVH guest dies; an ordinary machine needs none of them
PROCESSOR: Final = "max,-smap,-rdtscp"
XEN_OPTIONS: Final = (
    f"console=com1 com1=115200,8n1 dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M loglvel=all guest_loglvl=all "
    "sched=credit spec-ctrl=no,eager-fpu=yes"
)
# initcall_blacklist: the TPM of the machine is for the domain that gets its registers, not for domain 0's kernel
DOM0_OPTIONS: Final = "console=hvc0 panic=1 mitigations=off loglevel=4 initcall_blacklist=init_tis"


class MachineError(Exception):
    """The machine does not do what it is told; the message says why."""


class Machine:
    """QEMU, its TPM, and the agent of domain 0, as a context manager that leaves nothing running."""

    def __init__(self, images: Images, folder: Path) -> None:
        """`folder` takes the logs, and what domain 0 shares with this host."""
        self._images = images
        self.share = folder / "share"
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {0: queue.SimpleQueue()}
        self._lock = threading.Lock()
        self._asked = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.pid

    def processor(self) -> float:
        """Seconds of a processor that QEMU has used, which does not depend on what else this host does."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _start(self) -> None:
        self.share.mkdir(parents=True)
        (self.share / "logs").mkdir()
        for image in (self._images.kernel, self._images.domain):
            shutil.copyfile(image, self.share / image.name)
        for config in (HERE / "xl").glob("*.cfg"):
            shutil.copy(config, self.share)
        state = self._folder / "tpm"
        state.mkdir()
        control, controlled = self._pair()
        line, lined = self._pair()
        self._spawn(
            "swtpm", ["swtpm", "socket", "--tpmstate", f"dir={state}",
            "--ctrl", f"type=unixio,clientfd={controlled.fileno()}"], controlled,
        )  # fmt: skip
        initrd = f"{self._images.kernel} {DOM0_OPTIONS},{self._images.dom0}"
        self._qemu = self._spawn(
            "qemu", ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-net", "none", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", "2", "-m", str(MEMORY),
            "-kernel", str(self._images.xen), "-append", XEN_OPTIONS, "-initrd", initrd,
            "-chardev", f"file,id=console,path={self._folder}/console.log", "-serial", "chardev:console",
            "-virtfs", f"local,path={self.share},mount_tag=share,security_model=none",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=rig,fd={lined.fileno()}",
            "-device", "virtserialport,chardev=rig,name=rig",
            "-chardev", f"socket,id=tpm,fd={control.fileno()}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
            "-device", "tpm-tis,tpmdev=tpm0"],
            control, lined,
        )  # fmt: skip
        self._line = line
        threading.Thread(target=self._listen, daemon=True).start()

    def await_dom0(self, timeout: float) -> str:
        """Wait until the agent of domain 0 is there; what `xl list` said then."""
        return str(self._take(0, timeout)["value"]["said"])

    def ask(self, do: str, patience: float, /, **arguments: Any) -> Any:
        """Ask the agent of domain 0 for something. Raises MachineError, also where it takes longer."""
        with self._lock:
            self._asked += 1
            number = self._asked
            self._answers[number] = queue.SimpleQueue()
            self._line.sendall(json.dumps({"n": number, "do": do, "with": arguments}).encode() + b"\n")
        answer = self._take(number, patience)
        if "error" in answer:
            raise MachineError(f"{do}: {answer['error']}")
        return answer["value"]

    def _take(self, number: int, timeout: float) -> dict[str, Any]:
        try:
            answer = self._answers[number].get(timeout=timeout)
        except queue.Empty:
            raise MachineError(f"domain 0 does not answer in {timeout:.0f} s") from None
        if answer is None:
            raise MachineError(f"the machine has ended; its console says: {self.console()[-600:]}")
        return answer

    def console(self) -> str:
        """What Xen and domain 0 have said."""
        return (self._folder / "console.log").read_text(errors="replace")

    def _listen(self) -> None:
        with self._line.makefile("rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                answer = json.loads(line)
                self._answers[answer["n"]].put(answer)
        for waiting in list(self._answers.values()):
            waiting.put(None)

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        return self._stack.enter_context(near), self._stack.enter_context(far)

    def _spawn(self, name: str, command: list[str], *sockets: socket.socket) -> subprocess.Popen[bytes]:
        """Start a program that inherits the sockets, and ends with this process, whatever becomes of that."""
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            pass_fds=[one.fileno() for one in sockets], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        for one in sockets:
            one.close()
        return process
