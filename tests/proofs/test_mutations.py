"""Small mistakes in model functions: which are made, what the result does, and that nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.proofs import toy_ring
from tests.proofs.toy_ring import BACKEND, CANCEL, FINISH, IDLE, SUBMIT, TOY, Byte, Page, Toy, start

from vtpm_model.core import Actor, Disabled, Spec, action, among, implies, negate, replace, require
from vtpm_proofs.mutations import Mutation, mutations
from vtpm_proofs.overlay import actions_using, callees, function_of, reached, replaced


def wanted(s: Toy, most: int) -> bool:
    """Everything that can be got wrong in a condition."""
    quick = (s.request < most) | (s.epoch + 1 >= most) | s.up
    return implies(quick & negate(s.busy), among(s.page.state, SUBMIT, CANCEL)) and (s.waiting or s.cancelling)


def named(function: Callable[..., Any]) -> dict[str, Mutation]:
    return {mutation.mistake: mutation for mutation in mutations(function)}  # type: ignore[arg-type]


def of_toy(action_name: str, mistake: str) -> Mutation:
    return named(TOY.action(action_name).run)[mistake]


def test_a_condition_can_be_got_wrong_in_all_these_ways() -> None:
    whole = "implies(quick & negate(s.busy), among(s.page.state, SUBMIT, CANCEL)) and (s.waiting or s.cancelling)"
    assert set(named(wanted)) == {
        "leaves s.request < most out of (s.request < most) | (s.epoch + 1 >= most)",
        "leaves s.epoch + 1 >= most out of (s.request < most) | (s.epoch + 1 >= most)",
        "leaves s.up out of (s.request < most) | (s.epoch + 1 >= most) | s.up",
        "takes s.request < most for s.request <= most",
        "takes s.epoch + 1 >= most for s.epoch + 1 > most",
        "takes s.epoch for s.epoch + 1",
        "leaves the premise quick & negate(s.busy) out",
        "leaves quick out of quick & negate(s.busy)",
        "leaves negate(s.busy) out of quick & negate(s.busy)",
        "takes s.busy for its opposite",
        "leaves SUBMIT out of among(s.page.state, SUBMIT, CANCEL)",
        "leaves CANCEL out of among(s.page.state, SUBMIT, CANCEL)",
        "takes IDLE into among(s.page.state, SUBMIT, CANCEL)",
        "takes FINISH into among(s.page.state, SUBMIT, CANCEL)",
        f"leaves implies(quick & negate(s.busy), among(s.page.state, SUBMIT, CANCEL)) out of {whole}",
        f"leaves s.waiting or s.cancelling out of {whole}",
        "leaves s.waiting out of s.waiting or s.cancelling",
        "leaves s.cancelling out of s.waiting or s.cancelling",
    }


def test_a_step_can_be_got_wrong_in_all_these_ways() -> None:
    assert set(named(TOY.action("backend_wakes").run)) == {
        "no longer requires s.to_backend",
        "no longer requires s.mapped != 0",
        "takes `if s.page.state == SUBMIT and (not s.busy)` the other way round",
        "takes `if s.page.state == CANCEL and (not s.busy)` the other way round",
        "leaves s.page.state == SUBMIT out of s.page.state == SUBMIT and (not s.busy)",
        "leaves not s.busy out of s.page.state == SUBMIT and (not s.busy)",
        "leaves s.page.state == CANCEL out of s.page.state == CANCEL and (not s.busy)",
        "leaves not s.busy out of s.page.state == CANCEL and (not s.busy)",
        "takes SUBMIT for IDLE",
        "takes SUBMIT for FINISH",
        "takes CANCEL for FINISH",
        "takes CANCEL for IDLE",
        "takes IDLE for CANCEL",
        "takes IDLE for SUBMIT",
        "does not set to_backend to False",
        "does not set busy to True",
        "does not set job to s.request",
        "does not set job_epoch to s.mapped",
        "does not set to_backend to False (2)",
        "does not set page to put(s, IDLE)",
        "does not set to_frontend to True",
        "does not set to_backend to False (3)",
    }


def test_a_small_record_can_get_a_field_too_many() -> None:
    assert "sets answer to 0, too" in named(toy_ring.put)


def test_a_mistake_names_the_line_that_it_is_made_in() -> None:
    mistake = of_toy("backend_wakes", "does not set job to s.request")
    assert mistake.pinned == "return replace(s, to_backend=False, busy=True, job=s.request, job_epoch=s.mapped)"
    lines = Path(toy_ring.__file__).read_text(encoding="utf-8").splitlines()
    assert lines[mistake.line - 1].strip() == mistake.pinned
    assert mistake.name == "toy_ring.backend_wakes: does not set job to s.request"


def test_a_dropped_guard_is_gone_and_the_model_itself_is_untouched() -> None:
    changed = of_toy("backend_finishes", "no longer requires s.busy").build()
    assert changed(start()).page.state == FINISH
    with pytest.raises(Disabled):
        TOY.action("backend_finishes")(start())


def test_a_dropped_update_leaves_the_field_as_it_was() -> None:
    changed = of_toy("frontend_connects", "does not set epoch to s.epoch + 1").build()
    assert changed(start()) == replace(TOY.action("frontend_connects")(start()), epoch=0)


# ------------------------------------------------------------------------------------------------------- in its place


def test_what_a_function_uses_is_known() -> None:
    submits = function_of(TOY.action("frontend_submits"))
    assert submits is not None
    assert {f.__name__ for f in callees(submits)} == {"put"}
    assert {f.__name__ for f in reached([submits])} == {"frontend_submits", "put"}
    assert {a.name for a in actions_using(TOY, toy_ring.put)} == {  # type: ignore[arg-type]
        "frontend_submits", "frontend_cancels", "backend_wakes", "backend_aborts",
    }  # fmt: skip


def test_a_helper_is_replaced_wherever_it_is_used() -> None:
    def put(s: Toy, state: Byte) -> Page:
        return Page(state=IDLE, answer=99)

    changed = replaced(TOY, toy_ring.put, put)  # type: ignore[arg-type]
    up = TOY.action("frontend_connects")(start())
    assert changed["frontend_submits"](up).page.answer == 99
    assert TOY.action("frontend_submits")(up).page == Page(state=SUBMIT, answer=0)
    assert "backend_finishes" not in changed


def test_an_action_that_uses_another_sees_its_mistake() -> None:
    @action(by=BACKEND)
    def finishes_twice(s: Toy) -> Toy:
        """One action through another."""
        return finish(finish(s))

    finish = TOY.action("backend_finishes")
    spec: Spec[Any] = TOY.variant("twice", doc="Finishes twice.", added=(finishes_twice,))
    mistake = of_toy("backend_finishes", "no longer requires s.busy")
    changed = replaced(spec, mistake.function, mistake.build())
    assert changed["finishes_twice"](start()).page.state == FINISH
    with pytest.raises(Disabled):
        finishes_twice(start())


def test_a_function_in_a_function_can_be_got_wrong_too() -> None:
    def made(name: str, least: int) -> Any:
        def counts(s: Toy) -> Toy:
            """Depends on what surrounds it."""
            require(s.request >= least)
            return replace(s, request=s.request + least)

        counts.__name__ = name
        return action(by=Actor.XEN)(counts)

    one = made("counts", 2)
    (dropped,) = [m for m in mutations(one.run) if m.mistake.startswith("no longer")]
    assert dropped.build()(start()).request == 2
    with pytest.raises(Disabled):
        one(start())
