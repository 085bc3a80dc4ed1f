"""What a model's source may not do, because for unknowns it would quietly mean something else."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from vtpm_proofs.forks import SymbolicError


def check_habits(function: Callable[..., Any]) -> None:
    """Refuse `is` between values in a model function, or in one of its file that it calls.

    Of an unknown it would be false, and nobody would notice.
    """
    if isinstance(function, FunctionType):
        complaint = _complaint(function)
        if complaint:
            raise SymbolicError(complaint)


@functools.cache
def _complaint(function: FunctionType) -> str:
    file = function.__code__.co_filename
    lines = _identity_tests(file)
    if lines:
        for called in _called(function):
            first = called.__code__.co_firstlineno
            last = max((line for *_, line in called.__code__.co_lines() if line is not None), default=first)
            for line in lines:
                if first <= line <= last:
                    return f"{file}:{line}: `is` between values; of unknowns it would always be false, use =="
    return ""


def _called(function: FunctionType) -> list[FunctionType]:
    """The function, and the functions of its file that it or they name."""
    found = [function]
    for caller in found:
        for name in caller.__code__.co_names:
            called = caller.__globals__.get(name)
            if not isinstance(called, FunctionType) or called in found:
                continue
            if called.__code__.co_filename == caller.__code__.co_filename:
                found.append(called)
    return found


@functools.cache
def _identity_tests(file: str) -> tuple[int, ...]:
    """The lines of a file that compare by identity something that is neither None nor told by a Step."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except OSError:
        return ()  # made in memory from a source that was read elsewhere
    return tuple(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        and not any(_plain(side) for side in (node.left, *node.comparators))
    )


def _plain(side: ast.expr) -> bool:
    """None, and what a Step tells of itself, are never unknowns."""
    none = isinstance(side, ast.Constant) and side.value is None
    return none or (isinstance(side, ast.Attribute) and side.attr in ("by", "name"))
