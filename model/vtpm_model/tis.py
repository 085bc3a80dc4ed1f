"""What the driver of a TPM guarantees against every device: facts, their lemmas, and why each call comes to an end.

The driver, the device and the other localities are in `tis_driver`.
"""

from __future__ import annotations

from vtpm_model import sources
from vtpm_model.core import (
    Actor,
    Spec,
    Step,
    always,
    among,
    eventually,
    every_step,
    implies,
    lemma,
    negate,
)
from vtpm_model.page import TPM_HEADER
from vtpm_model.tis_driver import (
    ABORTED,
    ABORTING,
    BUFFER,
    CALLING,
    CHECKING,
    CLAIMED,
    CLEARING,
    CLOSING,
    DATA,
    DRIVER,
    EXECUTING,
    FOREIGN,
    GARBLED,
    GOING,
    IS_READY,
    LEAVING,
    LONGEST_WAIT,
    LOST,
    NOBODY,
    NOT_VALID,
    OTHERS,
    PENDING,
    READYING,
    RECEIVING,
    RELEASING,
    RESPONSE,
    RESTING,
    RETRYING,
    SENDING,
    TAKING,
    TIMED_OUT,
    Tis,
    at_rest,
    caller_aborts,
    caller_sends,
    device_breaks,
    device_completes,
    device_gets_ready,
    device_is_reset,
    driver_aborts,
    driver_asks_for_data,
    driver_asks_for_readiness,
    driver_asks_for_room,
    driver_awaits_readiness,
    driver_awaits_the_locality,
    driver_awaits_the_response,
    driver_checks_that_there_is_no_more,
    driver_checks_what_is_expected,
    driver_clears,
    driver_goes,
    driver_learns_a_limit,
    driver_leaves,
    driver_reads,
    driver_releases,
    driver_requests_the_locality,
    driver_retries,
    driver_times_out,
    driver_writes,
    others_give_back,
    others_have_a_response,
    others_request,
    others_seize,
    others_withdraw,
    time_passes,
    waits,
)
from vtpm_model.tis_fifo import COMPLETION, EMPTY, EXECUTION, PREPARING, READY, RECEPTION, expects, has_data

# ------------------------------------------------------------------------------------------------- what steps are


def writes(before: Tis, after: Tis) -> bool:
    """The driver has written bytes of the command."""
    return after.sent > before.sent


def reads(before: Tis, after: Tis) -> bool:
    """The driver has read bytes of the response."""
    return after.got > before.got


def goes(before: Tis, after: Tis) -> bool:
    """The driver has written tpmGo: it waits for a response now."""
    return (before.doing != EXECUTING) & (after.doing == EXECUTING)


def ends(before: Tis, after: Tis, outcome: int) -> bool:
    """The driver has come to know how the call ends."""
    return (before.outcome != outcome) & (after.outcome == outcome)


def failed(s: Tis) -> bool:
    """The call has ended in an error after it had begun."""
    return among(s.outcome, TIMED_OUT, LOST, GARBLED, ABORTED)


def owned(s: Tis) -> bool:
    """The TPM is the driver's, and keeps the specification."""
    return s.sound & (s.owner == DRIVER)


# ------------------------------------------------------------------------------------------------------------ facts


@every_step(covers="I1", about=Actor.DRIVER, cites=(sources.TIS_EXPECT, sources.TIS_COMMAND_READY))
def a_byte_is_written_only_where_one_is_taken(before: Tis, step: Step, after: Tis) -> bool:
    """The driver writes the FIFO of a TPM that it has only in Ready, or while another byte is expected."""
    taken = (before.fifo.phase == READY) | expects(before.fifo)
    within = before.fifo.taken + after.sent - before.sent <= before.length
    return implies(writes(before, after) & owned(before), taken & within)


@always(covers=("I2", "I7"), about=Actor.DRIVER, cites=(sources.TIS_BURST_COUNT, sources.EDK2_READS_THE_BURST_COUNT))
def no_access_exceeds_the_burst_count(s: Tis) -> bool:
    """Whatever the device is and whoever has it, no more bytes are moved than the burst count that was read last."""
    return s.credit >= 0


