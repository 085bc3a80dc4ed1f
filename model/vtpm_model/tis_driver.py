"""The driver of a TPM behind the TPM Interface Specification, against every device that keeps it, and many that do not.

The device has a burst count that is anything at any read, is as slow as it likes, loses what exceeds the burst count,
and is taken away by other localities at any moment; it may also break, so that its registers read anything and its
writes do nothing, and be reset. The driver looks at registers, polling or because an interrupt came (late, twice or
never: it only ever makes the driver look); it sends a command, lets it be executed and receives the response, and gives
up after so many poll intervals.

Localities other than the driver's are one party here, that may do whatever five of them can; `tis.device` has all five.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from vtpm_model import sources, tis_fifo
from vtpm_model.core import (
    U16,
    U32,
    Actor,
    Nat,
    Range,
    action,
    among,
    implies,
    negate,
    record,
    replace,
    require,
)
from vtpm_model.page import TPM_HEADER
from vtpm_model.tis_fifo import EMPTY, EXECUTION, PREPARING, READY, Fifo, expects, has_data

BUFFER = 4096
"""Bytes of the longest command, of the longest response, and of the driver's buffer."""

LONGEST_WAIT = 1_000_000
"""Poll intervals after which every wait has ended, whatever a device says of itself."""

Interval = Annotated[int, Range(1, LONGEST_WAIT)]
"""A time limit, in poll intervals."""

Credit = Annotated[int, Range(-0xFFFF, 0xFFFF)]
"""What is left of a burst count, in bytes; below zero is what was moved without leave."""


class Owner(IntEnum):
    """Who has the TPM."""

    NOBODY = 0
    DRIVER = 1
    OTHERS = 2


class Doing(IntEnum):
    """What the driver is about to do or waits for, in the order in which a command goes by."""

    RESTING = 0
    CALLING = 1  # to ask for its locality
    TAKING = 2  # waits for the locality (time-out A)
    CLAIMED = 3  # to write commandReady
    READYING = 4  # waits for commandReady (B)
    SENDING = 5  # writes the command; without a burst count it waits for one (D)
    CHECKING = 6  # waits for a valid status that says whether more is expected (C)
    GOING = 7  # to write tpmGo
    EXECUTING = 8  # waits for the response (the command's duration)
    RECEIVING = 9  # reads the response; without a burst count it waits for data and for one (C and D)
    CLOSING = 10  # waits for a valid status that says that there is no more (C)
    RETRYING = 11  # to write responseRetry
    CLEARING = 12  # has its response; to write commandReady
    LEAVING = 13  # to give the locality back if somebody waits for it
    ABORTING = 14  # has failed; to write commandReady
    RELEASING = 15  # has failed; to give the locality back


class Sts(IntEnum):
    """What a reading of STS says, as far as the driver tells readings apart."""

    NOT_VALID = 0  # stsValid is 0, and so is commandReady
    READY = 1  # commandReady, which needs no stsValid
    EXPECT = 2  # stsValid and Expect
    DATA = 3  # stsValid and dataAvail
    NEITHER = 4  # stsValid alone
    MIXED = 5  # stsValid, Expect and dataAvail
    FOREIGN = 6  # a bit is 1 that reads 0 for the owner: all ones, as everybody else reads


class Outcome(IntEnum):
    """How the last call ended; everything but a response is an error."""

    PENDING = 0
    RESPONSE = 1
    REFUSED = 2  # no command that may be sent
    TIMED_OUT = 3
    LOST = 4  # the locality was taken away, or the device was reset or is absent
    GARBLED = 5  # the device contradicts the command, or the response itself
    ABORTED = 6  # the caller asked for it


class Wait(IntEnum):
    """The time limits."""

    ACCESS = 0  # time-out A
    READINESS = 1  # B
    STATUS = 2  # C
    BURST = 3  # D
    EXECUTION = 4  # the duration of the command


NOBODY, DRIVER, OTHERS = Owner
(
    RESTING,
    CALLING,
    TAKING,
    CLAIMED,
    READYING,
    SENDING,
    CHECKING,
    GOING,
    EXECUTING,
    RECEIVING,
    CLOSING,
    RETRYING,
    CLEARING,
    LEAVING,
    ABORTING,
    RELEASING,
) = Doing
NOT_VALID, IS_READY, EXPECT, DATA, NEITHER, MIXED, FOREIGN = Sts
PENDING, RESPONSE, REFUSED, TIMED_OUT, LOST, GARBLED, ABORTED = Outcome


