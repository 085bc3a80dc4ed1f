"""Proofs of the small ring: what is true is proved, mistakes are found where they are, nothing is taken on trust."""

from dataclasses import replace as changed
from typing import Any

import pytest
from tests.proofs.toy_mistakes import ASKS_AGAIN, CONNECTS_LATE, COUNTS_DOWN, KEEPS_ITS_JOB, STARTS_WRONG, TELLS_NOBODY
from tests.proofs.toy_ring import TOY, Toy

from vtpm_model.core import (
    U8,
    Actor,
    Disabled,
    Spec,
    Step,
    action,
    always,
    eventually,
    lemma,
    record,
    replace,
    require,
)
from vtpm_proofs.bounded import search
from vtpm_proofs.cores import carry
from vtpm_proofs.induction import Bench, Task, initial, prove, safety
from vtpm_proofs.lasso import lasso
from vtpm_proofs.limits import Limits
from vtpm_proofs.obligation import DISPUTED, FAILS, HOLDS, SORTS, UNKNOWN, EngineError, Result
from vtpm_proofs.symbolic import SymbolicError
from vtpm_proofs.system import System
from vtpm_proofs.terms import TRUE

BOTH = ("z3", "cvc5")


def broken(results: list[Result]) -> set[tuple[str, str, str]]:
    """(fact, action, part) of what does not hold."""
    return {(r.obligation.fact, r.obligation.action, r.obligation.part) for r in results if r.verdict != HOLDS}


# ------------------------------------------------------------------------------------------------------- the true one


def test_the_small_ring_holds_by_both_solvers() -> None:
    results = prove(TOY, solvers=BOTH)
    assert broken(results) == set()
    assert all([answer.solver for answer in r.answers] == list(BOTH) for r in results if r.obligation.method != "init")
    assert sum(answer.how == "query" for r in results for answer in r.answers) > 50


def test_every_path_meets_every_fact_once() -> None:
    results = prove(TOY)
    names = [r.obligation.name for r in results]
    assert len(names) == len(set(names))
    system = System(TOY)
    ways = [way for one in TOY.actions for way in system.ways(one)]
    claims = len(TOY.facts) + len(TOY.lemmas) + 1  # and the sorts
    assert sum(r.obligation.method in ("step", "sorts") for r in results) == len(ways) * claims
    state_facts = 1 + len(TOY.lemmas) + 1
    assert sum(r.obligation.method == "init" for r in results) == state_facts


def test_narrowing_asks_less_and_assumes_as_much() -> None:
    whole = {r.obligation.name: r.verdict for r in prove(TOY)}
    some = prove(TOY, actions=["backend_wakes"], facts=["no_wakeup_is_lost", "every_request_is_answered"])
    assert {r.obligation.fact for r in some} == {"no_wakeup_is_lost", "every_request_is_answered"}
    assert all(whole[r.obligation.name] == r.verdict for r in some)


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (TELLS_NOBODY, ("no_wakeup_is_lost", "backend_finishes", "")),
        (KEEPS_ITS_JOB, ("a_job_is_of_the_mapping", "backend_disconnects", "")),
        (COUNTS_DOWN, (SORTS, "frontend_forgets", "")),
        (ASKS_AGAIN, ("every_request_is_answered", "frontend_wakes", "lowers")),
        (CONNECTS_LATE, ("every_request_is_answered", "connect", "possible")),
        (STARTS_WRONG, ("waiting_means_up", "init", "")),
    ],
)
def test_a_mistake_fails_where_it_is_and_both_solvers_say_so(spec: Spec[Any], expected: tuple[str, str, str]) -> None:
    for solver in BOTH:
        assert expected in broken(prove(spec, solvers=(solver,))), solver


