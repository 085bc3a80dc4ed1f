"""The recorded costs fit the systems as they are: nothing is stale, nothing dear is unrecorded, nothing drifts."""

from vtpm_model.catalog import SYSTEMS
from vtpm_proofs.commands.systems import fact_names
from vtpm_proofs.evidence import Request, gather
from vtpm_proofs.limits import CEILING, FLOOR, ROOM, Limits, record
from vtpm_proofs.obligation import Obligation

HINT = "run `vtpmspec prove --record-costs`"


def test_what_is_recorded_exists() -> None:
    recorded = Limits().recorded
    assert set(recorded) <= set(SYSTEMS), HINT
    for name, facts in recorded.items():
        assert set(facts) <= set(fact_names(SYSTEMS[name])), HINT


def test_every_system_holds_within_what_is_recorded() -> None:
    found = gather(Request(tuple(SYSTEMS.values()), cache=False))
    assert found.failed == []
    assert Limits().drifted(found.results) == []
    dear = {
        (name, fact) for name, facts in record(found.results).items() for fact, cost in facts.items() if cost > FLOOR
    }
    known = {(name, fact) for name, facts in Limits().recorded.items() for fact in facts}
    assert dear <= known, HINT


def test_what_has_no_record_has_a_ceiling_all_the_same() -> None:
    one = Obligation("new", "action", "only", "fact", "step")
    assert Limits({}).ceiling(one) == CEILING
    assert Limits({"new": {"fact": 3}}).ceiling(one) == ROOM * FLOOR
    assert Limits({"new": {"fact": 10 * FLOOR}}).ceiling(one) == ROOM * 10 * FLOOR