@record
class Limits:
    """How long each wait may take."""

    access: Interval
    readiness: Interval
    status: Interval
    burst: Interval
    execution: Interval


@record
class Tis:
    """The driver, the device, and who has it."""

    # the device
    owner: Owner
    asking: bool  # the driver's locality has requested the TPM, and has not got it
    wanted: bool  # another locality has: pendingRequest
    sound: bool  # it keeps the specification
    fifo: Fifo
    held: Nat  # the call whose command or response is in the FIFO, 0: none
    ran: Nat  # the last call whose command was executed
    credit: Credit  # the burst count that was read last, less the bytes that were written and read since
    # the driver
    doing: Doing
    call: Nat  # calls so far; the number of the last
    length: Nat  # bytes of its command
    sent: Nat
    burst: Credit  # bytes that the driver writes or reads before it reads the burst count again
    got: Nat  # bytes of the response that were read
    expected: Nat  # bytes that the response has by its own header, once that was read
    retried: bool  # the response was asked for again
    limit: Nat  # poll intervals that this wait may take
    waited: Nat  # those that have gone by
    looked: bool  # the driver has looked since the last one
    outcome: Outcome
    limits: Limits
    # for the facts alone
    lost: bool  # the TPM was taken from the driver before it had its response
    garbled: bool  # the size of the response was garbled on its way


STANDARD = Limits(access=1, readiness=1, status=1, burst=1, execution=1)
"""Until the caller says better: one interval each, whatever an interval is."""


def at_rest() -> Tis:
    """A device that was just reset, and a driver that has not been called."""
    return Tis(
        owner=NOBODY, asking=False, wanted=False, sound=True, fifo=EMPTY, held=0, ran=0, credit=0,
        doing=RESTING, call=0, length=0, sent=0, burst=0, got=0, expected=0, retried=False,
        limit=1, waited=0, looked=False, outcome=PENDING, limits=STANDARD, lost=False,
        garbled=False,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ what a device shows


def obeys(s: Tis) -> bool:
    """What the driver writes to STS and to the FIFO has an effect."""
    return s.sound & (s.owner == DRIVER)


def shows(s: Tis, seen: Sts, burst: int) -> bool:
    """Whether STS may read so; of a device that is not sound, anything.

    The burst count is any, but of a response it is never more than what is left.
    """
    phase = s.fifo.phase
    to_the_owner = (
        ((seen == NOT_VALID) & (phase != READY))
        | ((seen == IS_READY) & (phase == READY))
        | ((seen == EXPECT) & expects(s.fifo))
        | ((seen == DATA) & has_data(s.fifo) & (burst <= s.fifo.answer - s.fifo.given))
        | ((seen == NEITHER) & (phase != READY) & negate(expects(s.fifo)) & negate(has_data(s.fifo)))
    )
    owned = s.owner == DRIVER
    return implies(s.sound, (owned & to_the_owner) | (negate(owned) & (seen == FOREIGN)))


# ------------------------------------------------------------------------------------------------ steps of the driver


def begins_to_wait(s: Tis, doing: Doing, limit: int) -> Tis:
    """The state after the driver has turned to something that it waits for."""
    return replace(s, doing=doing, limit=limit, waited=0, looked=False)


def not_yet(s: Tis) -> Tis:
    """The state after a look that has shown nothing of what is waited for."""
    return replace(s, looked=True)


def has_lost_it(s: Tis) -> Tis:
    """The state after the driver has seen that the TPM is no longer its own."""
    return replace(s, doing=RELEASING, outcome=LOST)


def fails(s: Tis, outcome: Outcome) -> Tis:
    """The state after the driver has given the command up."""
    return replace(s, doing=ABORTING, outcome=outcome)


def reads_again(s: Tis) -> Tis:
    """The state after a response that makes no sense: it is asked for once more, but not twice."""
    if s.retried:
        return fails(s, GARBLED)
    return replace(s, doing=RETRYING)


def sendable(named: int, given: int) -> bool:
    """A command that may be sent: its header names as many bytes as were given, and they fit the buffer."""
    return (named == given) & (named >= TPM_HEADER) & (named <= BUFFER)


@action(by=Actor.DRIVER, cites=(sources.MINIOS_TIS_TRANSMITS, sources.MINIOS_TIS_WRITE))
def caller_sends(s: Tis, named: U32, given: U32) -> Tis:
    """The caller gives a command of `given` bytes whose header says `named`; what cannot be sent is refused."""
    require(s.doing == RESTING)
    if sendable(named, given):
        return replace(
            s, doing=CALLING, call=s.call + 1, length=given, sent=0, burst=0, got=0, expected=0, retried=False,
            outcome=PENDING, lost=False, garbled=False,
        )  # fmt: skip
    return replace(s, outcome=REFUSED)


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_REQUEST_USE, sources.EDK2_REQUESTS))
def driver_requests_the_locality(s: Tis) -> Tis:
    """The driver writes requestUse; a free TPM is its own at once."""
    require(s.doing == CALLING)
    after = begins_to_wait(s, TAKING, s.limits.access)
    if s.sound & (s.owner == NOBODY):
        return replace(after, owner=DRIVER)
    return replace(after, asking=s.asking | (s.sound & (s.owner == OTHERS)))


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_REG_VALID, sources.TIS_ACTIVE_LOCALITY, sources.EDK2_REQUESTS))
def driver_awaits_the_locality(s: Tis, valid: bool, active: bool) -> Tis:
    """The driver reads ACCESS: tpmRegValidSts and activeLocality together mean that the TPM is its own."""
    require(s.doing == TAKING)
    require(implies(s.sound & valid, active == (s.owner == DRIVER)))
    if valid & active:
        return replace(s, doing=CLAIMED)
    return not_yet(s)


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_COMMAND_READY, sources.EDK2_PREPARES))
def driver_asks_for_readiness(s: Tis) -> Tis:
    """The driver writes commandReady."""
    require(s.doing == CLAIMED)
    return drops_the_command(begins_to_wait(s, READYING, s.limits.readiness))