def test_a_counterexample_is_a_step_of_the_model() -> None:
    results = prove(TELLS_NOBODY, facts=["no_wakeup_is_lost"])
    [result] = [r for r in results if r.verdict == FAILS]
    found = result.counterexample
    assert found is not None
    one = TELLS_NOBODY.action(result.obligation.action)
    assert one(found.before, **found.picks) == found.after
    fact = next(f for f in TOY.facts if f.name == "no_wakeup_is_lost")
    assert fact.holds(found.before)
    assert not fact.holds(found.after)
    assert all(known.holds(found.before) for known in TOY.lemmas)


def test_stopping_at_the_first_failure_ends_with_it() -> None:
    results = prove(TELLS_NOBODY, stop_at_first=True)
    assert [r.verdict for r in results].index(FAILS) == len(results) - 1


def test_without_a_lemma_what_rests_on_it_fails() -> None:
    weaker = changed(TOY, lemmas=tuple(one for one in TOY.lemmas if one.name != "a_mapping_is_current"))
    assert "an_answer_stays_in_its_connection" in {fact for fact, _, _ in broken(prove(weaker))}


def test_a_fact_that_only_some_states_break_fails_though_rewriting_knows_nothing() -> None:
    @always()
    def requests_stay_small(s: Toy) -> bool:
        """Not so."""
        return s.request < 1000

    results = prove(changed(TOY, facts=(requests_stay_small,)))
    assert ("requests_stay_small", "frontend_submits", "") in broken(results)


# -------------------------------------------------------------------------------------------------------- no trust


def test_a_wrong_simplification_is_disputed_by_the_second_solver() -> None:
    system = System(TELLS_NOBODY)
    [way] = system.ways(TELLS_NOBODY.action("backend_finishes"))
    bench = Bench(system, BOTH, Limits({}))
    for task in safety(system, way, ["no_wakeup_is_lost"]):
        pretended = Task(task.obligation, way, task.claim, TRUE)
        assert bench.discharge(pretended).verdict == DISPUTED


def test_a_function_that_tells_unknowns_from_values_is_the_provers_fault_not_a_verdict() -> None:
    @action(by=Actor.BACKEND)
    def backend_cheats(s: Toy) -> Toy:
        """Does nothing, unless it is being proved."""
        return s if isinstance(s.request, int) else replace(s, to_frontend=False)

    with pytest.raises(EngineError, match=r"backend_cheats.*the model goes to"):
        prove(TOY.variant("cheats", doc="", added=(backend_cheats,)))


def test_a_fact_that_tells_unknowns_from_values_is_found_out() -> None:
    @always()
    def nothing_is_asked(s: Toy) -> bool:
        """Holds of plain states only."""
        return True if isinstance(s.request, int) else s.request == 0

    with pytest.raises(EngineError, match="the fact holds on the step"):
        prove(changed(TOY, facts=(nothing_is_asked,)))


@pytest.mark.parametrize("solver", BOTH)
def test_a_proof_that_costs_too_much_is_unknown_not_true(solver: str) -> None:
    class Mean(Limits):
        def ceiling(self, obligation: Any, solver: str = "") -> int:
            return 1

    verdicts = {r.verdict for r in prove(TOY, solvers=(solver,), limits=Mean({}))}
    assert UNKNOWN in verdicts
    assert FAILS not in verdicts


def test_ceilings_stand_well_above_what_is_recorded() -> None:
    results = prove(TOY)
    dearest = max(r.answers[0].cost for r in results)
    limits = Limits({"z3": {"toy": {r.obligation.fact: dearest for r in results}}})
    assert all(limits.ceiling(r.obligation) > 10 * dearest for r in results)
    assert limits.drifted(results) == []


# --------------------------------------------------------------------------------------------------------- liveness


@record
class Knob:
    left: U8
    done: bool


@action(by=Actor.BACKEND, owed=True)
def backend_turns(s: Knob, by: U8) -> Knob:
    """Turns by exactly what is left, halved."""
    require(s.left != 0)
    require(by + by == s.left)
    return replace(s, left=s.left - by - by)


