"""The shared page: its layout, and every bound on what either end may read from it or write into it.

One frame of 4 KiB holds a header of 8 bytes, a list of grant references that nobody maps, and the packet. The frontend
may be hostile: it stores any header at any time, also between the backend's look and its use. The model keeps what
matters for bounds: the header, the backend's private copy of it, and which bytes each end touched last. The numbers are
exact; the variants that wrap do so where the machine does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from vtpm_model import sources
from vtpm_model.core import (
    U8,
    U32,
    Action,
    Actor,
    Nat,
    Spec,
    Step,
    action,
    always,
    among,
    eventually,
    every_step,
    implies,
    negate,
    record,
    replace,
    require,
    wrap,
)

# ---------------------------------------------------------------------------------------------------------- layout

FRAME = 4096
"""Bytes that one grant shares: a Xen frame, whatever the page size of the guest."""

HEADER = 8
"""Bytes of the fixed header. The diagram in tpmif.h says 16; its structure and every implementation say 8."""

GRANT_REFERENCE = 4
"""Bytes of one entry of the list of extra pages."""

TPM_HEADER = 10
"""Bytes of the smallest TPM packet: tag (2), length (4), command or return code (4)."""


@dataclass(frozen=True)
class Field:
    """A field of the header: its place and width in bytes, and who ever writes it after the page was granted."""

    name: str
    offset: int
    width: int
    writers: tuple[Actor, ...]


LAYOUT = (
    Field("length", 0, 4, (Actor.FRONTEND, Actor.BACKEND)),
    Field("state", 4, 1, (Actor.FRONTEND, Actor.BACKEND)),
    Field("locality", 5, 1, (Actor.FRONTEND,)),
    Field("pad", 6, 1, ()),
    Field("nr_extra_pages", 7, 1, (Actor.FRONTEND,)),
)
"""The header, in order and without gaps, each field in the byte order of the guest (little endian on x86 and Arm)."""


def data_offset(extra: int) -> int:
    """Where the packet begins, in bytes, with `extra` entries in the list before it."""
    return HEADER + GRANT_REFERENCE * extra


def capacity(extra: int) -> int:
    """How many bytes of packet fit behind `extra` entries: 4 088 for none, 3 068 for 255."""
    return FRAME - data_offset(extra)


def request_fits(extra: int, length: int) -> bool:
    """Whether a request of `length` bytes lies in the frame. Compares without a sum, so nothing can wrap."""
    return length <= capacity(extra)


def reply_fits(extra: int, length: int) -> bool:
    """Whether a reply of `length` bytes is a TPM packet that lies in the frame."""
    return (length >= TPM_HEADER) & (length <= capacity(extra))


# ----------------------------------------------------------------------------------------------------------- state


class Phase(IntEnum):
    """How far the backend is with the request."""

    RESTING = 0
    TAKEN = 1  # it has its own copy of the header
    COPIED = 2  # and of the packet: the engine is at work
    ANSWERED = 3  # the engine's answer is not yet in the page


@record
class Header:
    """The fields of the header that bound an access."""

    length: U32
    extra: U8


@record
class Extent:
    """Bytes of the page that were touched: from `first` up to but not including `end`."""

    first: Nat
    end: Nat


@record
class State:
    """The page, the backend's private copies, and what each end touched last."""

    asked: bool  # the state word says SUBMIT
    page: Header
    taken: Header  # the backend's snapshot
    phase: Phase
    answer: U32  # bytes that the engine answered with
    copied: Extent  # read by the backend as a request
    stored: Extent  # written by the backend as a reply
    sent: Extent  # written by a frontend that keeps the rules, as a request
    read: Extent  # read by such a frontend, as a reply


RESTING, TAKEN, COPIED, ANSWERED = Phase
NOTHING = Extent(first=HEADER, end=HEADER)


def extent(extra: int, length: int) -> Extent:
    """The bytes of a packet."""
    return Extent(first=data_offset(extra), end=data_offset(extra) + length)


def in_the_packet_area(touched: Extent) -> bool:
    """Whether the bytes touched lie behind the header and before the end of the frame."""
    return (touched.first >= HEADER) & (touched.end <= FRAME)