@every_step(covers="I3", about=Actor.DRIVER, cites=(sources.TIS_GO, sources.TIS_EXPECT))
def go_is_written_for_a_whole_command_only(before: Tis, step: Step, after: Tis) -> bool:
    """When tpmGo is written, the device has every byte of this command and nothing else, and expects no more."""
    whole = (before.fifo.phase == RECEPTION) & (before.fifo.taken == before.length) & (before.held == before.call)
    sent = before.sent == before.length
    told = implies(owned(before), whole & negate(expects(before.fifo)))
    return implies(goes(before, after), sent & told)


@every_step(covers="I4", about=Actor.DRIVER, cites=(sources.TIS_DATA_AVAIL, sources.TIS_STS_VALID))
def a_byte_is_read_only_where_one_is_given(before: Tis, step: Step, after: Tis) -> bool:
    """The driver reads the FIFO of a TPM that it has only while a response is there, and not beyond its end."""
    there = before.fifo.given + after.got - before.got <= before.fifo.answer
    return implies(reads(before, after) & owned(before), (before.fifo.phase == COMPLETION) & there)


@every_step(covers="I5", about=Actor.DRIVER, cites=(sources.MINIOS_TIS_TRANSMITS, sources.MINIOS_TIS_WRITE))
def only_a_well_formed_command_is_begun(before: Tis, step: Step, after: Tis) -> bool:
    """Before anything is written, the command has 10 to 4 096 bytes, and its header says as many."""
    begun = (before.doing == RESTING) & (after.doing != RESTING)
    if step.name != "caller_sends":
        return negate(begun)
    named: int = step.picks["named"]
    given: int = step.picks["given"]
    good = (named == given) & (given >= 10) & (given <= 4096)
    return (good == begun) & implies(begun, after.length == given)


@every_step(covers=("I6", "N8"), about=Actor.DRIVER, cites=(sources.TIS_DATA_AVAIL, sources.MINIOS_TIS_RECEIVES))
def a_response_is_the_devices_whole_answer_to_this_command(before: Tis, step: Step, after: Tis) -> bool:
    """A call ends in a response only when the device executed this command, and each byte of its answer was read."""
    f = before.fifo
    read = (f.phase == COMPLETION) & (f.given == f.answer) & (before.got == f.answer)
    this = (before.held == before.call) & (before.ran == before.call) & (before.owner == DRIVER)
    return implies(ends(before, after, RESPONSE) & before.sound, read & this)


@always(
    covers="I6",
    about=Actor.DRIVER,
    cites=(sources.TIS_BURST_COUNT, sources.TIS_EXPECT),
    derived_from=("the_device_is_where_the_driver_thinks",),
)
def no_byte_of_the_command_is_lost_or_doubled(s: Tis) -> bool:
    """While a command is sent to a TPM that the driver has, the device has as many bytes as were written."""
    sending = among(s.doing, SENDING, CHECKING, GOING) & owned(s)
    return implies(sending, (s.fifo.taken == s.sent) & implies(s.sent > 0, s.fifo.size == s.length))


@always(
    covers="I6",
    about=Actor.DRIVER,
    cites=(sources.TIS_BURST_COUNT, sources.TIS_RESPONSE_RETRY),
    derived_from=("the_device_is_where_the_driver_thinks",),
)
def no_byte_of_the_response_is_lost_or_doubled(s: Tis) -> bool:
    """While a response is read from a TPM that the driver has, as many bytes were read as the device has given."""
    reading = among(s.doing, RECEIVING, CLOSING) & owned(s)
    return implies(reading, (s.fifo.given == s.got) & (s.got <= s.fifo.answer))


@every_step(covers="I6", about=Actor.DRIVER, cites=(sources.TIS_GO, sources.MINIOS_TIS_GOES))
def a_command_is_executed_at_most_once(before: Tis, step: Step, after: Tis) -> bool:
    """The device of a call begins to execute its command once, and no command of an earlier call."""
    begun = (before.fifo.phase != EXECUTION) & (after.fifo.phase == EXECUTION)
    fresh = (before.ran < before.call) & (after.ran == before.call)
    return implies(begun, fresh) & implies(after.ran != before.ran, begun)


