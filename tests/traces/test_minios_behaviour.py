"""What mini-os does in situations that the kept recordings do not show, as the dossier tells it, and what is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.traces.driven_script import ANSWER, COMMAND, Back, Front

from vtpm_traces.recordings.judged import MINI_OS, TRUE_MODEL, judge

Story = Callable[[], tuple[Back | Front, int]]
"""A recording, and the line at which the true model refuses it (0: it does not)."""


def connected() -> Back:
    back = Back()
    back.start()
    back.create()
    back.connect()
    return back


def an_idle_cancel_is_acknowledged() -> tuple[Back, int]:
    back = connected()
    back.do("page 77 451 4 03", "kick 10", "run")
    back.notifies()
    back.show(0, 0, "")
    return back, 0


def an_idle_cancel_is_not_acknowledged() -> tuple[Back, int]:
    back = connected()
    back.do("page 77 451 4 03", "kick 10")
    return back, back.do("run")


def a_cancel_in_service_is_passed_over() -> tuple[Back, int]:
    back = connected()
    back.serve()
    back.do("page 77 451 4 03", "kick 10", "run", f"resp {ANSWER}", "run")
    back.notifies()
    back.show(14, 2, ANSWER)
    return back, 0


def a_cancelled_request_is_executed() -> tuple[Back, int]:
    """r4: the handler has flagged it, the fetch does not look again."""
    back = connected()
    back.submit()
    back.do("page 77 451 4 03", "kick 10", "run")
    return back, back.requests()


def the_toolstack_asks_to_close() -> tuple[Back, int]:
    """b3, i8: nobody listens."""
    back = connected()
    back.do(f"set {back.back}/online 0", f"set {back.back}/state 5")
    line = back.do("run")
    back.do(f"rm {back.front}", "run")
    back.wrote("state", "5")
    back.disconnects()
    back.wrote("state", "6")
    back.see("close_callback", domid=77, handle=3)
    back.see("xs_rm", path=back.own)
    return back, line


def the_backend_closes_when_asked() -> tuple[Back, int]:
    """What a sound backend does; mini-os never would."""
    back = connected()
    back.do(f"set {back.back}/online 0", f"set {back.back}/state 5", "run")
    back.disconnects()
    back.wrote("state", "6")
    back.see("close_callback", domid=77, handle=3)
    return back, 0


def a_missed_close() -> tuple[Back, int]:
    """i4: Closed and Initialised again before the backend looked."""
    back = connected()
    back.do(f"set {back.front}/state 6")
    back.publish(452, 46, "3")
    line = back.do("run")
    back.reads_frontend("3")
    return back, line


def a_phantom_request() -> tuple[Back, int]:
    """i3: the flag of a request that was never fetched survives into the next connection."""
    back = connected()
    back.do("page 77 451 0 f90f000001000000", "kick 10")
    line = back.do("run")
    back.see("req_any_null")
    back.do(f"set {back.front}/state 6", "run")
    back.disconnects()
    back.wrote("state", "2")
    back.publish(452, 46)
    back.do("run")
    back.connects(452, 46, 11)
    back.requests("")
    return back, line


def a_late_answer_reaches_the_next_connection() -> tuple[Back, int]:
    """i2."""
    back = connected()
    back.serve()
    back.do(f"set {back.front}/state 6", "run")
    back.disconnects()
    back.wrote("state", "2")
    back.publish(452, 46)
    back.do("run")
    back.connects(452, 46, 11)
    back.do(f"resp {ANSWER}", "run")
    return back, back.notifies(11, 46)


def a_late_answer_is_dropped() -> tuple[Back, int]:
    back = connected()
    back.serve()
    back.do(f"set {back.front}/state 6", "run")
    back.disconnects()
    back.wrote("state", "2")
    back.publish(452, 46)
    back.do("run")
    back.connects(452, 46, 11)
    back.do(f"resp {ANSWER}", "run")
    back.show(0, 0, "", ref=452)
    return back, 0


def an_answer_into_an_unmapped_page_kills() -> tuple[Back, int]:
    """i1, r15."""
    back = connected()
    back.serve()
    back.do(f"set {back.front}/state 6", "run")
    back.disconnects()
    back.wrote("state", "2")
    back.do(f"resp {ANSWER}", "run")
    return back, back.see("process_end", rc=-11)


def the_page_shrinks_before_the_answer() -> tuple[Back, int]:
    """i6, r13: nr_extra_pages is read again for the answer."""
    back = connected()
    back.serve()
    back.do("page 77 451 7 ff", "resplen 3100")
    line = back.do("run")
    back.see("req_any_null")
    return back, line


def connected_cannot_be_announced() -> tuple[Back, int]:
    """The write of Connected fails: the mapping is undone, and Closed is written."""
    back = Back()
    back.start()
    back.create()
    back.do("fail write 1")
    back.publish()
    back.do("run")
    back.reads_frontend("4")
    back.see("xs_read", path=f"{back.front}/ring-ref", value="451")
    back.see("xs_read", path=f"{back.front}/event-channel", value="45")
    back.see("map_grant", domid=77, ref=451, count=1, ok=True)
    back.see("evtchn_bind", domid=77, remote_port=45, local_port=10)
    back.see("injected_error", op="write")
    back.disconnects()
    back.wrote("state", "6")
    return back, 0


def the_frontends_state_cannot_be_read() -> tuple[Back, int]:
    """b11: a failing read is taken for a frontend that has gone."""
    back = connected()
    back.do("fail read 1", f"set {back.front}/state 4", "run")
    back.see("injected_error", op="read")
    back.wrote("state", "5")
    back.disconnects()
    back.wrote("state", "6")
    back.see("close_callback", domid=77, handle=3)
    back.see("xs_rm", path=back.own)
    return back, 0


def closing_is_taken_back() -> tuple[Back, int]:
    """b8, then b6: the backend stays in Closing."""
    back = connected()
    back.do(f"set {back.front}/state 5", "run")
    back.wrote("state", "5")
    back.do(f"set {back.front}/state 4", "run")
    back.reads_frontend("4")
    return back, 0


def states_without_meaning_are_ignored() -> tuple[Back, int]:
    """b12."""
    back = connected()
    for state in "278":
        back.do(f"set {back.front}/state {state}", "run")
        back.reads_frontend(state)
    return back, 0


def text_that_is_no_state_closes_the_device() -> tuple[Back, int]:
    """i7, q3: what was on the stack decides, here a 0."""
    back = connected()
    back.do(f"set {back.front}/state x", "run")
    back.reads_frontend("x")
    line = back.wrote("state", "5")
    back.disconnects()
    back.wrote("state", "6")
    back.see("close_callback", domid=77, handle=3)
    back.see("xs_rm", path=back.own)
    return back, line


def a_device_made_anew_is_not_seen() -> tuple[Back, int]:
    """b2, E25: the directory is taken for one that is known."""
    back = connected()
    back.do(f"rm {back.back}")
    line = back.do("run")
    back.do(
        f"set {back.back}", f"set {back.back}/frontend {back.front}", f"set {back.back}/online 1",
        f"set {back.back}/uuid b78e3d62-bf77-d31d-401c-1565dea3b66b", f"set {back.back}/state 1", "run",
    )  # fmt: skip
    return back, line


def a_page_without_its_port() -> tuple[Back, int]:
    back = Back()
    back.start()
    back.create()
    back.publish()
    line = back.do("run")
    back.reads_frontend("4")
    back.see("xs_read", path=f"{back.front}/ring-ref", value="451")
    back.see("map_grant", domid=77, ref=451, count=1, ok=True)
    return back, line


def opened() -> Front:
    front = Front()
    front.create()
    front.open()
    front.backend_connects()
    return front


def a_command_and_its_answer() -> tuple[Front, int]:
    front = opened()
    front.do("loc 2")
    front.command()
    front.do("show 20 100")
    front.see("page", domid=20, ref=100, length=14, state=1, locality=2, pad=0, nr_extra_pages=0, data=COMMAND)
    front.do(f"page 20 100 8 {ANSWER}", "page 20 100 0 0e00000002", "kick 10", "run")
    front.returned(0, ANSWER)
    return front, 0


def opened_twice() -> tuple[Front, int]:
    front = opened()
    front.do("close", "run")
    front.closes()
    front.do(f"set {front.back}/state 2", "run")
    front.lets_go()
    front.see("shutdown_returned")
    front.open(101, 11)
    front.backend_connects()
    return front, 0


def connected_cannot_be_written() -> tuple[Front, int]:
    """m7: the frontend takes itself for connected and closes all the way."""
    front = Front()
    front.create()
    front.do("fail write 1", "init -", "run")
    front.wrote("feature-protocol-v2", "1")
    front.see("grant_access", domid=5, ref=100, readonly=0)
    front.see("evtchn_alloc_unbound", domid=5, local_port=10)
    front.wrote("ring-ref", "100")
    front.wrote("event-channel", "10")
    front.see("injected_error", op="write")
    line = front.wrote("state", "5")
    front.see("xs_rm", path=f"{front.node}/event-channel")
    front.see("xs_rm", path=f"{front.node}/ring-ref")
    front.wrote("state", "6")
    front.lets_go()
    front.see("init_tpmfront_returned", ok=False)
    return front, line


def the_backend_is_initialised_only() -> tuple[Front, int]:
    """m4: not enough to be open."""
    front = Front()
    front.create()
    front.open()
    front.do(f"set {front.back}/state 3", "run")
    front.see("xs_read", path=f"{front.back}/state", value="3")
    return front, 0


def the_backend_vanishes_under_an_open_frontend() -> tuple[Front, int]:
    """m5: nobody watches; E2x: the device is lost."""
    front = opened()
    front.do(f"rm {front.back}")
    return front, front.do("run")


def a_backend_that_is_not_there() -> tuple[Front, int]:
    """m3, m6."""
    front = Front()
    front.create()
    front.do(f"rm {front.back}")
    front.open()
    front.closes()
    front.lets_go()
    front.see("init_tpmfront_returned", ok=False)
    return front, 0


def a_command_that_is_too_long() -> tuple[Front, int]:
    front = opened()
    front.do("cmdlen 4089", "run")
    front.returned(-1, "", 0)
    return front, 0


def a_closed_device_takes_no_command() -> tuple[Front, int]:
    front = opened()
    front.do("close", "run")
    front.closes()
    front.do(f"cmd {COMMAND}", "run")
    front.returned(-1, "", 0)
    return front, 0


MINI_OS_DOES = (
    an_idle_cancel_is_acknowledged,
    a_cancel_in_service_is_passed_over,
    a_cancelled_request_is_executed,
    the_toolstack_asks_to_close,
    a_missed_close,
    a_phantom_request,
    a_late_answer_reaches_the_next_connection,
    an_answer_into_an_unmapped_page_kills,
    the_page_shrinks_before_the_answer,
    connected_cannot_be_announced,
    the_frontends_state_cannot_be_read,
    closing_is_taken_back,
    states_without_meaning_are_ignored,
    text_that_is_no_state_closes_the_device,
    a_device_made_anew_is_not_seen,
    a_command_and_its_answer,
    opened_twice,
    connected_cannot_be_written,
    the_backend_is_initialised_only,
    the_backend_vanishes_under_an_open_frontend,
    a_backend_that_is_not_there,
    a_command_that_is_too_long,
    a_closed_device_takes_no_command,
)

MINI_OS_WOULD_NOT = (
    an_idle_cancel_is_not_acknowledged,
    the_backend_closes_when_asked,
    a_late_answer_is_dropped,
    a_page_without_its_port,
)


@pytest.mark.parametrize("story", MINI_OS_DOES + MINI_OS_WOULD_NOT)
def test_a_story(story: Story, tmp_path: Path) -> None:
    script, line = story()
    form = "tpmback" if isinstance(script, Back) else "tpmfront"
    judged = judge(script.write(tmp_path), form)
    assert judged.malformed == ""
    refused = [refusal for refusal in judged.refusals if refusal.specification == TRUE_MODEL]
    assert [refusal.line for refusal in refused] == ([line] if line else [])
    assert (MINI_OS in judged.accepted_by) == (story in MINI_OS_DOES), judged.refusals
