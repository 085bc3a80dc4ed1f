"""What a backend makes of a watch event: the event's path, and the text in the node that it speaks of.

Both come from the guest, which may write any text into its `state` node and may make any child below it. Watches
coalesce: an event of the node itself and an event of a child are each there or not.
"""

from __future__ import annotations

from vtpm_model import sources
from vtpm_model.core import (
    U32,
    Actor,
    Nat,
    Spec,
    Step,
    action,
    always,
    eventually,
    every_step,
    implies,
    negate,
    record,
    replace,
    require,
)
from vtpm_model.handshake import INVALID, UNKNOWN, XenbusState

FRONTEND, BACKEND = Actor.FRONTEND, Actor.BACKEND

BUFFER = 40
"""Bytes that the backend has for the part of a path behind the device's directory, the terminator included."""

NODE = 5
"""Bytes of that part in an event of the `state` node itself."""


@record
class State:
    """The guest's `state` node, the events that wait, and what the backend made of the last one."""

    numeric: bool  # the text in the node is a number
    value: U32  # that number
    changed: bool  # an event of the node waits
    child: Nat  # bytes of the path in an event of a child that waits, behind the device's directory; 0: no such event
    copied: Nat  # bytes of the last path that the backend stored into its buffer, the terminator included
    seen: XenbusState  # the state that the backend read last


def a_node_just_made() -> State:
    """The node says Initialising, and the backend has not looked yet."""
    return State(numeric=True, value=1, changed=True, child=0, copied=0, seen=UNKNOWN)


@action(by=FRONTEND, cites=(sources.LIBXL_PERMISSIONS, sources.WATCH_FIRES_ON_CHANGE))
def frontend_writes_its_state(s: State, numeric: bool, value: U32) -> State:
    """The guest writes any text into its `state` node."""
    return replace(s, numeric=numeric, value=value, changed=True)


@action(by=FRONTEND, cites=(sources.LIBXL_PERMISSIONS, sources.WATCH_EVENT_OF_A_REMOVED_PARENT))
def frontend_makes_a_child(s: State, name: Nat) -> State:
    """The guest makes a node below its `state` node, with a name of any length."""
    require(name > 0)
    return replace(s, child=NODE + 1 + name)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_PARSES_EVENT_PATHS)
def backend_takes_the_event_of_a_child(s: State) -> State:
    """The backend copies a path that its buffer holds, and finds that it is of no interest; a longer one it skips."""
    require(s.child != 0)
    if s.child < BUFFER:
        return replace(s, child=0, copied=s.child + 1)
    return replace(s, child=0, copied=0)


def state_of(numeric: bool, value: int) -> XenbusState:
    """The state that a text names; INVALID where it names none."""
    for state in XenbusState:
        if numeric & (value == state):
            return state
    return INVALID


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_FRONTEND_CHANGED, sources.XENBUS_STATES))
def backend_reads_the_state(s: State) -> State:
    """The backend copies the path of the node itself and reads the state there, if the text names one."""
    require(s.changed)
    return replace(s, changed=False, copied=NODE + 1, seen=state_of(s.numeric, s.value))


@always(covers="E17", about=BACKEND, cites=(sources.TPMBACK_CHILD_NAME_OVERFLOWS, sources.TPMBACK_PARSES_EVENT_PATHS))
def the_path_of_an_event_stays_in_its_buffer(s: State) -> bool:
    """Of an event's path the backend stores no more bytes than its buffer has, the terminator among them."""
    return s.copied <= 40


@every_step(covers="E28", about=BACKEND, cites=(sources.MINIOS_READ_INTEGER_UNINITIALISED, sources.XENBUS_STATES))
def a_state_is_read_only_from_its_number(before: State, step: Step, after: State) -> bool:
    """The backend reads a state exactly where the text is that state's number, and none from any other text."""
    read = before.changed & negate(after.changed)
    names = before.numeric & (before.value <= 8)
    return implies(read & names, after.seen == before.value) & implies(read & negate(names), after.seen == INVALID)


@eventually(
    helpful=lambda s: "the backend reads",
    rank=lambda s: (0,),
    covers="E28",
    about=BACKEND,
    cites=sources.WATCH_FIRES_ON_CHANGE,
)
def a_change_is_unread(s: State) -> bool:
    """The backend reads the node after every change of it, whatever else the guest makes there."""
    return s.changed


WATCH = Spec(
    name="watch",
    doc="what a backend makes of a watch event: its path, and the text behind it",
    state=State,
    init=a_node_just_made,
    actions=(
        frontend_writes_its_state,
        frontend_makes_a_child,
        backend_takes_the_event_of_a_child,
        backend_reads_the_state,
    ),
    facts=(the_path_of_an_event_stays_in_its_buffer, a_state_is_read_only_from_its_number),
    liveness=(a_change_is_unread,),
    fair={"the backend reads": ("backend_reads_the_state",)},
)