def drops_the_command(s: Tis) -> Tis:
    """The state after commandReady."""
    if obeys(s):
        return replace(s, fifo=tis_fifo.told_to_get_ready(s.fifo), held=0)
    return s


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_COMMAND_READY, sources.TIS_BURST_COUNT, sources.EDK2_PREPARES))
def driver_awaits_readiness(s: Tis, seen: Sts, burst: U16) -> Tis:
    """The driver reads STS until it says commandReady."""
    require(s.doing == READYING)
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if seen == IS_READY:
        return replace(begins_to_wait(after, SENDING, s.limits.burst), burst=burst)
    return not_yet(after)


@action(
    by=Actor.DRIVER,
    owed=True,
    cites=(sources.TIS_BURST_COUNT, sources.EDK2_READS_THE_BURST_COUNT, sources.MINIOS_TIS_READS_THE_BURST_COUNT),
)
def driver_asks_for_room(s: Tis, seen: Sts, burst: U16) -> Tis:
    """The driver reads STS until its burst count lets it write; both bytes of the count at once."""
    require((s.doing == SENDING) & (s.burst == 0))
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if burst > 0:
        return replace(after, burst=burst)
    return not_yet(after)


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_FIFO, sources.EDK2_SENDS, sources.MINIOS_TIS_SENDS))
def driver_writes(s: Tis, count: U16) -> Tis:
    """The driver writes some more bytes of its command, as many as the burst count lets it."""
    require(s.doing == SENDING)
    require((count >= 1) & (count <= s.burst) & (count <= s.length - s.sent))
    done = (count == s.burst) | (s.sent + count == s.length)
    after = replace(s, sent=s.sent + count, burst=s.burst - count)
    if done:
        after = begins_to_wait(after, CHECKING, s.limits.status)
    return write_fifo(after, count)


def write_fifo(s: Tis, count: int) -> Tis:
    """The state after the driver has written so many bytes; an access that exceeds the burst count is lost."""
    after = replace(s, credit=s.credit - count)
    if obeys(s) & (count <= s.credit):
        return replace(after, fifo=tis_fifo.written(s.fifo, count, s.length), held=s.call)
    return after