def init() -> State:
    """A page that was zeroed and granted."""
    zero = Header(length=0, extra=0)
    return State(
        asked=False, page=zero, taken=zero, phase=RESTING, answer=0,
        copied=NOTHING, stored=NOTHING, sent=NOTHING, read=NOTHING,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------- actions


@action(by=Actor.FRONTEND, cites=(sources.TPMIF_SHARED_PAGE, sources.TPMIF_WRITERS))
def frontend_stores_a_header(s: State, length: U32, extra: U8, asked: bool) -> State:
    """A hostile frontend stores any header at any time."""
    return replace(s, page=Header(length=length, extra=extra), asked=asked)


@action(by=Actor.FRONTEND, cites=(sources.LINUX_SEND_BOUNDS, sources.TPMFRONT_SEND_BOUNDS))
def frontend_sends(s: State, length: U32) -> State:
    """A frontend that keeps the bounds writes a request that fits, without extra pages."""
    require(request_fits(0, length))
    return replace(s, page=Header(length=length, extra=0), asked=True, sent=extent(0, length))


@action(by=Actor.FRONTEND, cites=(sources.LINUX_RECV_BOUNDS, sources.TPMFRONT_RECV_BOUNDS))
def frontend_reads(s: State) -> State:
    """A frontend that keeps the bounds reads a reply that fits, and none that does not."""
    require(reply_fits(0, s.page.length))
    return replace(s, read=extent(0, s.page.length))


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_SNAPSHOT)
def backend_takes_the_header(s: State) -> State:
    """The backend reads each field of the header once, into its own memory."""
    require(s.asked)
    require(s.phase == RESTING)
    return replace(s, phase=TAKEN, taken=s.page)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_COPIES_THE_REQUEST)
def backend_copies_the_request(s: State) -> State:
    """The backend copies a request that fits."""
    require(s.phase == TAKEN)
    require(request_fits(s.taken.extra, s.taken.length))
    return replace(s, phase=COPIED, copied=extent(s.taken.extra, s.taken.length))


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMIF_CANCEL, sources.TPMBACK_BAD_REQUEST_STAYS_READY))
def backend_refuses_the_request(s: State) -> State:
    """A request that does not fit is put to an end: the backend stores IDLE and is free."""
    require(s.phase == TAKEN)
    require(negate(request_fits(s.taken.extra, s.taken.length)))
    return replace(s, phase=RESTING, asked=False)


@action(by=Actor.ENGINE, owed=True, cites=sources.TPMBACK_COMMAND_INTERFACE)
def engine_answers(s: State, length: U32) -> State:
    """The engine answers with as many bytes as it likes."""
    require(s.phase == COPIED)
    return replace(s, phase=ANSWERED, answer=length)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_SEND_RESPONSE, sources.TPMBACK_STORES_FINISH))
def backend_replies(s: State) -> State:
    """The backend stores the answer where the snapshot says; for one that does not fit, a TPM error in its place."""
    require(s.phase == ANSWERED)
    if reply_fits(s.taken.extra, s.answer):
        return reply(s, s.taken.extra, s.answer, s.answer)
    return reply(s, s.taken.extra, TPM_HEADER, TPM_HEADER)


def reply(s: State, extra: int, length: int, stored: int) -> State:
    """The reply is in the page: `length` is published, `stored` bytes are written, the state word says FINISH."""
    published = Header(length=length, extra=s.page.extra)
    return replace(s, phase=RESTING, asked=False, page=published, stored=extent(extra, stored))


# ----------------------------------------------------------------------------------------------------------- facts


@always(covers="E6", about=Actor.BACKEND, cites=(sources.TPMBACK_REQUEST_BOUNDS_WRAP, sources.TPMIF_SHARED_PAGE))
def the_backend_reads_requests_only_inside_the_frame(s: State) -> bool:
    """Every byte that the backend copied as a request lies in the packet area of the frame."""
    return in_the_packet_area(s.copied)


@always(covers=("E6", "E8"), about=Actor.BACKEND, cites=(sources.TPMBACK_SNAPSHOT, sources.TPMIF_DIAGRAM))
def the_request_is_copied_from_where_its_header_said(s: State) -> bool:
    """While a request is served, what was copied is what the snapshot described: o = 8 + 4·extra, o + length."""
    served = among(s.phase, COPIED, ANSWERED)
    offset = HEADER + GRANT_REFERENCE * s.taken.extra
    return implies(served, (s.copied.first == offset) & (s.copied.end == offset + s.taken.length))


