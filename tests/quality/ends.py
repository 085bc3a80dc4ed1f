"""Copies of our backend and frontend, each with one defect: `python -m tests.quality.ends NAME` is one as a subject.

A defect is a small change of the text of one module, made before anything has imported it. Rows are those of the
published tables: races (r), interleavings (i), quirks of the code (q), what an end ought to add (E).

Rows that an end could have and that have no place here. In the protocol nothing happens between two requests of a
subject, so that r5, r10, i12 and i14 (a store between a look and a store, a wait that is armed too late) and a header
that is read twice cannot be told from a sound end; nor can E15 (a page is freed although it is mapped), as the subject
does not say what it does with its memory. q1, q2's buffer, q7's freed record and r12's copy need memory that nobody
checks. A sound end may do r1, r6, r9, r14, i8 and i9, too, and leave its keys.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

RING_B, RING_F = "vtpm_impl.ring.backend", "vtpm_impl.ring.frontend"
PAGE, NODES = "vtpm_impl.ring.page", "vtpm_impl.xenbus.nodes"
DEVICE, BACKEND, FRONTEND = "vtpm_impl.xenbus.device", "vtpm_impl.xenbus.backend", "vtpm_impl.xenbus.frontend"


class Planted(NamedTuple):
    """A defect: the texts that were changed in a module, the row that has it, and a run that shows it."""

    end: str
    row: str
    run: str
    module: str
    changes: tuple[tuple[str, str], ...]


def _backend(row: str, run: str, module: str, *changes: tuple[str, str]) -> Planted:
    return Planted("backend", row, run, module, changes)


def _frontend(row: str, run: str, module: str, *changes: tuple[str, str]) -> Planted:
    return Planted("frontend", row, run, module, changes)


_TOO_LONG = """        if length > _ROOM - _REFERENCE * extra:
            self._answer(extra, header.error(Fault.SIZE, b""))
            return None
"""
_CANCELLED = """        if state == _CANCEL:
            self._acknowledge()
            return None
"""
_WITHDRAWN = """        if state != _SUBMIT:
            return None
