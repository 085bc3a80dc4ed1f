"""What is taken for granted, as data: each assumption, why it may be, the facts that need it; and how rows are read.

A fact is proved of the models; an assumption is what ties the models to machines, to Xen and to the engine. `READINGS`
says where the literal text of a published row cannot be a property of any sound design, and what is proved instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtpm_model import sources
from vtpm_model.core import Assumption

ROWS = (
    *(f"E{number}" for number in range(1, 29)),
    *(f"I{number}" for number in range(1, 15)),
    *("N1", "N2", "N3", "N8"),
)
"""The rows of the published tables of invariants: E and N1 to N3 of ring, handshake and page, I and N8 of the TIS."""


@dataclass(frozen=True)
class Reading:
    """What is proved for a row whose literal text asks too much, and why it asks too much."""

    row: str
    proved: str
    because: str


ASSUMPTIONS: tuple[Assumption, ...] = (
    # ------------------------------------------------------------------------------------------------ Xen: events
    Assumption(
        id="A1",
        sentence="Binding an event channel raises the event of the end that binds.",
        why="Xen does so on purpose, to make good for what was sent to the port before; without it a request "
        "that was submitted before the backend bound would wait for ever.",
        facts=("E12", "the_backend_misses_no_request", "the_backend_misses_no_cancel", "a_request_stands_unanswered"),
        cites=(sources.BIND_RAISES_THE_EVENT, sources.BIND_SETS_PENDING),
    ),
    Assumption(
        id="A2",
        sentence="Between bound ports an event that is sent stays pending until it is taken; more of them are one.",
        why="An event is one bit in memory that Xen sets and the receiver clears before it looks.",
        facts=(
            "E12",
            "the_backend_misses_no_request",
            "the_frontend_misses_no_answer",
            "a_request_that_is_seen_has_an_event_on_its_way",
            "an_answer_that_is_seen_has_an_event_on_its_way",
        ),
        cites=(sources.EVENTS_ARE_ONE_BIT, sources.SEND_SETS_PENDING),
    ),
    Assumption(
        id="A3",
        sentence="What is sent to an unbound port is gone, and the sender is not told.",
        why="The peer of a port that was closed is unbound again; sending on it succeeds without effect.",
        facts=("E11", "E12", "a_caller_waits"),
        cites=(sources.SEND_TO_UNBOUND_IS_DROPPED, sources.CLOSE_LEAVES_THE_PEER_UNBOUND),
    ),
    # ------------------------------------------------------------------------------------------------ Xen: grants
    Assumption(
        id="A4",
        sentence="A grant is mapped only by the domain that it names, and only from the domain that gave it.",
        why="Xen compares both when it maps; the reference alone, which a guest chooses, gives nothing.",
        facts=("E14", "E18", "only_the_frontends_own_page_is_mapped"),
        cites=(sources.GRANT_MAP_TAKES_THE_GRANTER, sources.GRANT_MAP_CHECKS_THE_GRANTEE),
    ),
    Assumption(
        id="A5",
        sentence="A guest can tell whether its page is still mapped, and cannot end a grant that is in use.",
        why="Xen marks the entry while it is mapped; ending it compares and exchanges the mark.",
        facts=("E15", "a_mapped_page_is_not_used_again"),
        cites=(sources.GRANT_IS_WITHDRAWN_ONLY_UNUSED, sources.LINUX_END_ACCESS, sources.LINUX_DEFERS_A_MAPPED_PAGE),
    ),
    Assumption(
        id="A6",
        sentence="When a domain ends, Xen closes its ports and takes its mappings away, and a page that another "
        "domain has mapped lives on until that one unmaps it.",
        why="A crash of either end is a step of the model that does just this.",
        facts=("E14", "E15", "the_backend_touches_only_a_mapped_page"),
        cites=(sources.CLOSE_LEAVES_THE_PEER_UNBOUND,),
    ),
    Assumption(
        id="A7",
        sentence="One grant shares 4 096 bytes, whatever the size of the guest's own pages.",
        why="Xen's frames have that size on every architecture that has a vTPM; a guest with larger pages "
        "shares a part.",
        facts=("E6", "E7", "the_frontend_writes_requests_only_inside_the_frame"),
        cites=(sources.XENBUS_SETUP_RING_SHARES_4_KIB,),
    ),
    # ---------------------------------------------------------------------------------------------- Xen: xenstore
    Assumption(
        id="A8",
        sentence="A watch fires once when it is set and at least once after every change; it may fire more often, "
        "and several changes may be one event.",
        why="So the protocol of xenstore is documented. Both ends therefore read the value when they are told, "
        "and act on what it is by then.",
        facts=("E28", "the_backend_knows_the_frontends_state", "a_watch_event_waits"),
        cites=(
            sources.WATCH_FIRES_ON_CHANGE,
            sources.WATCH_FIRES_AT_ONCE_AND_SPURIOUSLY,
            sources.WATCH_AND_PERMISSIONS,
        ),
    ),
    Assumption(
        id="A9",
        sentence="A read gives what was written or committed last, and a transaction takes effect as a whole or not "
        "at all.",
        why="There is one xenstored, and it answers one request after the other.",
        facts=("E19", "E20", "E25", "connected_ends_share_one_page"),
        cites=(sources.TRANSACTION_COMMITS_WHOLE_OR_NOT,),
    ),
    Assumption(
        id="A10",
        sentence="A guest writes only below its own frontend directory; the backend's directory is written by the "
        "backend and the toolstack.",
        why="The toolstack sets the permissions when it creates the nodes, in the same transaction.",
        facts=("E18", "E19", "E24", "E25"),
        cites=(sources.LIBXL_PERMISSIONS, sources.LIBXL_FRONTEND_NODES, sources.LIBXL_BACKEND_NODES),
    ),
    Assumption(
        id="A11",
        sentence="The toolstack is trusted: it creates the nodes of a device in one transaction, both ends "
        "Initialising, names the right domains, and asks to close by `online` 0 and Closing before it "
        "forces anything.",
        why="It runs with the rights of the control domain; a toolstack that lies can hand any page to anybody.",
        facts=("E18", "E24", "E25", "a_toolstack_waits_for_the_backend", "a_new_device_waits_for_its_backend"),
        cites=(
            sources.LIBXL_ADDS_IN_ONE_TRANSACTION,
            sources.LIBXL_ASKS_TO_CLOSE,
            sources.LIBXL_FORCED_REMOVAL_DELETES_THE_FRONTEND,
        ),
    ),
    # -------------------------------------------------------------------------------------------------- the engine
    Assumption(
        id="A12",
        sentence="The engine answers every command in the end.",
        why="How long a command takes, and that it ends, is the TPM's matter; the ring only waits for it.",
        facts=("E10", "E11", "E16", "E17", "a_request_stands_unanswered", "every_request_comes_to_an_end"),
        cites=(sources.TPMBACK_COMMAND_INTERFACE,),
    ),
    Assumption(
        id="A13",
        sentence="The length in an answer's TPM header is the answer's length, and all of its bytes are the engine's.",
        why="The ring does not look into packets. This is the rest of N3, whose bounds are proved, and of E21: "
        "a backend copies exactly as many bytes as the engine said.",
        facts=("N3", "E21", "every_reply_is_a_packet_that_fits", "a_page_shows_nothing_of_other_connections"),
        cites=(sources.TPMBACK_COMMAND_INTERFACE, sources.LINUX_CHECKS_THE_REPLY_LENGTH),
    ),
    Assumption(
        id="A14",
        sentence="The engine is reached through the backend only, and starts with it.",
        why="E27 then says that no connecting and no closing touches its state. What a start itself does to it "
        "is the engine's own matter.",
        facts=("E27", "the_engine_changes_by_commands_only"),
        cites=(sources.VTPM_STARTS_THE_EMULATOR_ONCE, sources.VTPM_ATTACHED_LATE),
    ),
    Assumption(
        id="A15",
        sentence="Which localities a frontend may use is given by the environment and does not change while it is "
        "connected.",
        why="The table comes from the configuration of the vTPM's domain and the guest's security label.",
        facts=("E22", "only_a_permitted_locality_is_served"),
        cites=(sources.VTPM_LOCALITY_MASK, sources.VTPM_CHECKS_THE_LOCALITY),
    ),
    Assumption(
        id="A16",
        sentence="Finitely many frontends are connected at a time; their number is the bound of E16.",
        why="A frontend is served after every other that was ahead of it, each once at the most; with no bound "
        "on their number there is none on the wait.",
        facts=("E16", "nobody_is_served_twice_while_another_waits", "a_ready_frontend_waits"),
        cites=(sources.TPMBACK_SERVES_BY_INDEX,),
    ),
    # ------------------------------------------------------------------------------------------ programs and clocks
    Assumption(
        id="A17",
        sentence="A step that its actor owes is taken, if it stays possible.",
        why="Weak fairness: the scheduler runs whoever is awake. It is asked of the groups that a liveness "
        "claim names, and never of a hostile frontend.",
        facts=("E10", "E11", "E16", "E24", "E25", "E28"),
    ),
    Assumption(
        id="A18",
        sentence="Time does not exist: a wait that may time out may do so at any moment.",
        why="10 s of the toolstack, 5 s at shutdown, 750 ms to minutes of the TPM core are configuration. What "
        "is proved holds for every duration, zero included; what depends on one (E25's 10 s) is not proved.",
        facts=("E5", "E11", "E24", "E25", "a_caller_waits"),
        cites=(sources.LIBXL_TIMEOUTS, sources.LINUX_SEND_GIVES_UP, sources.XENBUS_FRONTEND_SHUTDOWN),
    ),
    Assumption(
        id="A19",
        sentence="A frontend that keeps the rules has one sender at a time.",
        why="Linux' TPM core holds a lock from sending to receiving, and takes it for the sysfs cancel too; "
        "mini-os leaves it to its callers.",
        facts=("E2", "E3", "one_request_is_outstanding"),
        cites=(sources.LINUX_TRANSMIT, sources.LINUX_SYSFS_CANCEL),
    ),
    # ------------------------------------------------------------------------------------------- memory and machine
    Assumption(
        id="A20",
        sentence="Each field of the header is stored and loaded whole.",
        why="Length is four aligned bytes, every other field is one byte; no processor that runs Xen tears "
        "those. Two fields together are not whole: the models load and store them apart where that matters.",
        facts=("E8", "N2", "the_snapshot_is_taken_once_a_request"),
        cites=(sources.TPMIF_SHARED_PAGE, sources.TPMIF_WRITERS),
    ),
    Assumption(
        id="A21",
        sentence="What a program reads once is loaded once.",
        why="A compiler may load an ordinary variable again; a sound implementation says volatile or atomic. "
        "`page` has the mistake as a defect.",
        facts=("E8", "the_request_is_copied_from_where_its_header_said"),
        cites=(sources.TPMBACK_SNAPSHOT,),
    ),
    Assumption(
        id="A22",
        sentence="Elsewhere than in `order`, stores are seen in the order in which the program makes them.",
        why="`order` shows what that takes on a machine that reorders, and that x86 gives it without barriers; "
        "the other models build on it.",
        facts=("N2", "E4", "E12"),
        cites=(sources.MINIOS_X86_BARRIERS, sources.MINIOS_ARM_BARRIERS, sources.X86_KEEPS_STORES_IN_ORDER),
    ),
    Assumption(
        id="A23",
        sentence="A store is not seen before an earlier load of the same program was done.",
        why="Every store that matters depends on what was loaded, or stands behind a barrier that also waits "
        "for loads.",
        facts=("N2", "who_loads_submit_reads_the_request_stored_before_it"),
    ),
    Assumption(
        id="A24",
        sentence="Length and packet are published together: no program puts a barrier between them.",
        why="They are stored before, and loaded after, the same barrier, so one place in `order` stands for both.",
        facts=("N2", "who_loads_finish_reads_the_answer_stored_before_it"),
        cites=(sources.LINUX_SUBMITS, sources.TPMBACK_STORES_FINISH),
    ),
    # ------------------------------------------------------------------------------------------- what models leave out
    Assumption(
        id="A25",
        sentence="Packets are known by number: a request by its place in the sequence, an answer by its request.",
        why="No claim of the ring depends on what the bytes say; which bytes lie where is `page`'s matter.",
        facts=("E4", "E9", "N1", "an_answer_belongs_to_the_last_request"),
    ),
    Assumption(
        id="A26",
        sentence="Memory suffices: a program that fails to allocate stands still or ends, and is then one that "
        "crashed.",
        why="What an implementation does when it runs out is its own; towards the other end it looks like a crash.",
        facts=("E10", "E11"),
    ),
    # ------------------------------------------------------------------------------------------ the TPM's registers
    Assumption(
        id="A27",
        sentence="One reading of STS gives its flags and its burst count as they are together.",
        why="The register is read as 32 bits at once. Two readings of eight bits may tear the count; `tis` has that "
        "as a defect.",
        facts=("I2", "no_access_exceeds_the_burst_count"),
        cites=(sources.TIS_BURST_COUNT, sources.EDK2_READS_THE_BURST_COUNT),
    ),
    Assumption(
        id="A28",
        sentence="A locality is used by one program.",
        why="Who writes to another one's page acts in its name; no device can tell the two apart.",
        facts=("I7", "I13", "I14", "a_call_goes_on"),
        cites=(sources.TIS_REQUEST_USE,),
    ),
    Assumption(
        id="A29",
        sentence="The bytes of a command and of a response are not garbled on their way, but for the size of a "
        "response, once in a call.",
        why="The bus has no checksum that this driver could read; a size that is wrong contradicts dataAvail, and "
        "the response is then read again.",
        facts=("I6", "N8", "nothing_is_garbled_by_a_sound_device"),
        cites=(sources.TIS_RESPONSE_RETRY,),
    ),
    Assumption(
        id="A30",
        sentence="A device that keeps the specification answers with 10 to 4 096 bytes, and its burst count is never "
        "more than what is left of a response.",
        why="The first is what a TPM packet is; the second is what a burst count means.",
        facts=("I4", "I6", "N8"),
        cites=(sources.TIS_BURST_COUNT, sources.TIS_DATA_AVAIL),
    ),
)
"""Every assumption, by a number that stays. `facts` has names of facts and rows of the published tables."""


READINGS: tuple[Reading, ...] = (
    Reading(
        row="E2",
        proved="The stores of each end replace what they may replace, as long as the other end keeps to its own rows.",
        because="No operation is atomic: the backend looks at CANCEL and then stores IDLE. Who stores in between, "
        "as only a second sender or a hostile frontend does, harms nobody but its own ring.",
    ),
    Reading(
        row="E3",
        proved="The frontend submits only when nothing is outstanding.",
        because="It is the frontend's duty alone: nothing keeps a hostile one from storing SUBMIT over SUBMIT, and "
        "no backend can tell one such store from two.",
    ),
    Reading(
        row="E9",
        proved="Each SUBMIT that a backend sees is executed once at the most, in its connection.",
        because="An identity outside the page does not exist: a frontend that sends the same bytes again, as the "
        "TPM core does after a time-out, has made a new request.",
    ),
    Reading(
        row="E10",
        proved="A request that fits, that nobody cancels and whose connection lasts reaches the engine and is "
        "answered.",
        because="A request that does not fit has to be refused, and a frontend may leave, or take its SUBMIT back.",
    ),
    Reading(
        row="E11",
        proved="While the connection lasts, SUBMIT and CANCEL give way to FINISH or IDLE; the frontend's own waits "
        "end even if the backend is gone.",
        because="A backend that has crashed answers nothing, so only the frontend can bound its wait.",
    ),
    Reading(
        row="E12",
        proved="The event is pending, or taken, or the writer is between its store and its event.",
        because="Storing the state and sending the event are two steps; between them the row as written is false.",
    ),
    Reading(
        row="E16",
        proved="A frontend is served after at most one request of each other connected frontend.",
        because="The row leaves its number of rounds open; no number holds for any number of frontends.",
    ),
    Reading(
        row="E17",
        proved="No request, however malformed, ends the backend, holds it, or changes anything of another frontend.",
        because="Shared time is shared: a frontend whose commands are slow delays the others by one command each.",
    ),
    Reading(
        row="E19",
        proved="Once both ends are Connected and the backend has read the last news, it holds what the frontend "
        "published.",
        because="Between a write to xenstore and its reading the two ends differ, whatever they do.",
    ),
    Reading(
        row="E22",
        proved="A command is executed only if the environment's mask permits its locality.",
        because="Labels and tables are outside the protocol; the mask is a parameter.",
    ),
    Reading(
        row="E23",
        proved="A cancel with nothing in service becomes IDLE and executes nothing, while the backend is bound to "
        "the page.",
        because="An unbound backend sees no cancel; binding makes it look.",
    ),
    Reading(
        row="E24",
        proved="After the frontend's Closed the backend goes to InitWait or Closed; asked by the toolstack, to Closed.",
        because="Both are sound after a close with `online` 1: the published order says InitWait, xenbus in general "
        "Closed.",
    ),
    Reading(
        row="E25",
        proved="A living backend that does not track a new device goes to InitWait in the end.",
        because="10 s are the toolstack's patience, not a property of a program without clocks; and nodes that are "
        "made anew under a device that is still tracked have to wait for its end.",
    ),
    Reading(
        row="E26",
        proved="The device is open towards the application from before its first command until after its last.",
        because="Callbacks and their opaque pointer are one implementation's interface.",
    ),
    Reading(
        row="E27",
        proved="No step of connecting, closing, suspending or removing changes the engine's state.",
        because="Commands change PCRs and sessions, that is what they are for; the row is read as a frame condition.",
    ),
    Reading(
        row="E28",
        proved="The backend has read the state that the frontend wrote last, or a watch event waits for it.",
        because="Values in between may go unseen, since events coalesce and are read by level.",
    ),
    Reading(
        row="I1",
        proved="A byte that the driver writes to a TPM that it has is taken.",
        because="Between its last look and its write a higher locality may take the TPM away; what it writes then is "
        "dropped by the device.",
    ),
    Reading(
        row="I3",
        proved="tpmGo is written to a TPM that the driver has only when the whole command is there.",
        because="As for I1.",
    ),
    Reading(
        row="I7",
        proved="No access follows a look that shows a loss; before that look, at most the burst of the moment.",
        because="requestUse need not be looked at: it reads 0 for the owner.",
    ),
    Reading(
        row="I8",
        proved="Every call ends; each wait takes its limit in poll intervals at most, and there are finitely many.",
        because="The sum of all waits is a figure of a configuration; a poll interval is as long as it is.",
    ),
    Reading(
        row="I9",
        proved="After an error the command is dropped by commandReady, the locality is given back, and the next call "
        "begins with a wait for Ready.",
        because="A TPM that was lost is not the driver's to abort, and none is there before the locality was granted.",
    ),
    Reading(
        row="N2",
        proved="Whoever loads SUBMIT or FINISH reads the data stored before it: with barriers on any machine, "
        "without on x86.",
        because="Without barriers the row is false on machines that reorder.",
    ),
    Reading(
        row="N3",
        proved="Every command that was fetched is answered by 10 bytes or more that fitted when it was fetched.",
        because="That the header inside says the same length is the engine's promise.",
    ),
    Reading(
        row="N8",
        proved="A call ends; in an error only if the whole limit went by, the TPM was taken away, the caller asked for "
        "it, or the device broke the specification; and whatever is shown is taken.",
        because="So a punctual device that nobody takes away leaves a call no other end than a response, after an "
        "error as before.",
    ),
)
"""The rows that are not proved word for word."""


def assumed_by(name: str, covers: tuple[str, ...]) -> tuple[Assumption, ...]:
    """The assumptions that a fact of that name, which covers those rows, rests on."""
    return tuple(one for one in ASSUMPTIONS if not {name, *covers}.isdisjoint(one.facts))
