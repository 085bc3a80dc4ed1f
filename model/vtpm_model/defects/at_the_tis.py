"""Defects of the driver that mini-os has for a TPM behind the TIS, each in the place of a step of the sound driver.

Five rows of the list are none of a protocol, and have no variant: an interrupt that is never bound (m6), an index and a
mask at shutdown (m9), a length that is an error (m13), a locality that is kept while nobody asks (m16, which is
allowed), and the size that a file tells (m17).
"""

from __future__ import annotations

import dataclasses

from vtpm_model import sources
from vtpm_model.core import U16, U32, Action, Actor, Spec, action, among, implies, negate, replace, require, wrap
from vtpm_model.defects.defect import Defect
from vtpm_model.page import TPM_HEADER
from vtpm_model.tis import TIS
from vtpm_model.tis_driver import (
    ABORTING,
    CALLING,
    CHECKING,
    CLEARING,
    CLOSING,
    DATA,
    EXECUTING,
    FOREIGN,
    GARBLED,
    GOING,
    NEITHER,
    NOT_VALID,
    PENDING,
    RECEIVING,
    RELEASING,
    RESPONSE,
    RESTING,
    SENDING,
    TAKING,
    TIMED_OUT,
    Sts,
    Tis,
    begins_to_wait,
    caller_sends,
    driver_aborts,
    driver_asks_for_data,
    driver_asks_for_room,
    driver_awaits_the_response,
    driver_checks_what_is_expected,
    driver_goes,
    driver_reads,
    driver_requests_the_locality,
    driver_times_out,
    driver_writes,
    drops_the_command,
    fails,
    has_lost_it,
    not_yet,
    obeys,
    read_fifo,
    reads_again,
    shows,
    waits,
    write_fifo,
)

D = Actor.DRIVER


def _variant(row: str, doc: str, *pairs: tuple[Action[Tis], Action[Tis]]) -> Spec[Tis]:
    replaced = tuple(dataclasses.replace(mistaken, name=original.name) for original, mistaken in pairs)
    return TIS.variant(row, doc=doc, replaced=replaced)


# ------------------------------------------------------------------------------------------------- m1, m3: time-outs


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_READS_THE_BURST_COUNT, sources.MINIOS_TIS_RECEIVES_DATA))
def no_time_out_of_the_burst_count(s: Tis) -> Tis:
    """That no burst count came is told by a negative one, and the loop goes on."""
    require(waits(s) & s.looked)
    require(s.waited == s.limit)
    require(negate(among(s.doing, SENDING, RECEIVING)))
    if s.doing == TAKING:
        return replace(s, doing=RELEASING, outcome=TIMED_OUT)
    return fails(s, TIMED_OUT)


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_RECEIVES, sources.MINIOS_TIS_TRANSMIT_CMD))
def short_header_at_time_out(s: Tis) -> Tis:
    """After a time-out in the header, as many bytes as were read are the response."""
    require(waits(s) & s.looked)
    require(s.waited == s.limit)
    if (s.doing == RECEIVING) & (s.got < TPM_HEADER):
        return replace(s, doing=CLEARING, outcome=RESPONSE)
    if s.doing == TAKING:
        return replace(s, doing=RELEASING, outcome=TIMED_OUT)
    return fails(s, TIMED_OUT)


# ------------------------------------------------------------------------------------------- m2: a length below ten


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_RECEIVES, sources.MINIOS_TIS_RECEIVES_DATA))
def data_of_any_size(s: Tis, seen: Sts, burst: U16) -> Tis:
    """Whatever size the header names, more is asked for; only one that exceeds the buffer is refused."""
    require((s.doing == RECEIVING) & (s.burst == 0))
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if negate(among(seen, NOT_VALID, DATA)) | (s.expected > 4096):
        return reads_again(after)
    if (seen == DATA) & (burst > 0):
        return replace(after, burst=burst)
    return not_yet(after)


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_RECEIVES, sources.MINIOS_TIS_RECEIVES_DATA))
def reading_of_the_rest_in_32_bits(s: Tis, count: U16, size: U32) -> Tis:
    """What is left after the header is its size less ten, without a sign."""
    require(s.doing == RECEIVING)
    rest = wrap(s.expected - TPM_HEADER, 32) - s.got + TPM_HEADER
    left = TPM_HEADER - s.got if s.got < TPM_HEADER else rest
    require((count >= 1) & (count <= s.burst) & (count <= left))
    right = size == s.fifo.answer
    require(implies(obeys(s) & s.garbled, right))
    after = replace(s, got=s.got + count, burst=s.burst - count, garbled=s.garbled | (obeys(s) & negate(right)))
    after = read_fifo(after, count)
    if s.got + count < TPM_HEADER:
        return after
    if s.got < TPM_HEADER:
        after = replace(after, expected=size, burst=0)
    if after.got == after.expected:
        return begins_to_wait(after, CLOSING, s.limits.status)
    return begins_to_wait(after, RECEIVING, s.limits.status + s.limits.burst)


