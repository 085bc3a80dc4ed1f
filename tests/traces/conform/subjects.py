"""Tiny subjects that break the protocol, each in its own way, and the few lines that they have in common."""

from __future__ import annotations

import sys
import textwrap

PRELUDE = """
import json, os, sys, time

def call(do, **fields):
    print(json.dumps({"do": do, **fields}), flush=True)
    return json.loads(sys.stdin.readline() or '{"event": "end"}')

def hello(**fields):
    return call(**{"do": "hello", "protocol": "vtpm-sut/1", "end": "backend", "name": "tiny", **fields})
"""

IDLE = """
hello()
while call("wait")["event"] != "end":
    pass
"""
"""Says that it owes nothing, whatever happens."""


def command(body: str) -> list[str]:
    """The command that starts a subject of these lines."""
    return [sys.executable, "-c", PRELUDE + textwrap.dedent(body)]
