"""A second turn is told from a first one, and from one that nobody waited for."""

import json

import pytest

from vtpm_traces.conform.turns import unfair
from vtpm_traces.recordings.script import entries_of

DOMAINS = (1, 2, 3)


def _step(words: str) -> dict[str, object]:
    return {"ev": "step", "cmd": words}


def _connected(domain: int) -> list[dict[str, object]]:
    front = f"/local/domain/{domain}/device/vtpm/0"
    return [
        {"ev": "xs_read", "path": f"{front}/ring-ref", "value": "8"},
        {"ev": "xs_read", "path": f"{front}/event-channel", "value": "9"},
        {"ev": "map_grant", "domid": domain, "ref": 8, "count": 1, "ok": True},
        {"ev": "evtchn_bind", "domid": domain, "remote_port": 9, "local_port": 10 + domain},
    ]


def _asks(domain: int) -> list[dict[str, object]]:
    return [_step(f"page {domain} 8 0 0a00000001000000"), _step(f"kick {10 + domain}"), _step("run")]


def _served(domain: int) -> list[dict[str, object]]:
    command = "00c10000000a00000054"
    return [
        {"ev": "request", "domid": domain, "handle": 0, "locality": 0, "len": 10, "data": command},
        {"ev": "page_store", "domid": domain, "ref": 8, "offset": 4, "data": "02"},
    ]


def _found(*parts: list[dict[str, object]]) -> str:
    lines = [*(line for domain in DOMAINS for line in _connected(domain)), *(line for part in parts for line in part)]
    found = unfair(entries_of(enumerate([*map(json.dumps, lines), '{"ev":"end"}'], 1), "made"))
    return "" if found is None else str(found)


def test_two_that_ask_again_and_again_keep_nobody_waiting() -> None:
    turns = [part for domain in (1, 2, 3, 1, 2) for part in (_served(domain), _asks(domain))]
    assert _found(*(_asks(domain) for domain in DOMAINS), *turns) == ""


def test_a_second_turn_while_another_waits_is_told() -> None:
    asked = [_asks(domain) for domain in DOMAINS]
    told = "device 1/0 is served twice while the request of device 2/0 waits"
    assert _found(*asked, _served(1), _asks(1), _served(1)) == told


@pytest.mark.parametrize(
    "ended",
    [
        [_step("page 2 8 4 03")],
        [{"ev": "page_store", "domid": 2, "ref": 8, "offset": 4, "data": "02"}],
        [{"ev": "unmap_grant", "domid": 2, "ref": 8}],
        [{"ev": "evtchn_unbind", "local_port": 12}],
    ],
    ids=["cancelled", "refused", "unmapped", "unbound"],
)
def test_whose_request_is_over_waits_no_more(ended: list[dict[str, object]]) -> None:
    assert _found(_asks(1), _asks(2), _served(1), _asks(1), ended, _served(1)) == ""


def test_what_the_backend_was_not_told_does_not_wait() -> None:
    stored = [_step("page 2 8 0 0a00000001000000"), _step("run")]
    assert _found(stored, _asks(1), _served(1), _asks(1), _served(1)) == ""
