"""Both readings of a specification agree, and a difference between them does not stay unseen."""

from dataclasses import replace as changed

import pytest
from tests.proofs.toy_ring import TOY, Toy

from vtpm_model.core import Actor, action, always, eventually, replace, require
from vtpm_proofs import terms
from vtpm_proofs.readings import compare
from vtpm_proofs.terms import Term


def test_the_small_ring_is_read_as_it_runs() -> None:
    found = compare(TOY, states=60)
    assert found.differences == ()
    assert found.unmet == ()
    assert {"state fact", "step fact", "claim", "step", "disabled"} == set(found.counts)
    assert min(found.counts.values()) > 100


def test_the_same_seed_compares_the_same() -> None:
    assert compare(TOY, states=5, seed=3) == compare(TOY, states=5, seed=3)


def test_an_action_that_tells_unknowns_from_values_differs() -> None:
    @action(by=Actor.BACKEND)
    def backend_cheats(s: Toy) -> Toy:
        """Does nothing, unless it is being proved."""
        return s if isinstance(s.request, int) else replace(s, to_frontend=False)

    found = compare(TOY.variant("cheats", doc="", added=(backend_cheats,)), states=5)
    assert any("backend_cheats" in difference for difference in found.differences)


def test_an_action_that_only_proofs_take_differs() -> None:
    @action(by=Actor.BACKEND)
    def backend_hides(s: Toy) -> Toy:
        """Is possible only while it is being proved."""
        require(not isinstance(s.request, int))
        return s

    found = compare(TOY.variant("hides", doc="", added=(backend_hides,)), states=5)
    assert any("backend_hides" in difference and "runs to []" in difference for difference in found.differences)


def test_a_fact_that_tells_unknowns_from_values_differs() -> None:
    @always()
    def nothing_is_asked(s: Toy) -> bool:
        """Holds of plain states only."""
        return True if isinstance(s.request, int) else s.request == 0

    found = compare(changed(TOY, facts=(nothing_is_asked,)), states=5)
    assert any("nothing_is_asked" in difference for difference in found.differences)


def test_a_claim_that_tells_unknowns_from_values_differs() -> None:
    claim = TOY.liveness[0]

    @eventually(helpful=claim.helpful, rank=lambda s: (1,) if isinstance(s.request, int) else (2,))
    def something_is_pending(s: Toy) -> bool:
        """Always."""
        return claim.pending(s)

    found = compare(changed(TOY, liveness=(something_is_pending,)), states=5)
    assert any("something_is_pending" in difference for difference in found.differences)


def test_a_wrong_simplification_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    right = terms.conjunction
    monkeypatch.setattr(terms, "conjunction", lambda parts: right(list[Term](parts)[:1]))
    assert compare(TOY, states=20).differences