@always(covers="I7", about=Actor.DRIVER, cites=(sources.TIS_ACTIVE_LOCALITY, sources.TIS_BEEN_SEIZED))
def a_loss_that_was_seen_ends_the_access(s: Tis) -> bool:
    """Once the driver has seen that the TPM is not its own, it writes nothing more but ACCESS."""
    return implies(s.outcome == LOST, among(s.doing, RELEASING, RESTING))


@every_step(covers="I7", about=Actor.DRIVER, cites=(sources.TIS_ACTIVE_LOCALITY, sources.EDK2_REQUESTS))
def registers_are_touched_only_after_the_locality_was_granted(before: Tis, step: Step, after: Tis) -> bool:
    """The driver begins with STS only after ACCESS was read with activeLocality, and the TPM was its own then."""
    begun = (before.doing == TAKING) & (after.doing == CLAIMED)
    return implies(begun & before.sound, before.owner == DRIVER)


@every_step(covers="I7", about=Actor.DRIVER, cites=(sources.TIS_BURST_COUNT, sources.TIS_ACTIVE_LOCALITY))
def what_is_not_owned_gives_no_leave_to_go_on(before: Tis, step: Step, after: Tis) -> bool:
    """Between a loss and the next look at STS, the driver moves at most the bytes that the last burst count allowed."""
    grown = after.burst > before.burst
    return implies(grown & before.sound, before.owner == DRIVER)


@every_step(covers="I7", about=Actor.DRIVER, cites=(sources.TIS_BEEN_SEIZED, sources.TIS_SEIZE))
def a_seizure_is_told(before: Tis, step: Step, after: Tis) -> bool:
    """A look that shows the TPM to be another's ends the call as lost; lost, it has no response and is not garbled."""
    told = implies(step.picks.get("seen", NOT_VALID) == FOREIGN, after.outcome == LOST)
    ended = ends(before, after, RESPONSE) | ends(before, after, GARBLED)
    return told & implies(ended & before.sound, negate(before.lost))


@every_step(covers="I9", about=Actor.DRIVER, cites=(sources.TIS_COMMAND_READY, sources.MINIOS_TIS_ABORTS))
def an_error_drops_the_command(before: Tis, step: Step, after: Tis) -> bool:
    """After an error the driver gives the locality back; before, it writes commandReady once, unless it has lost it."""
    told = (before.doing == ABORTING) & (after.doing != ABORTING)
    dropped = (after.doing == RELEASING) & implies(owned(before), (after.held == 0) & (after.fifo.taken == 0))
    back = failed(before) & (before.doing != RESTING) & (after.doing == RESTING)
    released = implies(before.sound, after.owner != DRIVER)
    return implies(told, dropped) & implies(back, (before.doing == RELEASING) & released)


@always(covers="I9", about=Actor.DRIVER, cites=(sources.TIS_COMMAND_READY, sources.MINIOS_TIS_SENDS))
def an_error_is_followed_by_nothing_but_the_way_out(s: Tis) -> bool:
    """A call that has failed neither writes nor reads a FIFO again."""
    return implies(failed(s), among(s.doing, ABORTING, RELEASING, RESTING))


@every_step(covers=("I9", "N8"), about=Actor.DRIVER, cites=(sources.TIS_COMMAND_READY, sources.EDK2_PREPARES))
def every_session_begins_with_readiness(before: Tis, step: Step, after: Tis) -> bool:
    """The first byte is written after commandReady was written and seen in this call."""
    begun = (before.doing != SENDING) & (after.doing == SENDING) & (after.sent == 0)
    empty = (before.fifo.phase == READY) & (before.fifo.taken == 0)
    return implies(begun, (before.doing == READYING) & implies(owned(before), empty))


@always(covers="I10", about=Actor.DRIVER, cites=(sources.EDK2_BOUNDS_THE_RESPONSE, sources.MINIOS_TIS_RECEIVES))
def nothing_is_read_beyond_the_buffer(s: Tis) -> bool:
    """Whatever a device says, no more bytes are read than the driver's buffer has."""
    return s.got <= 4096