@always(covers="E7", about=Actor.FRONTEND, cites=(sources.LINUX_SEND_BOUNDS, sources.XENBUS_SETUP_RING_SHARES_4_KIB))
def the_frontend_writes_requests_only_inside_the_frame(s: State) -> bool:
    """Every byte that a frontend wrote as a request lies in the packet area of the frame."""
    return in_the_packet_area(s.sent)


@always(covers="E7", about=Actor.FRONTEND, cites=(sources.LINUX_RECV_BOUNDS, sources.TPMFRONT_RECV_BOUNDS))
def the_frontend_reads_replies_only_inside_the_frame(s: State) -> bool:
    """Every byte that a frontend read as a reply lies in the packet area of the frame, whatever the header said."""
    return in_the_packet_area(s.read)


@every_step(covers="E8", about=Actor.BACKEND, cites=(sources.TPMBACK_SNAPSHOT, sources.TPMBACK_RESPONSE_REREADS_EXTRA))
def the_snapshot_is_taken_once_a_request(before: State, step: Step, after: State) -> bool:
    """Only a backend at rest takes a header, all of it at once; nothing changes its copy until it rests again."""
    kept = after.taken == before.taken
    at_once = (before.phase == RESTING) & (after.phase == TAKEN) & (after.taken == before.page)
    return kept | at_once


@every_step(covers="N1", about=Actor.BACKEND, cites=sources.TPMIF_REQUEST_AND_RESPONSE)
def only_what_is_asked_is_taken(before: State, step: Step, after: State) -> bool:
    """The backend takes up a header only while the state word says SUBMIT."""
    return implies((before.phase == RESTING) & (after.phase == TAKEN), before.asked)


@every_step(covers=("E8", "E7"), about=Actor.BACKEND, cites=sources.TPMBACK_RESPONSE_REREADS_EXTRA)
def the_reply_begins_where_the_request_began(before: State, step: Step, after: State) -> bool:
    """A reply is stored at the offset of the request that it answers, whatever the header says by then."""
    return implies(replies(before, after), after.stored.first == before.copied.first)


@every_step(covers="E21", about=Actor.BACKEND, cites=(sources.TPMBACK_COPIES_THE_RESPONSE, sources.TPMIF_SHARED_PAGE))
def the_backend_writes_exactly_the_bytes_that_it_publishes(before: State, step: Step, after: State) -> bool:
    """Of the packet area the backend writes as many bytes as the header then says, and leaves the rest as it was."""
    written = after.stored.end - after.stored.first
    return implies(replies(before, after), written == after.page.length) & implies(
        negate(replies(before, after)), after.stored == before.stored
    )


def replies(before: State, after: State) -> bool:
    """The step ends the service of a request."""
    return (before.phase == ANSWERED) & (after.phase == RESTING)


@every_step(
    covers="N3",
    about=Actor.BACKEND,
    cites=(sources.VTPMMGR_LISTS_MORE_THAN_A_PAGE, sources.VTPM_SKIPS_AN_EMPTY_REQUEST),
)
def every_reply_is_a_packet_that_fits(before: State, step: Step, after: State) -> bool:
    """A served request is answered by 10 bytes or more, and by no more than fitted when its header was taken."""
    length = after.page.length
    fits = (length >= TPM_HEADER) & (length <= FRAME - HEADER - GRANT_REFERENCE * before.taken.extra)
    return implies(replies(before, after), fits)


@every_step(
    covers="E7",
    about=Actor.BACKEND,
    cites=(sources.TPMBACK_LENGTH_BEFORE_CHECK, sources.TPMIF_SHARED_PAGE),
    derived_from=(
        "the_request_is_copied_from_where_its_header_said",
        "the_reply_begins_where_the_request_began",
        "the_backend_writes_exactly_the_bytes_that_it_publishes",
        "every_reply_is_a_packet_that_fits",
    ),
)
def the_backend_writes_replies_only_inside_the_frame(before: State, step: Step, after: State) -> bool:
    """Every byte that the backend writes as a reply lies in the packet area of the frame."""
    return implies(after.stored != before.stored, in_the_packet_area(after.stored))