@action(by=Actor.BACKEND, owed=True)
def backend_notches(s: Knob, by: U8) -> Knob:
    """Turns by what is left."""
    require(s.left != 0)
    require(s.left == by)
    return replace(s, left=s.left - by)


@eventually(helpful=lambda s: "turn", rank=lambda s: (s.left,))
def the_knob_comes_to_rest(s: Knob) -> bool:
    """Nothing is left to turn."""
    return s.left != 0


def knob(*actions: Any, **more: Any) -> Spec[Knob]:
    return Spec(
        name="knob", doc="", state=Knob, init=lambda: Knob(left=200, done=False), actions=actions, facts=(),
        liveness=(more.pop("claim", the_knob_comes_to_rest),), fair={"turn": tuple(a.name for a in actions)}, **more,
    )  # fmt: skip


def test_a_fair_action_may_need_the_right_pick() -> None:
    assert broken(prove(knob(backend_notches), solvers=BOTH)) == set()


def test_a_fair_action_that_no_pick_makes_possible_fails() -> None:
    # An odd number has no half.
    assert ("the_knob_comes_to_rest", "turn", "possible") in broken(prove(knob(backend_turns)))


def test_a_rank_that_falls_below_zero_is_no_rank() -> None:
    @eventually(helpful=lambda s: "turn", rank=lambda s: (s.left - 1,))
    def the_knob_rests(s: Knob) -> bool:
        """With a rank that starts below zero."""
        return s.left < 300

    found = broken(prove(knob(backend_notches, claim=the_knob_rests)))
    assert ("the_knob_rests", "any", "natural") in found


def test_a_helpful_group_that_does_not_exist_is_named() -> None:
    @eventually(helpful=lambda s: "push", rank=lambda s: (s.left,))
    def the_knob_is_pushed(s: Knob) -> bool:
        """By nobody."""
        return s.left != 0

    with pytest.raises(SymbolicError, match=r"'push'.*turn"):
        prove(knob(backend_notches, claim=the_knob_is_pushed))


def test_another_action_may_not_change_whose_turn_it_is() -> None:
    @action(by=Actor.XEN)
    def xen_restarts(s: Knob) -> Knob:
        """Starts over."""
        return replace(s, left=255)

    found = broken(prove(changed(knob(backend_notches), actions=(backend_notches, xen_restarts))))
    assert found == {("the_knob_comes_to_rest", "xen_restarts", "keeps")}


# ---------------------------------------------------------------------------------------------------- bounded search


def run_again(spec: Spec[Any], steps: Any) -> list[Any]:
    states = [spec.init()]
    for step, _ in steps:
        states.append(spec.action(step.name)(states[-1], **step.picks))
    return states


def test_the_search_finds_the_shortest_real_run() -> None:
    found = search(KEEPS_ITS_JOB, "an_answer_stays_in_its_connection", depth=9)
    assert found.run is not None
    names = [step.name for step, _ in found.run.steps]
    assert names[-1] in ("backend_finishes", "backend_aborts")
    assert names.index("frontend_crashes") < names.index("backend_disconnects")
    assert len(names) == found.depth == 7
    states = run_again(KEEPS_ITS_JOB, found.run.steps)
    assert states == found.run.states
    fact = next(f for f in TOY.facts if f.name == "an_answer_stays_in_its_connection")
    last = TOY.action(names[-1])
    assert not fact.holds(states[-2], Step(last.name, last.by, {}), states[-1])
    assert search(KEEPS_ITS_JOB, "an_answer_stays_in_its_connection", depth=6).run is None


def test_the_search_says_how_far_it_went() -> None:
    found = search(TOY, "no_wakeup_is_lost", depth=5)
    assert (found.run, found.depth) == (None, 5)
    hurried = search(TOY, "no_wakeup_is_lost", depth=500, seconds=0.5)
    assert hurried.run is None
    assert hurried.depth < 500


def test_the_search_reaches_a_value_outside_of_its_sort() -> None:
    found = search(COUNTS_DOWN, SORTS, depth=3)
    assert found.run is not None
    assert [step.name for step, _ in found.run.steps] == ["frontend_forgets"]


