"""Judges a conversation: whether the true model shows it, device by device, and nobody had another's turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vtpm_model.driven import DRIVEN
from vtpm_traces.conform.player import Conversation
from vtpm_traces.conform.trial import Judged
from vtpm_traces.conform.turns import unfair
from vtpm_traces.observe import Recording
from vtpm_traces.recordings import tpmback, tpmfront
from vtpm_traces.recordings.script import Entry, Malformed, entries_of
from vtpm_traces.search import explain
from vtpm_traces.verdict import Outcome

READERS: Final[Mapping[str, Callable[[tuple[Entry, ...], str, str], Mapping[Any, Recording]]]] = {
    "backend": tpmback.recordings_of,
    "frontend": tpmfront.recordings_of,
}
FORMATS: Final[Mapping[str, str]] = {"backend": "tpmback-script", "frontend": "tpmfront-script"}
"""What `vtpmspec trace validate` calls the log of such a subject."""


def judge(conversation: Conversation, name: str) -> Judged:
    """Hold a conversation against the true model."""
    if conversation.fault:
        return Judged(conversation.fault, "fault", len(conversation.log))
    try:
        entries = entries_of(enumerate(conversation.log, 1), name)
        recordings = READERS[conversation.end](entries, name, name)
    except Malformed as why:
        return Judged(f"the log cannot be read: {why}", undecided=True)
    for recording in recordings.values():
        verdict = explain(DRIVEN, recording)
        if verdict.outcome is Outcome.REFUSED:
            stuck = verdict.stuck[0]
            own = [told for told in stuck.possible if told.startswith(conversation.end)]
            possible = f"; possible was: {', '.join(own)}" if own else ""
            sentence = f"{recording.title}: {stuck.origin.text}{possible}"
            return Judged(sentence, stuck.origin.text.partition(" ")[0], stuck.origin.line)
        if not verdict.accepted:
            return Judged(f"{recording.title}: {verdict.outcome.value}: {verdict.reason}", undecided=True)
    found = unfair(entries) if conversation.end == "backend" else None
    return Judged() if found is None else Judged(f"{name}: {found}", "turn", found.origin.line)