"""
_ANSWERS_LENGTH = "if not _SHORTEST <= len(response) <= _ROOM - _REFERENCE * extra:"
_LOOKS_LENGTH = "if not _SHORTEST <= length <= _ROOM - _REFERENCE * extra:"
_OVER = "if device.connection is not connection:"
_FINISHES = "connection.ring.finish(answer)"

PLANTED = {
    # ------------------------------------------------------------------------------------------- the backend's ring
    "a-cancel-in-service-gets-no-answer": _backend(
        "r2",
        "accept/cancel-in-service",
        RING_B,
        ("_ASKED = (_SUBMIT, _CANCEL)", "_ASKED = (_SUBMIT,)"),
    ),
    "the-event-of-the-bind-is-taken-for-spurious": _backend(
        "E12",
        "accept/request-before-bind",
        RING_B,
        (
            "        state = self._at.read_state(self._page)\n        if state == _SUBMIT:\n",
            "        state = self._at.read_state(self._page)\n"
            "        if not hasattr(self, '_bound'):\n            self._bound = True\n"
            "        elif state == _SUBMIT:\n",
        ),
    ),
    "a-cancel-at-rest-is-not-acknowledged": _backend(
        "r7",
        "accept/cancel-at-rest",
        RING_B,
        ("        elif state == _CANCEL:\n            self._acknowledge()\n", ""),
    ),
    "a-cancel-before-the-fetch-is-ignored": _backend(
        "r4",
        "accept/cancel-while-another-is-served",
        RING_B,
        (_CANCELLED + _WITHDRAWN, ""),
    ),
    "a-cancelled-request-is-forgotten": _backend(
        "r3",
        "accept/cancel-while-another-is-served",
        RING_B,
        (_CANCELLED, ""),
    ),
    "a-cancel-is-acknowledged-without-an-event": _backend(
        "B1",
        "accept/cancel-at-rest",
        RING_B,
        (
            "            self._at.write_state(self._page, _IDLE)\n            self._notify()\n",
            "            self._at.write_state(self._page, _IDLE)\n",
        ),
    ),
    "a-request-that-is-too-long-gets-no-answer": _backend(
        "r11",
        "reject/request-length-4089",
        RING_B,
        (_TOO_LONG, "        if length > _ROOM - _REFERENCE * extra:\n            return None\n"),
    ),
    "a-length-is-checked-by-a-sum-that-wraps": _backend(
        "r12",
        "reject/request-length-4294967295",
        RING_B,
        (
            "if length > _ROOM - _REFERENCE * extra:",
            "if (length + layout.data_offset(extra)) & 0xFFFF_FFFF > layout.FRAME:",
        ),
    ),
    "a-length-is-believed": _backend("i5", "reject/request-length-4096", RING_B, (_TOO_LONG, "")),
    "extra-pages-are-not-counted": _backend(
        "A2",
        "reject/extra-pages-255",
        RING_B,
        (
            "        if state == _CANCEL:\n            self._ack",
            "        extra = 0\n        if state == _CANCEL:\n            self._ack",
        ),
    ),
    "the-answer-goes-where-the-page-says-now": _backend(
        "r13",
        "reject/extra-pages-change-in-service",
        RING_B,
        (
            "        self._answer(extra, response)\n\n",
            "        self._answer(self._at.read_header(self._page)[4], response)\n\n",
        ),
    ),
    "the-room-for-an-answer-is-what-the-page-says-now": _backend(
        "i6",
        "reject/extra-pages-change-before-a-long-answer",
        RING_B,
        (
            "len(response) <= _ROOM - _REFERENCE * extra:",
            "len(response) <= _ROOM - _REFERENCE * self._at.read_header(self._page)[4]:",
        ),
    ),
    "an-answer-that-is-too-long-stops-the-backend": _backend(
        "i16",
        "reject/answer-length-4089",
        RING_B,
        (_ANSWERS_LENGTH, "if len(response) < _SHORTEST:"),
    ),
    "an-answer-that-is-too-long-is-given-up": _backend(
        "q5",
        "reject/answer-length-8000",
        RING_B,
        (
            "            response = header.error(Fault.NO_ANSWER, command)\n",
            "            return\n",
        ),
    ),
    "an-empty-answer-is-passed-on": _backend(
        "N3",
        "reject/answer-length-0",
        RING_B,
        (_ANSWERS_LENGTH, "if len(response) > 4088:"),
    ),
    "finish-is-stored-before-the-answer": _backend(
        "E4",
        "accept/connect-and-close",
        RING_B,
        (
            "            self._at.write_packet(self._page, extra, response)\n"
            "            self._at.write_state(self._page, _FINISH)\n",
            "            self._at.write_state(self._page, _FINISH)\n"
            "            self._at.write_packet(self._page, extra, response)\n",
        ),
    ),
    "finish-is-stored-without-an-event": _backend(
        "E12",
        "accept/connect-and-close",
        RING_B,
        (
            "            self._at.write_state(self._page, _FINISH)\n            self._notify()\n",
            "            self._at.write_state(self._page, _FINISH)\n",
        ),
    ),
    "the-event-is-sent-before-finish": _backend(
        "B7",
        "accept/connect-and-close",
        RING_B,
        (
            "            self._at.write_state(self._page, _FINISH)\n            self._notify()\n",
            "            self._notify()\n            self._at.write_state(self._page, _FINISH)\n",
        ),
    ),
    "the-answer-is-idle": _backend(
        "B1",
        "accept/connect-and-close",
        RING_B,
        ("self._at.write_state(self._page, _FINISH)", "self._at.write_state(self._page, _IDLE)"),
    ),
    "any-locality-is-0": _backend(
        "E21",
        "accept/connect-and-close",
        RING_B,
        ("(command, locality, extra)", "(command, 0, extra)"),
    ),
    # ----------------------------------------------------------------------------------- the backend between devices
    "an-answer-is-written-although-the-page-is-unmapped": _backend(
        "i1",
        "accept/destroy-while-serving",
        BACKEND,
        (_OVER, "if False:"),
    ),
    "a-stale-answer-goes-into-the-new-connection": _backend(
        "i2",
        "reject/reconnect-in-service",
        BACKEND,
        (_OVER, "if device.connection is None:"),
        (_FINISHES, "device.connection.ring._answer(0, answer)"),
    ),
    "an-answer-goes-to-whoever-connected-first": _backend(
        "i15",
        "accept/three-frontends",
        BACKEND,
        (_FINISHES, "next(iter(self._devices.values())).connection.ring._answer(0, answer)"),
    ),
    "a-device-is-let-go-of-while-its-command-runs": _backend(
        "q7",
        "reject/nodes-removed-in-service",
        BACKEND,
        ("busy = self._job is not None and self._job.device is device", "busy = False"),
    ),
    "the-backend-ends-with-a-device-whose-command-runs": _backend(
        "i10",
        "accept/destroy-while-serving",
        BACKEND,
        ('self._report(device.device, "backend_drops_stale_answer")', "os._exit(1)"),
    ),
    "events-of-the-second-device-are-lost": _backend(
        "E17",
        "accept/three-frontends",
        BACKEND,
        (
            "            if device is not None:\n                self._take_event(device)",
            "            if device is not None:\n                if device is next(iter(self._devices.values())):\n"
            "                    self._take_event(device)\n                else:\n"
            "                    device.connection.port.take()",
        ),
    ),
    "the-lowest-number-is-served-first": _backend(
        "i13",
        "accept/three-frontends-in-turn",
        BACKEND,
        ("self._ready.pop(next(iter(self._ready)))", "self._ready.pop(min(self._ready))"),
    ),
    # ------------------------------------------------------------------------------------- the backend's handshake
    "new-keys-of-a-connected-frontend-are-ignored": _backend(
        "i4",
        "reject/missed-close",
        DEVICE,
        (
            "return self._seen in (S.INITIALISED, S.CONNECTED) and self._seen_keys != self.connection.keys",
            "return False",
        ),
    ),
    "a-frontend-that-closed-keeps-its-mapping": _backend(
        "E14",
        "accept/connect-and-close",
        DEVICE,
        ("if self.leaving or self._seen is S.CLOSED:", "if self.leaving:"),
    ),
    "a-state-is-any-number": _backend(
        "q3",
        "reject/frontend-state-zero-padded-closed",
        NODES,
        (
            '    if len(value) == 1 and value in b"012345678":\n',
            "    if value.strip().isdigit() and int(value) <= 8:\n",
        ),
    ),
    "what-is-no-state-is-taken-for-another": _backend(
        "i7",
        "reject/frontend-state-text",
        NODES,
        ("    return XenbusState.INVALID\n", "    return XenbusState.CLOSED\n"),
    ),
    "a-key-that-is-no-number-stops-the-backend": _backend(
        "E19",
        "reject/ring-ref-text",
        NODES,
        ("    if value is None or _NUMBER.fullmatch(value) is None:\n", "    if value is None:\n"),
    ),
    "a-key-of-more-than-32-bits-is-cut": _backend(
        "E19",
        "reject/ring-ref-huge",
        NODES,
        (
            "    if value is None or _NUMBER.fullmatch(value) is None:\n        return None\n    number = int(value)\n",
            "    if value is None or not value.isdigit():\n"
            "        return None\n    number = int(value) & 0xFFFF_FFFF\n",
        ),
    ),
    "the-frontends-version-is-not-asked-for": _backend(
        "E20",
        "reject/without-feature-protocol-v2",
        DEVICE,
        ("if self._seen_v2 and self._seen_keys is not None", "if self._seen_keys is not None"),
    ),
    "the-backend-connects-only-to-a-connected-frontend": _backend(
        "i11",
        "accept/request-before-connected",
        DEVICE,
        ("wanted = self._seen in (S.INITIALISED, S.CONNECTED)", "wanted = self._seen is S.CONNECTED"),
    ),
    "connected-is-said-before-the-page-is-mapped": _backend(
        "q8",
        "reject/map-fails",
        DEVICE,
        (
            "        connection = self._map() if",
            "        self._move(S.CONNECTED, frm=(S.INIT_WAIT,))\n        connection = self._map() if",
        ),
    ),
    "a-port-that-cannot-be-bound-leaves-the-page-mapped": _backend(
        "q8",
        "reject/bind-fails",
        DEVICE,
        ("        except PlatformError:\n            mapping.unmap()\n", "        except PlatformError:\n"),
    ),
    "the-toolstacks-request-to-close-is-unseen": _backend(
        "E24",
        "accept/detach",
        DEVICE,
        (" or not self._online()", ""),
    ),
    "a-device-is-online-unless-it-says-no": _backend(
        "C1",
        "reject/online-removed",
        DEVICE,
        (
            'self._store.read(f"{self._directory}/online") == b"1"',
            'self._store.read(f"{self._directory}/online") != b"0"',
        ),
    ),
    "a-closed-device-is-opened-again-although-it-is-not-online": _backend(
        "E24",
        "reject/device-not-online-before-start",
        DEVICE,
        ("not (own is S.INITIALISING and self._online())", "own is not S.INITIALISING"),
    ),
    "a-device-that-cannot-be-watched-is-served": _backend(
        "E28",
        "reject/watch-fails",
        BACKEND,
        (
            "                    device.retire()\n                else:\n",
            "                    device.look()\n                else:\n",
        ),
    ),
    "a-frontend-that-is-destroyed-is-unseen": _backend(
        "b11",
        "accept/destroy-while-serving",
        DEVICE,
        ("self._seen is S.UNKNOWN or not self._online()", "False"),
    ),
    "a-device-whose-state-is-none-is-not-closed": _backend(
        "E24",
        "reject/own-state-text",
        DEVICE,
        ("if s not in (S.UNKNOWN, S.INITIALISING)))", "if s not in (S.UNKNOWN, S.INITIALISING, S.INVALID)))"),
    ),
    "a-removed-node-is-written-again": _backend(
        "E24",
        "reject/nodes-removed-by-toolstack",
        DEVICE,
        ("if now is to or now not in frm or", "if now is to or now not in (*frm, S.UNKNOWN) or"),
    ),
    "closing-is-not-followed": _backend(
        "b8",
        "accept/connect-and-close",
        DEVICE,
        ('"backend_follows_closing", self._follow_closing', '"backend_follows_closing", lambda: False'),
    ),
    "after-a-close-the-backend-stays-closed": _backend(
        "b9",
        "accept/reconnect",
        DEVICE,
        ('"backend_awaits_reopening", self._await_reopening', '"backend_awaits_reopening", lambda: False'),
    ),
    "a-device-without-a-uuid-is-served": _backend(
        "b1",
        "reject/device-without-uuid",
        DEVICE,
        ('nodes.parse_uuid(store.read(f"{directory}/uuid")) is not None', "True"),
    ),
    "no-version-is-published": _backend(
        "E20",
        "accept/connect-and-close",
        DEVICE,
        ("            view.write(node, nodes.VERSION)\n", ""),
    ),
    "a-device-that-was-there-before-is-not-found": _backend(
        "E25",
        "accept/device-before-start",
        BACKEND,
        ("            elif token == DIRECTORY:\n", "            elif token == DIRECTORY and path != DIRECTORY:\n"),
    ),
    "the-second-device-of-a-domain-is-not-found": _backend(
        "q2",
        "accept/two-devices-of-one-domain",
        NODES,
        (r"(\d{1,9})(?:/.*)?", r"(0)(?:/.*)?"),
    ),
    # ------------------------------------------------------------------------------------------------- the frontend
    "a-command-is-sent-over-one-that-stands": _frontend(
        "r8",
        "reject/state-byte-before-a-command",
        RING_F,
        ("if state not in _FREE:", "if False:"),
    ),
    "submit-is-stored-before-the-command": _frontend(
        "E4",
        "accept/connect-and-close",
        RING_F,
        (
            "        self._at.write_request(self._page, extra, locality, command)\n"
            "        self._at.write_state(self._page, _SUBMIT)\n",
            "        self._at.write_state(self._page, _SUBMIT)\n"
            "        self._at.write_request(self._page, extra, locality, command)\n",
        ),
    ),
    "submit-is-stored-without-an-event": _frontend(
        "E12",
        "accept/connect-and-close",
        RING_F,
        (
            "        self._at.write_state(self._page, _SUBMIT)\n        self._notify()\n",
            "        self._at.write_state(self._page, _SUBMIT)\n",
        ),
    ),
    "the-event-is-sent-before-submit": _frontend(
        "B7",
        "accept/connect-and-close",
        RING_F,
        (
            "        self._at.write_state(self._page, _SUBMIT)\n        self._notify()\n",
            "        self._notify()\n        self._at.write_state(self._page, _SUBMIT)\n",
        ),
    ),
    "the-length-of-an-answer-is-believed": _frontend(
        "A3",
        "reject/answer-length-4089",
        RING_F,
        (_LOOKS_LENGTH, "if False:"),
    ),
    "an-answer-that-is-too-long-is-cut": _frontend(
        "A3",
        "reject/answer-length-4294967295",
        RING_F,
        (
            _LOOKS_LENGTH,
            "if (length := min(length, _ROOM)) < _SHORTEST:",
        ),
        ("if not header.is_whole(answer):", "if False:"),
    ),
    "an-answer-need-not-be-as-long-as-its-header-says": _frontend(
        "r6",
        "reject/answer-shorter-than-its-header",
        RING_F,
        ("if not header.is_whole(answer):", "if False:"),
    ),
    "an-answer-of-no-bytes-is-an-answer": _frontend(
        "r14",
        "reject/answer-length-0",
        RING_F,
        ("if not _SHORTEST <= length", "if not 0 <= length"),
        ("if not header.is_whole(answer):", "if False:"),
    ),
    "a-cancelled-command-has-an-empty-answer": _frontend(
        "B5",
        "reject/cancelled-by-the-backend",
        RING_F,
        ('            raise Cancelled("the backend cancelled the request")\n', '            return b""\n'),
    ),
    "a-command-that-is-too-long-is-cut": _frontend(
        "A3",
        "reject/command-too-long",
        RING_F,
        (
            "        if not 0 <= extra <= 255 or len(command)",
            "        command = command[:4088]\n        if not 0 <= extra <= 255 or len(command)",
        ),
    ),
    "the-locality-is-not-written": _frontend(
        "E21",
        "accept/connect-and-close",
        PAGE,
        ("    page[5] = locality\n", ""),
    ),
    "extra-pages-of-others-are-left-in-the-page": _frontend(
        "A2",
        "reject/extra-pages-before-a-command",
        PAGE,
        ("    page[7] = extra\n", ""),
    ),
    "the-backends-version-is-not-asked-for": _frontend(
        "E20",
        "reject/backend-of-version-3",
        FRONTEND,
        ("if found != nodes.VERSION:", "if False:"),
    ),
    "the-backends-version-is-asked-for-too-late": _frontend(
        "E20",
        "reject/backend-without-version",
        FRONTEND,
        (
            "            self._read_version()\n",
            "            self._move(S.CONNECTED)\n            self._read_version()\n",
        ),
    ),
    "the-state-is-written-before-the-keys": _frontend(
        "E19",
        "accept/connect-and-close",
        FRONTEND,
        ("            self._publish()\n", "            self._move(S.INITIALISED)\n            self._publish()\n"),
    ),
    "keys-are-published-anew-before-the-backend-has-let-go": _frontend(
        "E19",
        "accept/opens-again-while-the-backend-closes",
        FRONTEND,
        (
            "                self._await_backend(lambda be: be in let_go,",
            "                (lambda *_: None)(lambda be: be in let_go,",
        ),
        ("        if state is S.CLOSED:\n", "        if False:\n"),
    ),
    "closed-is-never-said": _frontend(
        "C5",
        "accept/connect-and-close",
        FRONTEND,
        ("            if closing:\n                self._move(S.CLOSED)\n", "            if closing:\n"),
    ),
    "a-connection-that-fails-is-left-open": _frontend(
        "l6b",
        "accept/refused",
        FRONTEND,
        (
            "        except FrontendError:\n            self.close()\n            raise\n",
            "        except FrontendError:\n            raise\n",
        ),
    ),
    "a-backend-that-vanishes-is-unseen": _frontend(
        "l11",
        "accept/backend-vanishes",
        FRONTEND,
        ("lost = state in (S.UNKNOWN, S.CLOSING, S.CLOSED)", "lost = state in (S.CLOSING, S.CLOSED)"),
    ),
    "a-backend-that-closes-is-unseen": _frontend(
        "l10",
        "accept/backend-detaches",
        FRONTEND,
        ("lost = state in (S.UNKNOWN, S.CLOSING, S.CLOSED)", "lost = state is S.UNKNOWN"),
    ),
    "a-backend-that-closes-is-unseen-while-a-command-runs": _frontend(
        "E11",
        "accept/backend-closes-in-service",
        FRONTEND,
        (
            "                else:\n                    self._lose_if_gone()\n",
            "                else:\n                    list(self._store.events())\n",
        ),
    ),
    "a-backend-that-refuses-is-waited-for": _frontend(
        "m4",
        "accept/refused",
        FRONTEND,
        (
            "            if self._connection is not None and state in (S.CLOSING, S.CLOSED) and",
            "            if False and",
        ),
    ),
    "an-answer-is-waited-for-without-an-end": _frontend(
        "E11",
        "accept/no-answer-in-time",
        FRONTEND,
        (
            "        deadline = self._platform.now() + timeout\n        if not self._turn",
            "        deadline = 1e9\n        if not self._turn",
        ),
    ),
    "a-command-whose-time-is-over-is-not-cancelled": _frontend(
        "E2x",
        "accept/no-answer-in-time",
        FRONTEND,
        ("        connection.ring.cancel()\n        self._report", "        self._report"),
    ),
    "a-backend-that-never-connects-is-waited-for": _frontend(
        "m4",
        "accept/no-backend-in-time",
        FRONTEND,
        ("self._open(self._platform.now() + timeout)", "self._open(1e9)"),
    ),
}
"""By name: what is wrong with the copy, in a few words."""


def changed(planted: Planted) -> str:
    """The text of the module with the defect in it."""
    found = importlib.util.find_spec(planted.module)
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).read_text("utf-8")
    for old, new in planted.changes:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {planted.module}"
        source = source.replace(old, new)
    return source


def plant(planted: Planted) -> None:
    """Let the module be the changed one for whoever imports it from now on."""
    assert planted.module not in sys.modules
    found = importlib.util.find_spec(planted.module)
    assert found is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[planted.module] = module
    exec(compile(changed(planted), planted.module, "exec"), module.__dict__)


def main(arguments: list[str]) -> None:
    """Be a subject."""
    (name,) = arguments
    planted = PLANTED[name]
    plant(planted)
    from vtpm_impl.cli import app

    app(["sut", planted.end])


if __name__ == "__main__":
    main(sys.argv[1:])