@action(
    by=Actor.DRIVER,
    owed=True,
    cites=(sources.TIS_STS_VALID, sources.TIS_EXPECT, sources.EDK2_CHECKS_EXPECT, sources.MINIOS_TIS_SENDS),
)
def driver_checks_what_is_expected(s: Tis, seen: Sts, burst: U16) -> Tis:
    """The driver reads STS until it is valid: more must be expected before the last byte, and nothing after it."""
    require(s.doing == CHECKING)
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if seen == NOT_VALID:
        return not_yet(after)
    if (seen == EXPECT) & (s.sent < s.length):
        return replace(begins_to_wait(after, SENDING, s.limits.burst), burst=burst)
    if (seen == NEITHER) & (s.sent == s.length):
        return replace(after, doing=GOING)
    return fails(after, GARBLED)


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_GO, sources.EDK2_GOES, sources.MINIOS_TIS_GOES))
def driver_goes(s: Tis) -> Tis:
    """The driver writes tpmGo."""
    require(s.doing == GOING)
    after = begins_to_wait(s, EXECUTING, s.limits.execution)
    if obeys(s):
        return replace(after, fifo=tis_fifo.told_to_go(s.fifo), ran=s.held)
    return after


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_DATA_AVAIL, sources.EDK2_GOES, sources.MINIOS_TIS_TRANSMITS))
def driver_awaits_the_response(s: Tis, seen: Sts, burst: U16) -> Tis:
    """The driver reads STS until there is a response; a device that is ready has dropped the command."""
    require(s.doing == EXECUTING)
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if seen == IS_READY:
        return fails(after, GARBLED)
    if seen == DATA:
        return replace(begins_to_wait(after, RECEIVING, s.limits.status + s.limits.burst), burst=burst)
    return not_yet(after)


@action(by=Actor.DRIVER, cites=(sources.TIS_COMMAND_READY, sources.MINIOS_TIS_TRANSMITS))
def caller_aborts(s: Tis) -> Tis:
    """The caller no longer wants the command that is being executed."""
    require(s.doing == EXECUTING)
    return fails(s, ABORTED)


def makes_no_sense(s: Tis) -> bool:
    """The header of the response was read, and names a size that no response has, or that exceeds the buffer."""
    return (s.got >= TPM_HEADER) & ((s.expected < TPM_HEADER) | (s.expected > BUFFER))


@action(
    by=Actor.DRIVER,
    owed=True,
    cites=(sources.TIS_DATA_AVAIL, sources.EDK2_BOUNDS_THE_RESPONSE, sources.MINIOS_TIS_RECEIVES_DATA),
)
def driver_asks_for_data(s: Tis, seen: Sts, burst: U16) -> Tis:
    """The driver reads STS until there are data and a burst count; a response that makes no sense is read again."""
    require((s.doing == RECEIVING) & (s.burst == 0))
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if makes_no_sense(s) | negate(among(seen, NOT_VALID, DATA)):
        return reads_again(after)
    if (seen == DATA) & (burst > 0):
        return replace(after, burst=burst)
    return not_yet(after)


def left_to_read(s: Tis) -> int:
    """Bytes of the response that may be read without another thought: of the header, then of the rest."""
    if s.got < TPM_HEADER:
        return TPM_HEADER - s.got
    return s.expected - s.got


@action(
    by=Actor.DRIVER,
    owed=True,
    cites=(sources.TIS_FIFO, sources.EDK2_READS_THE_HEADER, sources.MINIOS_TIS_RECEIVES),
)
def driver_reads(s: Tis, count: U16, size: U32) -> Tis:
    """The driver reads some more bytes of the response; the first ten of them have its size.

    Once in a call, the size may be garbled on its way from a device that keeps the specification.
    """
    require(s.doing == RECEIVING)
    require((count >= 1) & (count <= s.burst) & (count <= left_to_read(s)))
    right = size == s.fifo.answer
    require(implies(obeys(s) & s.garbled, right))
    got = s.got + count
    after = replace(s, got=got, burst=s.burst - count, garbled=s.garbled | (obeys(s) & negate(right)))
    after = read_fifo(after, count)
    if got < TPM_HEADER:
        return after
    if s.got < TPM_HEADER:
        after = replace(after, expected=size, burst=0)
    if got == after.expected:
        return begins_to_wait(after, CLOSING, s.limits.status)
    return begins_to_wait(after, RECEIVING, s.limits.status + s.limits.burst)


def read_fifo(s: Tis, count: int) -> Tis:
    """The state after the driver has read so many bytes; an access that exceeds the burst count finds nothing."""
    after = replace(s, credit=s.credit - count)
    if obeys(s) & (count <= s.credit):
        return replace(after, fifo=tis_fifo.read(s.fifo, count))
    return after