@always(covers=("I11", "I6"), about=Actor.DRIVER, cites=(sources.MINIOS_TIS_RECEIVES, sources.MINIOS_TIS_TRANSMIT_CMD))
def a_response_is_whole(s: Tis) -> bool:
    """Whatever the device is, a call that ends in a response has 10 bytes or more, as many as their header says."""
    whole = (s.got == s.expected) & (s.got >= 10)
    return implies((s.outcome == RESPONSE) & (s.doing != RESTING), whole)


@always(covers="I12", about=Actor.DRIVER, cites=(sources.MINIOS_TIS_TIMEOUTS, sources.TIS_TIMEOUTS))
def every_limit_is_bounded(s: Tis) -> bool:
    """From the first call on, no wait is without limit, and none has a limit beyond the longest."""
    return (s.limit >= 1) & (s.limit <= 2 * LONGEST_WAIT)


@every_step(covers="I13", about=Actor.DRIVER, cites=(sources.TIS_PENDING_REQUEST, sources.MINIOS_TIS_RELEASES))
def a_locality_that_others_wait_for_is_given_back(before: Tis, step: Step, after: Tis) -> bool:
    """At the end of a call the TPM is not kept from a locality that has asked for it, and holds nothing of the call."""
    ended = (before.doing != RESTING) & (after.doing == RESTING)
    kept = owned(before) & (after.owner == DRIVER)
    return implies(ended & kept, negate(before.wanted) & (after.held == 0) & negate(failed(after)))


@every_step(covers="I14", about=Actor.DEVICE, cites=(sources.TIS_SEIZE, sources.TIS_ACTIVE_LOCALITY))
def whoever_gets_the_tpm_finds_it_empty(before: Tis, step: Step, after: Tis) -> bool:
    """When the TPM changes hands, nothing of a command or a response goes along."""
    return implies(before.owner != after.owner, (after.fifo == EMPTY) & (after.held == 0))


@always(covers="I14", about=Actor.DEVICE, cites=(sources.TIS_ACTIVE_LOCALITY,))
def what_others_do_is_never_taken_for_the_drivers(s: Tis) -> bool:
    """While others have the TPM, nothing in it is of the driver's calls."""
    return implies(s.held != 0, s.owner == DRIVER) & (s.held <= s.call)


@every_step(covers="N8", about=Actor.DRIVER, cites=(sources.TIS_TIMEOUTS, sources.EDK2_WAITS_WITH_A_TIMEOUT))
def a_time_out_comes_after_the_whole_limit(before: Tis, step: Step, after: Tis) -> bool:
    """A device is given every interval of its limit, and a look after the last one."""
    return implies(ends(before, after, TIMED_OUT), (before.waited >= before.limit) & before.looked)


@always(covers=("I12", "N8"), about=Actor.DRIVER, cites=(sources.TIS_TIMEOUTS, sources.MINIOS_TIS_WAITS))
def each_wait_has_its_own_limit(s: Tis) -> bool:
    """A to D and the duration are each taken for what they are meant for, and the clock of each wait starts at 0."""
    limits = s.limits
    own = (
        implies(s.doing == TAKING, s.limit == limits.access)
        & implies(s.doing == READYING, s.limit == limits.readiness)
        & implies(s.doing == SENDING, s.limit == limits.burst)
        & implies(among(s.doing, CHECKING, CLOSING), s.limit == limits.status)
        & implies(s.doing == EXECUTING, s.limit == limits.execution)
        & implies(s.doing == RECEIVING, s.limit == limits.status + limits.burst)
    )
    return own & (s.waited <= s.limit)


@every_step(covers="N8", about=Actor.DRIVER, cites=(sources.TIS_STS_VALID, sources.EDK2_CHECKS_EXPECT))
def nothing_is_garbled_by_a_sound_device(before: Tis, step: Step, after: Tis) -> bool:
    """A device that keeps the specification is never said to contradict itself, even if a size was garbled once."""
    return implies(ends(before, after, GARBLED), negate(before.sound))


@every_step(covers="N8", about=Actor.DRIVER, cites=(sources.TIS_ACTIVE_LOCALITY, sources.TIS_BEEN_SEIZED))
def nothing_is_told_lost_that_is_not(before: Tis, step: Step, after: Tis) -> bool:
    """A call ends as lost only if the TPM was taken from the driver, or its device was not sound."""
    return implies(ends(before, after, LOST), before.lost | negate(before.sound))


