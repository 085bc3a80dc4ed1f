"""Mistakes that a writer of these models could make, one at a time: the proof finds each, in the right fact, soon.

They are written by hand, larger and slyer than the mutants that `vtpmspec mutants` makes, and each is one that a ring
or a handshake could really have.
"""

import ast
import dataclasses
import inspect
import textwrap
import time
from dataclasses import dataclass
from typing import Any

import pytest

from vtpm_model import handshake, ring
from vtpm_model.core import Spec
from vtpm_model.device import DEVICE
from vtpm_model.ring import RING
from vtpm_proofs.induction import prove
from vtpm_proofs.mutations import Mutation
from vtpm_proofs.obligation import FAILS
from vtpm_proofs.overlay import function_of, replaced

BUDGET = 15.0
"""Seconds of processor time in which a mistake must be found."""


@dataclass(frozen=True)
class Planted:
    """What somebody got wrong: `old` became `new` in a function; and the fact that must notice."""

    sentence: str
    spec: Spec[Any]
    place: Any
    old: str
    new: str
    fact: str


PLANTED = (
    Planted(
        "a request is submitted over a cancel",
        RING, ring.frontend_submits, "among(s.page.state, IDLE, FINISH)", "s.page.state != SUBMIT",
        "a_request_is_submitted_only_over_idle_or_finish",
    ),
    Planted(
        "a request is submitted and the backend not told",
        RING, ring.frontend_submits, "cancelled=False, frontend_owes_event=True", "cancelled=False",
        "the_backend_misses_no_request",
    ),
    Planted(
        "a cancel is written and the backend not told",
        RING, ring.frontend_cancels, "cancelled=True, frontend_owes_event=True", "cancelled=True",
        "the_backend_misses_no_cancel",
    ),
    Planted(
        "a new connection's request is overlooked while a stale command runs",
        RING, ring.backend_wakes, "news & (state == SUBMIT)", "news & negate(s.busy) & (state == SUBMIT)",
        "the_backend_misses_no_request",
    ),
    Planted(
        "an answer is as long as the engine says",
        RING, ring.backend_finishes, "length=deliverable(reply, s.job_extra)", "length=reply",
        "an_answer_lies_within_the_page",
    ),
    Planted(
        "the room for an answer is measured by what the frontend has written since",
        RING, ring.backend_finishes, "deliverable(reply, s.job_extra)", "deliverable(reply, page.extra)",
        "an_answer_lies_within_the_page",
    ),
    Planted(
        "an answer is written although its connection is gone",
        RING, ring.backend_finishes, "require(serving(s))", "require(s.busy & (s.mapped != 0))",
        "an_answer_stays_in_its_connection",
    ),
    Planted(
        "what was executed is not noted",
        RING, ring.backend_fetches, "executed=page.request, ", "",
        "a_request_is_executed_at_most_once",
    ),
    Planted(
        "the length of a request is believed",
        RING, ring.backend_fetches, "require(acceptable(page, permitted))", "require(permitted)",
        "a_request_is_read_within_the_page",
    ),
    Planted(
        "a sound request may be refused",
        RING, ring.backend_refuses_request, "require(refusable(page, permitted))", "require(page.length != 0)",
        "no_request_is_lost",
    ),
    Planted(
        "a cancel is acknowledged without an event",
        RING, ring.backend_acknowledges_cancel, "acking=False, backend_owes_event=True", "acking=False",
        "the_frontend_misses_no_answer",
    ),
    Planted(
        "the handler takes the event and wakes nobody",
        RING, ring.frontend_wakes, "awake=s.waiting", "awake=s.awake & s.waiting",
        "the_frontend_misses_no_answer",
    ),
    Planted(
        "binding the port does not raise the event",
        RING, ring.with_mapping, "to_backend=True", "to_backend=s.to_backend",
        "the_backend_misses_no_request",
    ),
    Planted(
        "a page is not zeroed before it is granted anew",
        RING, ring.with_new_page, "page=EMPTY_PAGE", "page=replace(s.page, state=IDLE)",
        "a_page_shows_nothing_of_other_connections",
    ),
    Planted(
        "a caller is given an answer whose header disagrees with its length",
        RING, ring.frontend_looks, "s.page.answer if whole else s.delivered", "s.page.answer",
        "a_caller_gets_one_whole_packet",
    ),
    Planted(
        "a stale answer is never dropped, and the engine never free",
        RING, ring.backend_drops_stale_answer, "busy=False", "busy=s.busy",
        "a_request_stands_unanswered",
    ),
    Planted(
        "the backend sends its event over and over",
        RING, ring.backend_notifies, "backend_owes_event=False", "backend_owes_event=connected(s)",
        "a_request_stands_unanswered",
    ),
    Planted(
        "the backend maps a page before it has read a version",
        DEVICE, handshake.backend_maps, "require(s.seen_v2)", "require(s.be_v2)",
        "only_version_2_is_mapped",
    ),
    Planted(
        "the frontend sends requests to a backend of any version",
        DEVICE, handshake.frontend_submits, "require(s.peer_v2)", "require(s.open)",
        "a_request_is_sent_to_version_2_only",
    ),
    Planted(
        "the backend forgets what it was told while it reads",
        DEVICE, handshake.write_fe_state, "backend_told=True", "backend_told=s.backend_told | s.tracked == False",
        "the_backend_knows_the_frontends_state",
    ),
    Planted(
        "the backend comes back to a device that the toolstack has taken away",
        DEVICE, handshake.backend_reopens, "require(s.online)", "require(s.complete)",
        "a_close_that_is_asked_for_is_not_undone",
    ),
)  # fmt: skip


def with_mistake(planted: Planted) -> tuple[Spec[Any], set[str]]:
    """The specification with the mistake, and the actions that it changes."""
    function = function_of(planted.place)
    assert function is not None
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(planted.old) == 1, f"{planted.old!r} stands {source.count(planted.old)} times in:\n{source}"
    (tree,) = ast.parse(source.replace(planted.old, planted.new)).body
    assert isinstance(tree, ast.FunctionDef)
    changed = replaced(planted.spec, function, Mutation(function, planted.sentence, 0, "", tree).build())
    actions = tuple(changed.get(action.name, action) for action in planted.spec.actions)
    return dataclasses.replace(planted.spec, actions=actions), set(changed)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.sentence.replace(" ", "-"))
def test_a_planted_mistake_is_found_within_the_budget(planted: Planted) -> None:
    spec, actions = with_mistake(planted)
    assert actions
    began = time.process_time()
    results = prove(spec, actions=actions, facts={planted.fact})
    seconds = time.process_time() - began
    failed = {result.obligation.fact for result in results if result.verdict == FAILS}
    assert failed == {planted.fact}
    assert seconds < BUDGET, f"{seconds:.1f} s of processor time"


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.sentence.replace(" ", "-"))
def test_without_the_mistake_the_same_question_holds(planted: Planted) -> None:
    function = function_of(planted.place)
    assert function is not None
    actions = set(replaced(planted.spec, function, function))
    results = prove(planted.spec, actions=actions, facts={planted.fact})
    assert results
    assert all(result.verdict != FAILS for result in results)