@action(by=Actor.DRIVER, owed=True, cites=sources.TIS_RESPONSE_RETRY)
def driver_retries(s: Tis) -> Tis:
    """The driver writes responseRetry, and forgets what it has read."""
    require(s.doing == RETRYING)
    after = begins_to_wait(s, RECEIVING, s.limits.status + s.limits.burst)
    after = replace(after, got=0, expected=0, burst=0, retried=True)
    if obeys(s):
        return replace(after, fifo=tis_fifo.told_to_retry(s.fifo))
    return after


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_DATA_AVAIL, sources.TIS_STS_VALID, sources.MINIOS_TIS_RECEIVES))
def driver_checks_that_there_is_no_more(s: Tis, seen: Sts, burst: U16) -> Tis:
    """The driver reads STS until it is valid: after the last byte no data may be left."""
    require(s.doing == CLOSING)
    require(shows(s, seen, burst))
    after = replace(s, credit=burst)
    if seen == FOREIGN:
        return has_lost_it(after)
    if seen == NOT_VALID:
        return not_yet(after)
    if seen == NEITHER:
        return replace(after, doing=CLEARING, outcome=RESPONSE)
    return reads_again(after)


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_COMMAND_READY, sources.EDK2_LEAVES_READY))
def driver_clears(s: Tis) -> Tis:
    """With its response the driver writes commandReady: the device may forget it."""
    require(s.doing == CLEARING)
    return drops_the_command(replace(s, doing=LEAVING))


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_PENDING_REQUEST, sources.MINIOS_TIS_RELEASES))
def driver_leaves(s: Tis, pending: bool) -> Tis:
    """The driver reads ACCESS, and gives the locality back if another one has a pendingRequest."""
    require(s.doing == LEAVING)
    require(implies(s.sound, pending == s.wanted))
    after = replace(s, doing=RESTING)
    return gives_back(after) if pending else after


def gives_back(s: Tis) -> Tis:
    """The state after the driver has written activeLocality: it has the TPM no longer, and asks for it no longer."""
    if s.sound & (s.owner == DRIVER):
        return passes_to(s, OTHERS if s.wanted else NOBODY)
    return replace(s, asking=s.asking & negate(s.sound))


def passes_to(s: Tis, owner: Owner) -> Tis:
    """The state after the TPM has gone from the driver to others: whatever it was doing is dropped."""
    return replace(s, owner=owner, asking=False, fifo=EMPTY, held=0, lost=s.lost | has_begun(s))


def has_begun(s: Tis) -> bool:
    """The driver has seen that the TPM is its own, and does not know yet how the call ends."""
    return (s.outcome == PENDING) & negate(among(s.doing, RESTING, CALLING, TAKING))


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_COMMAND_READY, sources.MINIOS_TIS_ABORTS))
def driver_aborts(s: Tis) -> Tis:
    """The driver writes commandReady: the command is dropped, wherever it was."""
    require(s.doing == ABORTING)
    return drops_the_command(replace(s, doing=RELEASING))


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_ACTIVE_LOCALITY, sources.MINIOS_TIS_RELEASES))
def driver_releases(s: Tis) -> Tis:
    """After an error the driver gives the locality back, and asks for it no longer."""
    require(s.doing == RELEASING)
    return gives_back(replace(s, doing=RESTING))


def waits(s: Tis) -> bool:
    """The driver waits for something that the device has to show."""
    without_burst = among(s.doing, SENDING, RECEIVING) & (s.burst == 0)
    return among(s.doing, TAKING, READYING, CHECKING, EXECUTING, CLOSING) | without_burst


@action(by=Actor.DRIVER, owed=True, cites=(sources.EDK2_WAITS_WITH_A_TIMEOUT, sources.MINIOS_TIS_WAITS))
def time_passes(s: Tis) -> Tis:
    """A poll interval goes by, in which the driver has looked."""
    require(waits(s) & s.looked)
    require(s.waited < s.limit)
    return replace(s, waited=s.waited + 1, looked=False)


@action(by=Actor.DRIVER, owed=True, cites=(sources.TIS_TIMEOUTS, sources.EDK2_WAITS_WITH_A_TIMEOUT))
def driver_times_out(s: Tis) -> Tis:
    """The last interval has gone by, and a last look has shown nothing."""
    require(waits(s) & s.looked)
    require(s.waited == s.limit)
    if s.doing == TAKING:
        return replace(s, doing=RELEASING, outcome=TIMED_OUT)
    return fails(s, TIMED_OUT)


def bounded(told: int) -> int:
    """A time limit that a device tells, in intervals: 0 is one, and none is longer than the longest."""
    if told == 0:
        return 1
    return told if told <= LONGEST_WAIT else LONGEST_WAIT