# ------------------------------------------------------------------------------------------- m4, m5: the burst count


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_READS_THE_BURST_COUNT, sources.TIS_BURST_COUNT))
def torn_burst_count(s: Tis, seen: Sts, first: U16, burst: U16) -> Tis:
    """The low byte of the burst count is read, and then the high byte of what it is by now."""
    require((s.doing == SENDING) & (s.burst == 0))
    require(shows(s, seen, burst))
    torn = first % 256 + burst // 256 * 256
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if torn > 0:
        return replace(after, burst=torn)
    return not_yet(after)


@action(by=D, owed=True, cites=sources.MINIOS_TIS_SENDS_THE_LAST_BYTE)
def last_byte_unasked(s: Tis, count: U16) -> Tis:
    """The last byte is written whatever the burst count is."""
    require(s.doing == SENDING)
    last = (count == 1) & (s.sent == s.length - 1)
    require((count >= 1) & ((count <= s.burst) | last) & (count <= s.length - s.sent))
    after = replace(s, sent=s.sent + count, burst=0 if last else s.burst - count)
    if last | (s.sent + count == s.length):
        after = begins_to_wait(after, CHECKING, s.limits.status)
    return write_fifo(after, count)


# ---------------------------------------------------------------------------------------- m7, m8, m10: the execution


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_WAITS, sources.MINIOS_TIS_GOES))
def any_interrupt_is_the_response(s: Tis, seen: Sts, burst: U16) -> Tis:
    """Woken by an interrupt, the driver takes it that there is a response."""
    require(s.doing == EXECUTING)
    require(shows(s, seen, burst))
    return replace(begins_to_wait(replace(s, credit=burst), RECEIVING, s.limits.status + s.limits.burst), burst=burst)


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_INITIALISES, sources.MINIOS_TIS_DURATION))
def duration_from_memory(s: Tis, found: U32) -> Tis:
    """The duration of the first command is what its memory held before."""
    require(s.doing == GOING)
    return replace(driver_goes.run(s), limit=found)


@action(by=D, owed=True, cites=sources.MINIOS_TIS_TRANSMITS)
def readiness_overlooked(s: Tis, seen: Sts, burst: U16) -> Tis:
    """A device that has dropped the command is seen only if no other bit of STS is set."""
    require(s.doing == EXECUTING)
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if seen == DATA:
        return replace(begins_to_wait(after, RECEIVING, s.limits.status + s.limits.burst), burst=burst)
    return not_yet(after)


# ------------------------------------------------------------------------------- m11, m12: localities that are lost


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_WAITS, sources.MINIOS_TIS_SENDS))
def ones_are_any_answer(s: Tis, seen: Sts, burst: U16) -> Tis:
    """All ones have every bit that is waited for, Expect among them."""
    require(s.doing == CHECKING)
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == NOT_VALID:
        return not_yet(after)
    if (seen != NEITHER) & (s.sent < s.length):
        return replace(begins_to_wait(after, SENDING, s.limits.burst), burst=burst)
    if (seen == NEITHER) & (s.sent == s.length):
        return replace(after, doing=GOING)
    return fails(after, GARBLED)


@action(by=D, owed=True, cites=(sources.MINIOS_TIS_TRANSMITS, sources.MINIOS_TIS_ABORTS))
def abort_and_no_release(s: Tis) -> Tis:
    """After a time-out commandReady is written, and the call ends."""
    require(s.doing == ABORTING)
    return drops_the_command(replace(s, doing=RESTING))


# ------------------------------------------------------------------------------- m14, m15: what others say, believed


@action(by=D, cites=(sources.MINIOS_TIS_TRANSMITS, sources.MINIOS_TIS_WRITE))
def header_alone_counts(s: Tis, named: U32, given: U32) -> Tis:
    """As many bytes are sent as the header names, whatever was given."""
    require(s.doing == RESTING)
    require((named > 0) & (named <= 4096))
    return replace(
        s, doing=CALLING, call=s.call + 1, length=named, sent=0, burst=0, got=0, expected=0, retried=False,
        outcome=PENDING, lost=False, garbled=False,
    )  # fmt: skip


@action(by=D, owed=True, cites=sources.MINIOS_TIS_TIMEOUTS)
def limit_as_told(s: Tis, told: U32) -> Tis:
    """The locality is waited for as long as the device has told: a time-out is only raised, and never cut."""
    require(s.doing == CALLING)
    return replace(driver_requests_the_locality.run(s), limit=told if told >= 1 else 1)


LIMIT = "no_access_exceeds_the_burst_count"