@every_step(
    covers="N8",
    about=Actor.DRIVER,
    cites=(sources.TIS_DATA_AVAIL, sources.TIS_COMMAND_READY, sources.TIS_ACTIVE_LOCALITY, sources.TIS_REQUEST_USE),
)
def what_is_shown_is_taken(before: Tis, step: Step, after: Tis) -> bool:
    """A look that shows what the driver waits for ends the wait."""
    seen, burst = step.picks.get("seen", NOT_VALID), step.picks.get("burst", 0)
    granted = step.picks.get("valid", False) & step.picks.get("active", False)
    waited_for = (
        ((before.doing == TAKING) & granted)
        | ((before.doing == READYING) & (seen == IS_READY))
        | (among(before.doing, CHECKING, CLOSING) & (seen != NOT_VALID))
        | ((before.doing == EXECUTING) & among(seen, DATA, IS_READY))
        | ((before.doing == RECEIVING) & (seen == DATA) & (burst > 0))
        | ((before.doing == SENDING) & (burst > 0))
    )
    return implies(waited_for, (after.doing != before.doing) | (after.burst > 0))


# ----------------------------------------------------------------------------------------------------------- lemmas


@lemma
def a_call_that_goes_on_has_its_tpm(s: Tis) -> bool:
    """From the grant until it is known how the call ends, the driver has a sound TPM, or it was lost."""
    begun = (s.outcome == PENDING) & negate(among(s.doing, RESTING, CALLING, TAKING))
    kept = negate(s.lost)
    return implies(begun & s.sound, s.lost != (s.owner == DRIVER)) & implies(among(s.doing, CALLING, TAKING), kept)


@lemma
def it_is_known_how_a_call_ends_only_at_its_end(s: Tis) -> bool:
    """Until then the outcome is pending."""
    on_the_way = negate(among(s.doing, RESTING, CLEARING, LEAVING, ABORTING, RELEASING))
    with_response = among(s.doing, CLEARING, LEAVING)
    after_an_error = among(s.doing, ABORTING, RELEASING)
    return (
        implies(on_the_way, s.outcome == PENDING)
        & implies(with_response, s.outcome == RESPONSE)
        & implies(after_an_error, failed(s))
    )


@lemma
def whoever_has_the_tpm_does_not_ask_for_it(s: Tis) -> bool:
    """A request of a sound device's driver is pending only while it waits, or is about to withdraw it."""
    return implies(s.asking, s.owner == OTHERS) & implies(s.asking & s.sound, among(s.doing, TAKING, RELEASING))


@lemma
def others_wait_only_for_a_tpm_that_somebody_has(s: Tis) -> bool:
    """A free TPM is given to whoever asks, and does nothing."""
    free = s.owner == NOBODY
    return implies(free, negate(s.wanted) & (s.fifo == EMPTY) & (s.held == 0))


@lemma
def bytes_are_taken_and_given_each_in_its_phase(s: Tis) -> bool:
    """A byte is expected only in Reception, and left to be read only in Completion."""
    phase = s.fifo.phase
    return implies(expects(s.fifo), phase == RECEPTION) & implies(has_data(s.fifo), phase == COMPLETION)


@lemma
def a_command_has_a_header_and_fits(s: Tis) -> bool:
    """A command that is under way may be sent, and no more of it was sent than it has."""
    under_way = s.doing != RESTING
    fits = (s.length >= TPM_HEADER) & (s.length <= BUFFER) & (s.sent <= s.length)
    unsent = among(s.doing, CALLING, TAKING, CLAIMED, READYING)
    return (
        implies(under_way, fits)
        & implies(unsent, s.sent == 0)
        & implies(s.doing == SENDING, s.sent < s.length)
        & implies(s.doing == CHECKING, s.sent > 0)
        & implies(among(s.doing, GOING, EXECUTING, RECEIVING, CLOSING, RETRYING), s.sent == s.length)
        & implies(s.doing != SENDING, (s.burst == 0) | (s.sent == s.length))
    )


