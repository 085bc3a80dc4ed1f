"""Makes a script that a subject fails shorter, for as long as the subject still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Fails = Callable[[tuple[str, ...]], bool]
"""Whether the subject still fails a script of these lines."""


def shrunk(lines: Sequence[str], fails: Fails, budget: int) -> tuple[str, ...]:
    """Lines of which none can be left out, or none was found to be within `budget` tries; in larger pieces first."""
    best = tuple(lines)
    size = max(1, len(best) // 2)
    while budget > 0:
        start = 0
        shorter = False
        while start < len(best) and budget > 0:
            tried = best[:start] + best[start + size :]
            budget -= 1
            if tried and fails(tried):
                best, shorter = tried, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return best