@every_step(covers=("E7", "N3"), about=Actor.BACKEND, cites=sources.TPMBACK_LENGTH_BEFORE_CHECK)
def the_backend_touches_the_header_only_to_publish_a_reply(before: State, step: Step, after: State) -> bool:
    """The backend stores a length only together with the reply of that length, and never the number of extra pages."""
    published = replies(before, after) & negate(after.asked)
    same = after.page.length == before.page.length
    return implies(step.by == Actor.BACKEND, (same | published) & (after.page.extra == before.page.extra))


@every_step(covers="N3", about=Actor.BACKEND, cites=sources.TPMBACK_COPIES_THE_RESPONSE)
def an_answer_that_fits_is_delivered_unchanged(before: State, step: Step, after: State) -> bool:
    """The published length is the engine's wherever that is a packet that fits."""
    fits = (before.answer >= TPM_HEADER) & (before.answer <= FRAME - HEADER - GRANT_REFERENCE * before.taken.extra)
    return implies(replies(before, after) & fits, after.page.length == before.answer)


@every_step(covers="E10", about=Actor.BACKEND, cites=sources.TPMBACK_BAD_REQUEST_STAYS_READY)
def only_a_request_that_does_not_fit_is_refused(before: State, step: Step, after: State) -> bool:
    """A request that lies in the frame reaches the engine."""
    refused = (before.phase == TAKEN) & (after.phase == RESTING)
    return implies(refused, before.taken.length > FRAME - HEADER - GRANT_REFERENCE * before.taken.extra)


def next_in_line(s: State) -> str:
    """The group whose turn it is."""
    if s.phase == COPIED:
        return "engine"
    return "backend"


def steps_left(s: State) -> tuple[int, ...]:
    """How many steps the request is from its end."""
    return (4 - s.phase,)


@eventually(
    helpful=next_in_line, rank=steps_left, covers="E11", about=Actor.BACKEND,
    cites=(sources.TPMBACK_BAD_REQUEST_STAYS_READY, sources.TPMBACK_LONG_RESPONSE_STAYS_READY),
)  # fmt: skip
def every_request_comes_to_an_end(s: State) -> bool:
    """Whatever the header says and however long the answer is, SUBMIT gives way to FINISH or IDLE."""
    return s.asked


# --------------------------------------------------------------------------------------------------- specification

PAGE: Spec[State] = Spec(
    name="page",
    doc="The shared page between a backend and a frontend that stores any header at any time.",
    state=State,
    init=init,
    actions=(
        frontend_stores_a_header,
        frontend_sends,
        frontend_reads,
        backend_takes_the_header,
        backend_copies_the_request,
        backend_refuses_the_request,
        engine_answers,
        backend_replies,
    ),
    facts=(
        the_backend_reads_requests_only_inside_the_frame,
        the_request_is_copied_from_where_its_header_said,
        the_frontend_writes_requests_only_inside_the_frame,
        the_frontend_reads_replies_only_inside_the_frame,
        the_snapshot_is_taken_once_a_request,
        only_what_is_asked_is_taken,
        the_reply_begins_where_the_request_began,
        the_backend_writes_exactly_the_bytes_that_it_publishes,
        every_reply_is_a_packet_that_fits,
        the_backend_writes_replies_only_inside_the_frame,
        the_backend_touches_the_header_only_to_publish_a_reply,
        an_answer_that_fits_is_delivered_unchanged,
        only_a_request_that_does_not_fit_is_refused,
    ),
    liveness=(every_request_comes_to_an_end,),
    fair={
        "backend": (
            "backend_takes_the_header",
            "backend_copies_the_request",
            "backend_refuses_the_request",
            "backend_replies",
        ),
        "engine": ("engine_answers",),
    },
)


