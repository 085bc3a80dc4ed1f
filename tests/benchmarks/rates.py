"""How quick each engine is: obligations, Spacer, states interpreted and generated, concrete steps, all on the ring.

Run as `python -m tests.benchmarks.rates [--json]`; `test_rates.py` holds the figures against what is promised. Rates
are of processor time: each engine runs in this one process, and takes as long by the clock on a machine that does
nothing else.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from vtpm_model.core import Disabled
from vtpm_model.ring import RING
from vtpm_proofs.bounds import bounds_of, choices
from vtpm_proofs.explore import search
from vtpm_proofs.generated import translate
from vtpm_proofs.induction import prove
from vtpm_proofs.mutants import Mutated, mutations_of
from vtpm_proofs.spacer import SAFE, prove_again


@dataclass(frozen=True)
class Rate:
    """A figure: what was counted, how many a second, what is promised of it (0: nothing), and over how long."""

    what: str
    rate: float
    promised: float
    seconds: float


def timed(what: str, promised: float, work: Callable[[], int]) -> Rate:
    """How many a second of what `work` counts."""
    began = time.process_time()
    count = work()
    seconds = time.process_time() - began
    return Rate(what, count / seconds, promised, seconds)


def obligations() -> int:
    """Prove the ring, without a cache; so many obligations."""
    return len(prove(RING))


def second_proofs() -> int:
    """Prove the ring's facts again by Spacer; so many facts."""
    return sum(one.verdict == SAFE for one in prove_again(RING))


def edges_interpreted() -> int:
    """Search the ring with every claim checked, by the model's own functions; so many edges."""
    return search(RING).edges


def steps() -> int:
    """Walk the ring at random, one action chosen among all; so many steps that were possible."""
    chance = random.Random(1)
    moves = [(action.run, picks) for action in RING.actions for picks in choices(action, bounds_of(RING))]
    state, taken = RING.init(), 0
    for _ in range(200_000):
        run, picks = chance.choice(moves)
        try:
            state = run(state, **picks)
        except Disabled:
            continue
        taken += 1
    return taken


def mutants() -> int:
    """Judge the first mutants of the ring by proofs, nothing known of what killed them; so many mutants."""
    some = mutations_of(RING)[:60]
    return sum(bool(MUTATED.noticed(one).fate) for one in some)


MUTATED = Mutated(RING)
GENERATED = translate(RING)


def states_generated() -> Rate:
    """The best of three searches of the ring by generated code, with every claim checked; in states."""
    best = 0.0
    total = 0.0
    for _ in range(3):
        began = time.process_time()
        count, _ = GENERATED.count()
        seconds = time.process_time() - began
        total += seconds
        best = max(best, count["states"] / seconds)
    return Rate("states, generated", best, 200_000, total)


def measured() -> list[Rate]:
    """Every figure."""
    return [
        timed("obligations", 0, obligations),
        timed("facts proved again by Spacer", 0, second_proofs),
        timed("edges, interpreted", 30_000, edges_interpreted),
        states_generated(),
        timed("concrete steps", 0, steps),
        timed("mutants", 0, mutants),
    ]


def main(arguments: list[str]) -> int:
    """Print the figures; code 1 if one falls short of what is promised."""
    if set(arguments) - {"--json"}:
        sys.stderr.write("usage: python -m tests.benchmarks.rates [--json]\n")
        return 2
    found = measured()
    if arguments:
        sys.stdout.write(json.dumps({"version": 1, "rates": [asdict(one) for one in found]}, indent=1) + "\n")
    else:
        for one in found:
            promise = f"promised {one.promised:,.0f}" if one.promised else ""
            sys.stdout.write(f"{one.what:<32}{one.rate:>14,.0f} a second  {promise}\n")
    return int(any(one.rate < one.promised for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
