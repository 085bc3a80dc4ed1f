"""Requests as JSON: the name of a method and its arguments go in, its value or what it raised comes out."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from vtpm_impl.xen.xenstore.client import Client


def answer(agent: object, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks of an agent, whose public methods may be asked for."""
    try:
        name = request["do"]
        if name.startswith("_"):
            raise ValueError(f"{name!r} is nobody's to ask for")
        value = getattr(agent, name)(**request.get("with", {}))
    except Exception as error:
        told = traceback.format_exception_only(error)[-1].strip()
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {"n": request.get("n"), "error": f"{told} ({where.name}, line {where.lineno})"}
    return {"n": request.get("n"), "value": value}


def serve(agent: object) -> None:
    """Answer what is asked of an agent in a node of this domain, one request after another, for ever."""
    with Client.open() as store:
        store.watch("data/ask", "ask")
        store.write("data/ready", b"1")
        last = None
        while True:
            store.event(None)
            asked = store.read_or_none("data/ask")
            if not asked or asked == last:
                continue
            last = asked
            store.write("data/answer", packed(answer(agent, json.loads(asked))))


def memory() -> dict[str, int]:
    """KiB of this domain's memory in all, and KiB that are left."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {"total": int(lines["MemTotal"].split()[0]), "available": int(lines["MemAvailable"].split()[0])}


def packed(message: dict[str, Any]) -> bytes:
    """A message as it travels."""
    return json.dumps(message, separators=(",", ":")).encode()
