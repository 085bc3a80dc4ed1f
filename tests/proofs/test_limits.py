"""The recorded costs fit the systems as they are: nothing is stale, nothing dear is unrecorded, nothing drifts."""

from pathlib import Path

import pytest

from vtpm_model.catalog import SYSTEMS
from vtpm_proofs import limits
from vtpm_proofs.commands.systems import fact_names
from vtpm_proofs.evidence import Request, gather
from vtpm_proofs.limits import CEILING, FLOOR, ROOM, Limits, costs, record
from vtpm_proofs.obligation import HOLDS, Answer, Obligation, Result

HINT = "run `vtpmspec record --only costs`"
BOTH = ("z3", "cvc5")


def test_what_is_recorded_exists() -> None:
    recorded = Limits().recorded
    assert set(recorded) == set(BOTH)
    for systems in recorded.values():
        assert set(systems) <= set(SYSTEMS), HINT
        for name, facts in systems.items():
            assert set(facts) <= set(fact_names(SYSTEMS[name])), HINT


def test_every_system_holds_within_what_is_recorded() -> None:
    found = gather(Request(tuple(SYSTEMS.values()), solvers=BOTH, cache=False))
    assert found.failed == []
    assert Limits().drifted(found.results) == []
    dear = {
        (solver, name, fact)
        for solver, systems in costs(found.results).items()
        for name, facts in systems.items()
        for fact, cost in facts.items()
        if cost > FLOOR
    }
    known = {
        (solver, name, fact)
        for solver, systems in Limits().recorded.items()
        for name, facts in systems.items()
        for fact in facts
    }
    assert dear <= known, HINT


ONE = Obligation("new", "action", "only", "fact", "step")


@pytest.mark.parametrize("solver", BOTH)
def test_what_has_no_record_has_a_ceiling_all_the_same(solver: str) -> None:
    assert Limits({}).ceiling(ONE, solver) == CEILING
    assert Limits({solver: {"new": {"fact": 3}}}).ceiling(ONE, solver) == ROOM * FLOOR
    assert Limits({solver: {"new": {"fact": 10 * FLOOR}}}).ceiling(ONE, solver) == ROOM * 10 * FLOOR


def test_a_run_over_one_system_leaves_the_record_of_others_and_forgets_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MANIFEST", tmp_path / "limits.json")
    answers = (Answer("z3", HOLDS, "query", 7), Answer("cvc5", HOLDS, "query", 9))

    def of(system: str) -> Result:
        return Result(Obligation(system, "action", "only", "fact", "step"), answers)

    record([of("old"), of("one")], {"z3": "1", "cvc5": "2"}, {"old", "one"})
    record([of("other")], {"z3": "1", "cvc5": "2"}, {"one", "other"})
    assert Limits().recorded == {
        "z3": {"one": {"fact": 7}, "other": {"fact": 7}},
        "cvc5": {"one": {"fact": 9}, "other": {"fact": 9}},
    }