# ---------------------------------------------------------------------------------------------------------- defects


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_REQUEST_BOUNDS_WRAP)
def wrapping_check(s: State) -> State:
    """The sum of offset and length is kept in 32 bits and then compared with the frame."""
    require(s.phase == TAKEN)
    require(wrap(data_offset(s.taken.extra) + s.taken.length, 32) <= FRAME)
    return replace(s, phase=COPIED, copied=extent(s.taken.extra, s.taken.length))


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_REQUEST_BOUNDS_WRAP)
def wrapping_refusal(s: State) -> State:
    """Only what the wrapped sum shows too long is refused."""
    require(s.phase == TAKEN)
    require(wrap(data_offset(s.taken.extra) + s.taken.length, 32) > FRAME)
    return replace(s, phase=RESTING, asked=False)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_SNAPSHOT)
def second_fetch(s: State) -> State:
    """The copy is made with the header as it is by now, after the check of the first one."""
    require(s.phase == TAKEN)
    require(request_fits(s.taken.extra, s.taken.length))
    return replace(s, phase=COPIED, copied=extent(s.page.extra, s.page.length))


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_SNAPSHOT)
def extra_of_the_request_before(s: State) -> State:
    """Only the length is taken; the number of extra pages is the one that was found before."""
    require(s.asked)
    require(s.phase == RESTING)
    return replace(s, phase=TAKEN, taken=Header(length=s.page.length, extra=s.taken.extra))


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMIF_CANCEL)
def length_at_refusal(s: State) -> State:
    """A refusal leaves a length of 0 behind."""
    require(s.phase == TAKEN)
    require(negate(request_fits(s.taken.extra, s.taken.length)))
    return replace(s, phase=RESTING, asked=False, page=Header(length=0, extra=s.page.extra))


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMFRONT_SEND_BOUNDS)
def constant_offset(s: State) -> State:
    """The reply is placed behind the header, whatever lies between it and the request."""
    require(s.phase == ANSWERED)
    if reply_fits(s.taken.extra, s.answer):
        return reply(s, 0, s.answer, s.answer)
    return reply(s, 0, TPM_HEADER, TPM_HEADER)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_RESPONSE_REREADS_EXTRA)
def reread_of_extra(s: State) -> State:
    """The reply is placed by the number of extra pages that the header has by now."""
    require(s.phase == ANSWERED)
    if reply_fits(s.page.extra, s.answer):
        return reply(s, s.page.extra, s.answer, s.answer)
    return reply(s, s.page.extra, TPM_HEADER, TPM_HEADER)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_LONG_RESPONSE_STAYS_READY)
def reread_of_extra_and_no_way_out(s: State) -> State:
    """The reply is placed by the number of extra pages of now; where it no longer fits, none is ever given."""
    require(s.phase == ANSWERED)
    require(reply_fits(s.page.extra, s.answer))
    return reply(s, s.page.extra, s.answer, s.answer)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_LENGTH_BEFORE_CHECK)
def length_before_check(s: State) -> State:
    """The length of the reply is stored first; if the reply then does not fit, the request is taken up again."""
    require(s.phase == ANSWERED)
    if reply_fits(s.taken.extra, s.answer):
        return reply(s, s.taken.extra, s.answer, s.answer)
    return replace(s, phase=RESTING, page=Header(length=s.answer, extra=s.page.extra))


@action(by=Actor.BACKEND, owed=True, cites=(sources.VTPMMGR_LISTS_MORE_THAN_A_PAGE, sources.VTPMMGR_BUFFER_SIZE))
def no_word_for_a_long_answer(s: State) -> State:
    """An answer that does not fit is never replied to."""
    require(s.phase == ANSWERED)
    require(reply_fits(s.taken.extra, s.answer))
    return reply(s, s.taken.extra, s.answer, s.answer)


@action(by=Actor.BACKEND, owed=True, cites=sources.VTPM_SKIPS_AN_EMPTY_REQUEST)
def short_reply(s: State) -> State:
    """An answer that is no TPM packet, or empty, is replied as it is."""
    require(s.phase == ANSWERED)
    if s.answer <= capacity(s.taken.extra):
        return reply(s, s.taken.extra, s.answer, s.answer)
    return reply(s, s.taken.extra, TPM_HEADER, TPM_HEADER)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_COPIES_THE_RESPONSE)