def test_what_the_search_calls_possible_the_model_does() -> None:
    found = search(TELLS_NOBODY, "no_wakeup_is_lost", depth=8)
    assert found.run is not None
    try:
        run_again(TELLS_NOBODY, found.run.steps)
    except Disabled:
        pytest.fail("the run is not a run of the model")


# -------------------------------------------------------------------------------------------------------------- map


@lemma
def jobs_are_numbered(s: Toy) -> bool:
    """True, and of no use."""
    return (s.job != s.request + 1) | (s.job > 0)


def test_the_map_names_a_lemma_that_nothing_rests_on() -> None:
    found = carry(changed(TOY, lemmas=(*TOY.lemmas, jobs_are_numbered)))
    assert found.idle_lemmas == ["jobs_are_numbered"]
    assert found.undecided == ()


def test_what_the_map_calls_needed_is_enough() -> None:
    found = carry(TOY)
    assert found.idle_lemmas == []
    for fact in TOY.facts:
        needed = found.ground([fact.name])
        lemmas = tuple(one for one in TOY.lemmas if one.name in needed)
        facts = tuple(one for one in TOY.facts if one.name in needed)
        small = changed(TOY, facts=facts, lemmas=lemmas, liveness=())
        assert broken(prove(small)) == set(), fact.name


def test_the_map_of_one_fact_is_part_of_the_whole() -> None:
    whole, part = carry(TOY), carry(TOY, ["an_answer_is_to_the_last_request"])
    assert set(part.facts) == part.ground(["an_answer_is_to_the_last_request"])
    assert part.facts["an_answer_is_to_the_last_request"] == whole.facts["an_answer_is_to_the_last_request"]


def test_a_guard_that_carries_nothing_is_named() -> None:
    idle = {(guard.action, guard.source) for guard in carry(TOY).idle_guards}
    assert ("frontend_crashes", "require(s.up)") in idle
    assert ("backend_disconnects", "require(negate(s.up))") not in idle


def test_the_map_leaves_out_what_does_not_hold() -> None:
    assert any("no_wakeup_is_lost" in name for name in carry(TELLS_NOBODY).undecided)


def test_the_initial_state_is_run_not_proved() -> None:
    results = initial(STARTS_WRONG)
    assert all(answer.how == "run" for r in results for answer in r.answers)


# ------------------------------------------------------------------------------------------------------------ loops


def test_a_frontend_that_asks_for_ever_is_shown_as_a_fair_loop() -> None:
    [claim] = ASKS_AGAIN.liveness
    found = lasso(ASKS_AGAIN, claim, depth=9)
    assert found.run is not None
    assert found.run.loop is not None
    states = run_again(ASKS_AGAIN, found.run.steps)
    assert states == found.run.states
    assert states[found.run.loop] == states[-1]
    assert all(claim.pending(state) for state in states[found.run.loop :])
    inside = {step.name for step, _ in found.run.steps[found.run.loop :]}
    assert {"backend_aborts", "frontend_wakes", "backend_wakes"} <= inside


def test_a_backend_that_never_comes_is_a_fair_loop() -> None:
    [claim] = CONNECTS_LATE.liveness
    found = lasso(CONNECTS_LATE, claim, depth=6)
    assert found.run is not None
    before = {step.name for step, _ in found.run.steps[: found.run.loop]}
    assert "backend_connects" not in {step.name for step, _ in found.run.steps}
    assert "frontend_submits" in before


def test_the_true_ring_has_no_fair_loop_in_sight() -> None:
    [claim] = TOY.liveness
    found = lasso(TOY, claim, depth=7)
    assert (found.run, found.depth) == (None, 7)


def test_a_start_that_breaks_a_fact_is_a_run_of_no_steps() -> None:
    found = search(STARTS_WRONG, "waiting_means_up")
    assert found.run is not None
    assert found.run.steps == ()
