"""Writes recordings of driven programs as the real recorder would, from what the dossier says that mini-os does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

UUID = "b78e3d62-bf77-d31d-401c-1565dea3b66b"
COMMAND = "00c10000000e0000001500000000"
ANSWER = "00c40000000e0000000000000007"


class Script:
    """Lines of a recording, in order."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def do(self, *commands: str) -> int:
        """The driver does these things; the number of the last line."""
        for command in commands:
            self.lines.append({"n": len(self.lines), "ev": "step", "cmd": command})
        return len(self.lines)

    def see(self, event: str, **values: Any) -> int:
        """The program is seen to do this; the number of the line."""
        self.lines.append({"n": len(self.lines), "ev": event, **values})
        return len(self.lines)

    def write(self, folder: Path, name: str = "recording") -> Path:
        """The file, with its end."""
        if not self.lines or self.lines[-1]["ev"] != "process_end":
            self.see("end")
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        return path


class Back(Script):
    """A backend that serves one device of domain 77."""

    back = "/local/domain/9/backend/vtpm/77/3"
    front = "/local/domain/77/device/vtpm/3"
    own = "backend/vtpm/77/3"

    def start(self) -> None:
        self.do("init")
        self.see("log", text="starting\n")
        self.do("run")
        self.see("xs_watch", path="backend/vtpm", token="backend/vtpm")

    def create(self) -> None:
        self.do(
            f"set {self.back}", f"set {self.back}/frontend {self.front}", f"set {self.back}/online 1",
            f"set {self.back}/uuid {UUID}", f"set {self.back}/state 1", f"set {self.front}/state 1", "run",
        )  # fmt: skip
        self.wrote("state", "2")
        self.wrote("feature-protocol-v2", "1")
        self.see("open_callback", domid=77, handle=3, uuid=UUID.replace("-", ""))

    def wrote(self, node: str, value: str) -> int:
        return self.see("xs_write", path=f"{self.own}/{node}", value=value)

    def reads_frontend(self, value: str) -> int:
        return self.see("xs_read", path=f"{self.front}/state", value=value)

    def publish(self, ref: int = 451, port: int = 45, state: str = "4") -> None:
        self.do(
            f"set {self.front}/feature-protocol-v2 1", f"page 77 {ref} 0 00", f"set {self.front}/ring-ref {ref}",
            f"set {self.front}/event-channel {port}", f"set {self.front}/state {state}",
        )  # fmt: skip

    def connects(self, ref: int = 451, port: int = 45, local: int = 10, state: str = "4") -> None:
        self.reads_frontend(state)
        self.see("xs_read", path=f"{self.front}/ring-ref", value=str(ref))
        self.see("xs_read", path=f"{self.front}/event-channel", value=str(port))
        self.see("map_grant", domid=77, ref=ref, count=1, ok=True)
        self.see("evtchn_bind", domid=77, remote_port=port, local_port=local)
        self.wrote("ready", "1")
        self.wrote("state", "4")

    def connect(self, ref: int = 451, port: int = 45, local: int = 10) -> None:
        self.publish(ref, port)
        self.do("run")
        self.connects(ref, port, local)

    def submit(self, ref: int = 451, local: int = 10, command: str = COMMAND, extra: int = 0) -> None:
        size = (len(command) // 2).to_bytes(4, "little").hex()
        self.do(f"page 77 {ref} 0 {size}010000{extra:02x}{command}", f"kick {local}")

    def requests(self, command: str = COMMAND) -> int:
        return self.see("request", domid=77, handle=3, locality=0, len=len(command) // 2, data=command)

    def serve(self, ref: int = 451, local: int = 10) -> None:
        self.submit(ref, local)
        self.do("run")
        self.requests()

    def notifies(self, local: int = 10, port: int = 45) -> int:
        return self.see("notify", local_port=local, remote_domid=77, remote_port=port)

    def disconnects(self, ref: int = 451, local: int = 10) -> int:
        line = self.see("unmap_grant", domid=77, ref=ref)
        self.see("evtchn_unbind", local_port=local)
        return line

    def show(self, length: int, state: int, data: str, ref: int = 451, extra: int = 0) -> int:
        self.do(f"show 77 {ref}")
        return self.see(
            "page", domid=77, ref=ref, length=length, state=state, locality=0, pad=0, nr_extra_pages=extra, data=data
        )


class Front(Script):
    """A frontend on its default node, with a backend in domain 5."""

    node = "device/vtpm/0"
    back = "/local/domain/5/backend/vtpm/20/0"

    def create(self, state: str = "2") -> None:
        front = f"/local/domain/20/{self.node}"
        self.do(f"set {front}/backend-id 5", f"set {front}/backend {self.back}", f"set {front}/state 1")
        self.do(f"set {self.back}/feature-protocol-v2 1", f"set {self.back}/state {state}")

    def wrote(self, node: str, value: str) -> int:
        return self.see("xs_write", path=f"{self.node}/{node}", value=value)

    def open(self, ref: int = 100, port: int = 10) -> None:
        self.do("init -", "run")
        self.wrote("feature-protocol-v2", "1")
        self.see("grant_access", domid=5, ref=ref, readonly=0)
        self.see("evtchn_alloc_unbound", domid=5, local_port=port)
        self.wrote("ring-ref", str(ref))
        self.wrote("event-channel", str(port))
        self.wrote("state", "4")

    def backend_connects(self) -> None:
        self.do(f"set {self.back}/state 4", "run")
        self.see("xs_read", path=f"{self.back}/state", value="4")
        self.see("xs_read", path=f"{self.back}/feature-protocol-v2", value="1")
        self.see("init_tpmfront_returned", ok=True)

    def closes(self) -> None:
        self.wrote("state", "5")
        self.see("xs_rm", path=f"{self.node}/event-channel")
        self.see("xs_rm", path=f"{self.node}/ring-ref")
        self.wrote("state", "6")

    def lets_go(self, ref: int = 100, port: int = 10) -> None:
        self.wrote("state", "1")
        self.see("evtchn_unbind", local_port=port)
        self.see("end_access", ref=ref)
        self.see("free_page")

    def command(self, command: str = COMMAND) -> int:
        self.do(f"cmd {command}", "run")
        return self.see("notify", local_port=10, remote_domid=5, remote_port=0)

    def returned(self, code: int, answer: str, length: int | None = None) -> int:
        size = len(answer) // 2 if length is None else length
        return self.see("tpmfront_cmd_returned", rc=code, resplen=size, resp=answer)