@lemma
def what_is_read_has_a_size(s: Tis) -> bool:
    """Beyond its header a response is read only if its size makes sense, and not beyond its end."""
    sense = (s.expected >= TPM_HEADER) & (s.expected <= BUFFER)
    whole = sense & (s.got == s.expected)
    more = sense & (s.got < s.expected)
    unread = among(s.doing, CALLING, TAKING, CLAIMED, READYING, SENDING, CHECKING, GOING, EXECUTING)
    header = (s.got == TPM_HEADER) & (s.burst == 0) & (s.expected != TPM_HEADER)
    return (
        implies(s.doing == RECEIVING, (s.got < TPM_HEADER) | more | header)
        & implies(among(s.doing, CLOSING, CLEARING, LEAVING), whole)
        & implies(s.doing == RETRYING, negate(s.retried))
        & implies(negate(among(s.doing, RESTING, RECEIVING)), s.got <= BUFFER)
        & implies(unread, (s.got == 0) & negate(s.retried))
    )


@lemma
def the_driver_counts_as_the_device_does(s: Tis) -> bool:
    """What the driver may still write or read is not more than what the device has said."""
    return (s.burst >= 0) & implies(among(s.doing, SENDING, RECEIVING), s.burst <= s.credit)


@lemma
def a_command_is_new_until_it_goes(s: Tis) -> bool:
    """Nothing was executed or is held of a call before it was sent."""
    unsent = among(s.doing, CALLING, TAKING, CLAIMED, READYING, SENDING, CHECKING, GOING)
    empty = among(s.doing, RESTING, LEAVING, CALLING, TAKING, CLAIMED)
    return implies(unsent, s.ran < s.call) & (s.ran <= s.call) & implies(empty & owned(s), s.held == 0)


@lemma
def the_device_is_where_the_driver_thinks(s: Tis) -> bool:
    """A TPM that the driver has is in the state that the driver has brought it to."""
    phase = s.fifo.phase
    fresh = (s.fifo.taken == 0) & (s.held == 0)
    mine = s.held == s.call
    reception = (phase == RECEPTION) & mine & (s.fifo.taken == s.sent) & (s.fifo.size == s.length)
    executed = mine & (s.ran == s.call)
    sized = (s.fifo.answer >= TPM_HEADER) & (s.fifo.answer <= BUFFER)
    complete = (phase == COMPLETION) & executed & sized
    unread = (phase == COMPLETION) & sized & (s.fifo.given == 0)
    once = s.garbled & negate(s.retried)
    return implies(
        owned(s),
        implies(s.doing == READYING, among(phase, PREPARING, READY) & fresh)
        & implies((s.doing == SENDING) & (s.sent == 0), (phase == READY) & fresh)
        & implies((s.doing == SENDING) & (s.sent > 0), reception)
        & implies(among(s.doing, CHECKING, GOING), reception)
        & implies(s.doing == EXECUTING, executed & ((phase == EXECUTION) | unread))
        & implies(among(s.doing, RECEIVING, CLOSING), complete & (s.fifo.given == s.got) & (s.got <= s.fifo.answer))
        & implies(s.doing == RECEIVING, s.got + s.burst <= s.fifo.answer)
        & implies(s.doing == RETRYING, complete)
        & implies(among(s.doing, RECEIVING, CLOSING) & (s.got >= TPM_HEADER), (s.expected == s.fifo.answer) | once)
        & implies((among(s.doing, RECEIVING, CLOSING) & s.retried) | (s.doing == RETRYING), s.garbled),
    )


# --------------------------------------------------------------------------------------------------------- liveness


def turn(s: Tis) -> str:
    """Whose step brings the call further."""
    if waits(s):
        if s.looked:
            return "time passes"
        return "the driver looks"
    return "the driver acts"


def progress(s: Tis) -> int:
    """How far the call has come; CHECKING and SENDING take turns."""
    if s.doing == CHECKING:
        return 15 - SENDING
    return 15 - s.doing


def bytes_left(s: Tis) -> int:
    """How many bytes may still be written, or read."""
    if among(s.doing, SENDING, CHECKING):
        return s.length - s.sent
    if s.doing == RECEIVING:
        return BUFFER - s.got
    return 0


def looks_left(s: Tis) -> int:
    """How many looks at STS come before the next byte."""
    if s.doing == CHECKING:
        return 2
    return 1 if waits(s) else 0