@action(by=Actor.DRIVER, cites=(sources.MINIOS_TIS_TIMEOUTS, sources.MINIOS_TIS_DURATION))
def driver_learns_a_limit(s: Tis, which: Wait, told: U32) -> Tis:
    """The driver takes a time-out or a duration that the device tells, within bounds."""
    require(s.doing == RESTING)
    limit = bounded(told)
    if which == Wait.ACCESS:
        return replace(s, limits=replace(s.limits, access=limit))
    if which == Wait.READINESS:
        return replace(s, limits=replace(s.limits, readiness=limit))
    if which == Wait.STATUS:
        return replace(s, limits=replace(s.limits, status=limit))
    if which == Wait.BURST:
        return replace(s, limits=replace(s.limits, burst=limit))
    return replace(s, limits=replace(s.limits, execution=limit))


# ---------------------------------------------------------------------------------------------------------- the device


@action(by=Actor.DEVICE, cites=sources.TIS_COMMAND_READY)
def device_gets_ready(s: Tis) -> Tis:
    """After commandReady the device is ready, sooner or later."""
    require(s.fifo.phase == PREPARING)
    return replace(s, fifo=tis_fifo.empty(READY))


@action(by=Actor.DEVICE, cites=sources.TIS_DATA_AVAIL)
def device_completes(s: Tis, answer: U32) -> Tis:
    """The command was executed; the response is a TPM packet that fits the buffer."""
    require(s.fifo.phase == EXECUTION)
    require((answer >= TPM_HEADER) & (answer <= BUFFER))
    return replace(s, fifo=tis_fifo.completed(answer))


@action(by=Actor.DEVICE, cites=sources.EDK2_PRESENCE)
def device_breaks(s: Tis) -> Tis:
    """From now on the registers read anything, all ones for example, and writes do nothing."""
    require(s.sound)
    return replace(s, sound=False)


@action(by=Actor.DEVICE, cites=(sources.TIS_REG_VALID, sources.EDK2_PRESENCE))
def device_is_reset(s: Tis) -> Tis:
    """The device is reset, or is back: nobody has it, and it does nothing."""
    return replace(passes_to(s, NOBODY), wanted=False, sound=True)


# ------------------------------------------------------------------------------------------------ the other localities


@action(by=Actor.OTHERS, cites=(sources.TIS_REQUEST_USE, sources.TIS_PENDING_REQUEST))
def others_request(s: Tis) -> Tis:
    """Another locality asks for the TPM; a free one is its own at once."""
    require(s.sound)
    if s.owner == NOBODY:
        return replace(s, owner=OTHERS)
    return replace(s, wanted=True)


@action(by=Actor.OTHERS, cites=sources.TIS_ACTIVE_LOCALITY)
def others_withdraw(s: Tis) -> Tis:
    """Nobody else asks for the TPM any longer."""
    require(s.sound)
    return replace(s, wanted=False)


@action(by=Actor.OTHERS, cites=(sources.TIS_SEIZE, sources.TIS_BEEN_SEIZED))
def others_seize(s: Tis) -> Tis:
    """A higher locality takes the TPM away."""
    require(s.sound)
    require(s.owner == DRIVER)
    return passes_to(s, OTHERS)


@action(by=Actor.OTHERS, cites=(sources.TIS_ACTIVE_LOCALITY, sources.TIS_REQUEST_USE))
def others_give_back(s: Tis, to_the_driver: bool) -> Tis:
    """Another locality gives the TPM back: to the driver, or to another one that waits, or to nobody."""
    require(s.sound)
    require(s.owner == OTHERS)
    require(implies(to_the_driver, s.asking))
    require(to_the_driver | s.wanted | negate(s.asking))
    if to_the_driver:
        return replace(s, owner=DRIVER, asking=False, fifo=EMPTY)
    return replace(s, owner=OTHERS if s.wanted else NOBODY, fifo=EMPTY)


@action(by=Actor.OTHERS, cites=(sources.TIS_GO, sources.TIS_DATA_AVAIL))
def others_have_a_response(s: Tis, answer: U32) -> Tis:
    """Another locality has had its own command executed, and has not read the response."""
    require(s.sound)
    require(s.owner == OTHERS)
    require((answer >= TPM_HEADER) & (answer <= BUFFER))
    return replace(s, fifo=tis_fifo.completed(answer))