def whole_buffer(s: State) -> State:
    """The backend copies all that fits of its buffer, which last served somebody else."""
    require(s.phase == ANSWERED)
    if reply_fits(s.taken.extra, s.answer):
        return reply(s, s.taken.extra, s.answer, capacity(s.taken.extra))
    return reply(s, s.taken.extra, TPM_HEADER, TPM_HEADER)


@action(by=Actor.FRONTEND, cites=(sources.LINUX_SEND_BOUNDS, sources.XENBUS_SETUP_RING_SHARES_4_KIB))
def check_by_the_size_of_the_guests_pages(s: State, length: U32) -> State:
    """The frontend compares with its own pages of 64 KiB; its packets have up to 4 096 bytes."""
    require(data_offset(0) + length <= 0x1_0000)
    require(length <= 4096)
    return replace(s, page=Header(length=length, extra=0), asked=True, sent=extent(0, length))


@action(by=Actor.FRONTEND, cites=sources.LINUX_RECV_BOUNDS)
def clamp_in_32_bits(s: State) -> State:
    """A length whose sum with the offset wraps is not cut to the frame but to the reader's buffer of 4 096 bytes."""
    if wrap(data_offset(0) + s.page.length, 32) > FRAME:
        return replace(s, read=extent(0, capacity(0)))
    if s.page.length > 4096:
        return replace(s, read=extent(0, 4096))
    return replace(s, read=extent(0, s.page.length))


def _in_place_of(original: Action[State], mistaken: Action[State]) -> Action[State]:
    return dataclasses.replace(mistaken, name=original.name)


def _defect(name: str, doc: str, *pairs: tuple[Action[State], Action[State]]) -> Spec[State]:
    return PAGE.variant(name, doc=doc, replaced=tuple(_in_place_of(*pair) for pair in pairs))


DEFECTS: Mapping[str, Spec[State]] = MappingProxyType(
    {
        "r11": PAGE.variant(
            "r11", doc="A request that does not fit is neither served nor refused.",
            dropped=("backend_refuses_the_request",),
        ),
        "r12": _defect(
            "r12", "Offset and length are added in 32 bits, so a length near 2^32 passes the check.",
            (backend_copies_the_request, wrapping_check), (backend_refuses_the_request, wrapping_refusal),
        ),
        "r13": _defect(
            "r13", "The reply is placed by a number of extra pages that was read again.",
            (backend_replies, reread_of_extra),
        ),
        "r14-empty": _defect(
            "r14-empty", "An empty request gets an empty reply.", (backend_replies, short_reply)
        ),
        "i6": _defect(
            "i6", "A number of extra pages that grew since the fetch leaves the reply no room, and the request no end.",
            (backend_replies, reread_of_extra_and_no_way_out),
        ),
        "i16": _defect(
            "i16", "A legitimate answer of more than a page is never replied to.",
            (backend_replies, no_word_for_a_long_answer),
        ),
        "q5": _defect(
            "q5", "The length of a reply is stored before it is known to fit.", (backend_replies, length_before_check)
        ),
        "q20-64k": _defect(
            "q20-64k", "A guest with 64 KiB pages writes behind the 4 KiB that it shares.",
            (frontend_sends, check_by_the_size_of_the_guests_pages),
        ),
        "q20-32bit": _defect(
            "q20-32bit", "A 32-bit guest reads behind the page when the length wraps.",
            (frontend_reads, clamp_in_32_bits),
        ),
        "double-fetch": _defect(
            "double-fetch", "The header is read once for the check and once more for the copy.",
            (backend_copies_the_request, second_fetch),
        ),
        "whole-buffer": _defect(
            "whole-buffer", "A reply brings along what its buffer held before.", (backend_replies, whole_buffer)
        ),
        "stale-extra": _defect(
            "stale-extra", "The number of extra pages is not read anew for each request.",
            (backend_takes_the_header, extra_of_the_request_before),
        ),
        "constant-offset": _defect(
            "constant-offset", "The reply is placed at offset 8, whatever the number of extra pages.",
            (backend_replies, constant_offset),
        ),
        "length-at-refusal": _defect(
            "length-at-refusal", "The backend stores a length without a reply.",
            (backend_refuses_the_request, length_at_refusal),
        ),
    }
)  # fmt: skip
"""The specification with one mistake each, by the row of the mistake: every one of them breaks a fact."""
