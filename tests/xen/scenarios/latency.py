"""How long one small command takes: Linux' own driver and our frontend, side by side."""

from __future__ import annotations

from tests.xen import tpm12
from tests.xen.rig import Memory, Rig
from tests.xen.scenarios.common import UNRECORDED, backend_up, linux_up, ours_up

COUNT = 300


def latency(rig: Rig) -> None:
    """TPM_PCRRead from two guests of one backend domain, one after the other, twice; the memory of all domains."""
    beyond = rig.console_size("backend")
    backend_up(rig, "backend", UNRECORDED)
    guest = linux_up(rig)
    other = ours_up(rig)
    figures: dict[str, list[dict[str, int]]] = {"linux": [], "ours": []}
    with rig.step(f"{COUNT} commands by each, twice", 240):
        rig.guest(other, "open", timeout=rig.left())
        for _ in range(2):
            figures["linux"].append(rig.guest(guest, "repeat", command=tpm12.pcr_read(0), count=COUNT)["us"])
            figures["ours"].append(rig.guest(other, "repeat_ours", command=tpm12.pcr_read(0), count=COUNT)["us"])
        for who, runs in figures.items():
            told = " and ".join(
                f"{run['median'] / 1e3:.1f} ({run['tenth'] / 1e3:.1f} to {run['ninth'] / 1e3:.1f})" for run in runs
            )
            rig.found(f"{who}: median {told} ms")
        rig.figures["round trip of TPM_PCRRead, microseconds"] = figures
    with rig.step("what each domain has left of its memory", 60):
        total, available = rig.console_says("backend", r"MemTotal: (\d+) kB MemAvailable: (\d+) kB", beyond)
        left = {
            "Domain-0": rig.dom0("memory"),
            "backend": {"total": int(total), "available": int(available)},
            "guest": rig.guest(guest, "memory"),
            "ours": rig.guest(other, "memory"),
        }
        for line in rig.run("xl", "list").splitlines()[1:]:
            name, _, megabytes, *_ = line.split()
            rig.memory[name] = Memory(int(megabytes), **left[name])
    with rig.step("all domains are destroyed without complaint", 90):
        rig.guest(other, "close")
        rig.destroy("guest", "ours", "backend")