def distance_to_the_end(s: Tis) -> tuple[int, ...]:
    """How far the call is from its end: another reading, the stages, bytes, looks, intervals."""
    again = 0 if s.retried else 1
    return (again, progress(s), bytes_left(s), looks_left(s), s.limit - s.waited, 0 if s.looked else 1)


@eventually(
    helpful=turn,
    rank=distance_to_the_end,
    covers=("I8", "N8"),
    about=Actor.DRIVER,
    cites=(sources.TIS_TIMEOUTS, sources.EDK2_WAITS_WITH_A_TIMEOUT, sources.MINIOS_TIS_READS_THE_BURST_COUNT),
)
def a_call_goes_on(s: Tis) -> bool:
    """Every call ends, in a response or in an error, whatever the device does, within the sum of its limits."""
    return s.doing != RESTING


LOOKS = (
    driver_awaits_the_locality,
    driver_awaits_readiness,
    driver_asks_for_room,
    driver_checks_what_is_expected,
    driver_awaits_the_response,
    driver_asks_for_data,
    driver_checks_that_there_is_no_more,
)
"""What the driver reads while it waits."""

ACTS = (
    driver_requests_the_locality,
    driver_asks_for_readiness,
    driver_writes,
    driver_goes,
    driver_reads,
    driver_retries,
    driver_clears,
    driver_leaves,
    driver_aborts,
    driver_releases,
)
"""What the driver does without waiting."""

TIS = Spec(
    name="tis",
    doc="the driver of a TPM behind the TPM Interface Specification, against every device",
    state=Tis,
    init=at_rest,
    actions=(
        caller_sends,
        caller_aborts,
        driver_learns_a_limit,
        *LOOKS,
        *ACTS,
        time_passes,
        driver_times_out,
        device_gets_ready,
        device_completes,
        device_breaks,
        device_is_reset,
        others_request,
        others_withdraw,
        others_seize,
        others_give_back,
        others_have_a_response,
    ),
    facts=(
        a_byte_is_written_only_where_one_is_taken,
        no_access_exceeds_the_burst_count,
        go_is_written_for_a_whole_command_only,
        a_byte_is_read_only_where_one_is_given,
        only_a_well_formed_command_is_begun,
        a_response_is_the_devices_whole_answer_to_this_command,
        no_byte_of_the_command_is_lost_or_doubled,
        no_byte_of_the_response_is_lost_or_doubled,
        a_command_is_executed_at_most_once,
        a_loss_that_was_seen_ends_the_access,
        registers_are_touched_only_after_the_locality_was_granted,
        what_is_not_owned_gives_no_leave_to_go_on,
        a_seizure_is_told,
        an_error_drops_the_command,
        an_error_is_followed_by_nothing_but_the_way_out,
        every_session_begins_with_readiness,
        nothing_is_read_beyond_the_buffer,
        a_response_is_whole,
        every_limit_is_bounded,
        a_locality_that_others_wait_for_is_given_back,
        whoever_gets_the_tpm_finds_it_empty,
        what_others_do_is_never_taken_for_the_drivers,
        a_time_out_comes_after_the_whole_limit,
        each_wait_has_its_own_limit,
        nothing_is_garbled_by_a_sound_device,
        nothing_is_told_lost_that_is_not,
        what_is_shown_is_taken,
    ),
    lemmas=(
        a_call_that_goes_on_has_its_tpm,
        it_is_known_how_a_call_ends_only_at_its_end,
        whoever_has_the_tpm_does_not_ask_for_it,
        others_wait_only_for_a_tpm_that_somebody_has,
        bytes_are_taken_and_given_each_in_its_phase,
        a_command_has_a_header_and_fits,
        what_is_read_has_a_size,
        the_driver_counts_as_the_device_does,
        a_command_is_new_until_it_goes,
        the_device_is_where_the_driver_thinks,
    ),
    liveness=(a_call_goes_on,),
    fair={
        "the driver looks": tuple(look.name for look in LOOKS),
        "the driver acts": tuple(act.name for act in ACTS),
        "time passes": ("time_passes", "driver_times_out"),
    },
)