DEFECTS = (
    Defect(
        id="m1",
        variant=_variant(
            "m1", "a burst count that stays 0 is waited for without end",
            (driver_times_out, no_time_out_of_the_burst_count),
        ),
        fails="a_call_goes_on",
        sentence="The burst count stays 0, and the driver waits for ever: -EBUSY only ends the inner loop.",
        cites=(sources.MINIOS_TIS_READS_THE_BURST_COUNT, sources.MINIOS_TIS_RECEIVES_DATA, sources.MINIOS_TIS_SENDS),
    ),
    Defect(
        id="m2",
        variant=_variant(
            "m2", "a size below ten is not refused",
            (driver_asks_for_data, data_of_any_size), (driver_reads, reading_of_the_rest_in_32_bits),
        ),
        fails="nothing_is_read_beyond_the_buffer",
        sentence="A response says that it has 9 bytes; 9 - 10 without a sign are read, beyond the buffer.",
        cites=(sources.MINIOS_TIS_RECEIVES,),
    ),
    Defect(
        id="m3",
        variant=_variant(
            "m3", "a header that does not come whole is a response", (driver_times_out, short_header_at_time_out)
        ),
        fails="a_response_is_whole",
        sentence="The header does not come whole in time: what was read of it is returned, and taken for success.",
        cites=(sources.MINIOS_TIS_RECEIVES, sources.MINIOS_TIS_TRANSMIT_CMD),
    ),
    Defect(
        id="m4",
        variant=_variant("m4", "the burst count is read in two halves", (driver_asks_for_room, torn_burst_count)),
        fails=LIMIT,
        sentence="Between its two halves the burst count goes from 255 to 256: 511 is read, and written.",
        cites=(sources.MINIOS_TIS_READS_THE_BURST_COUNT,),
        along=("no_byte_of_the_command_is_lost_or_doubled",),
    ),
    Defect(
        id="m5",
        variant=_variant("m5", "the last byte is written without a burst count", (driver_writes, last_byte_unasked)),
        fails=LIMIT,
        sentence="The FIFO is full before the last byte of a command, which is written all the same.",
        cites=(sources.MINIOS_TIS_SENDS_THE_LAST_BYTE,),
        along=("no_byte_of_the_command_is_lost_or_doubled",),
    ),
    Defect(
        id="m7",
        variant=_variant(
            "m7", "any interrupt is taken for the response", (driver_awaits_the_response, any_interrupt_is_the_response)
        ),
        fails="a_byte_is_read_only_where_one_is_given",
        sentence="An interrupt comes early, and the FIFO is read while the command is executed.",
        cites=(sources.MINIOS_TIS_WAITS, sources.MINIOS_TIS_GOES),
        along=("no_byte_of_the_response_is_lost_or_doubled",),
    ),
    Defect(
        id="m8",
        variant=_variant("m8", "durations are used before they are set", (driver_goes, duration_from_memory)),
        fails="each_wait_has_its_own_limit",
        sentence="The first command may take as long as uninitialised memory says.",
        cites=(sources.MINIOS_TIS_INITIALISES, sources.MINIOS_TIS_DURATION),
        along=("every_limit_is_bounded",),
    ),
    Defect(
        id="m10",
        variant=_variant(
            "m10", "a dropped command is seen only in one reading of STS",
            (driver_awaits_the_response, readiness_overlooked),
        ),
        fails="what_is_shown_is_taken",
        sentence="The device is ready again, and says so beside selfTestDone: the driver waits out the duration.",
        cites=(sources.MINIOS_TIS_TRANSMITS,),
    ),
    Defect(
        id="m11",
        variant=_variant(
            "m11", "all ones pass for any status", (driver_checks_what_is_expected, ones_are_any_answer)
        ),
        fails="a_seizure_is_told",
        sentence="The TPM was taken away; all ones are read, and the driver goes on writing.",
        cites=(sources.MINIOS_TIS_WAITS, sources.MINIOS_TIS_SENDS),
    ),
    Defect(
        id="m12",
        variant=_variant("m12", "after an error the locality is kept", (driver_aborts, abort_and_no_release)),
        fails="an_error_drops_the_command",
        sentence="After a time-out the call ends with commandReady, and the locality is kept.",
        cites=(sources.MINIOS_TIS_TRANSMITS,),
        along=("a_locality_that_others_wait_for_is_given_back",),
    ),
    Defect(
        id="m14",
        variant=_variant("m14", "the length in a command's header is believed", (caller_sends, header_alone_counts)),
        fails="only_a_well_formed_command_is_begun",
        sentence="A header names more bytes than were given: what the buffer held before is sent along.",
        cites=(sources.MINIOS_TIS_TRANSMITS, sources.MINIOS_TIS_WRITE),
    ),
    Defect(
        id="m15",
        variant=_variant("m15", "a time-out is never cut", (driver_requests_the_locality, limit_as_told)),
        fails="every_limit_is_bounded",
        sentence="A device tells a time-out of hours, and the driver waits for it.",
        cites=(sources.MINIOS_TIS_TIMEOUTS,),
        along=("each_wait_has_its_own_limit",),
    ),
)  # fmt: skip
"""The defects of mini-os' TIS driver, by the row of each."""
