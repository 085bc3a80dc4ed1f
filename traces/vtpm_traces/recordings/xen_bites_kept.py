"""The kept table of what became of spoilt recordings: how it is made, and held against a sample that is run anew."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from vtpm_model.core import Spec
from vtpm_traces.files import read_json
from vtpm_traces.recordings import xen_bites
from vtpm_traces.recordings.judged import Checked
from vtpm_traces.recordings.xen import DeviceRecording, read_contents, read_sources
from vtpm_traces.recordings.xen_bites import SPECIFICATIONS, Bitten, bitten
from vtpm_traces.recordings.xen_model import device_recording
from vtpm_traces.recordings.xen_teeth import Mutant, changed_source, depended_on, mutants, table
from vtpm_traces.recordings.xen_teeth import why_nothing_depends as why
from vtpm_traces.schema import data, refuse_unknown
from vtpm_traces.search import Bounds, explain
from vtpm_traces.verdict import Outcome

SCHEMA = "vtpmspec/teeth/2"
TABLE = "linux-teeth.json"

Document = dict[str, Any]
"""The table of one device, as it is kept and printed."""

_NAME = ("folder", "recorder", "device")
_Name = tuple[str, str, str]

_LETTERS = {Outcome.REFUSED: "r", Outcome.ACCEPTED: "a", Outcome.UNDECIDED: "u"}
_WIDTH = 100  # letters in a line of the table
_DEPTH = 4  # of the table's values that have lines of their own

_SAMPLED = 4  # devices, of each of which a mutant is judged by itself
_DRAWN = 2  # of its mutants, until one of them is judged
_EARLY = 20  # lines of its recorder, in one of which the mutant lies: a refusal needs all that can come before it
_BOUNDS = Bounds(nodes=6_000, hidden=(256,))  # a few seconds at most


# ------------------------------------------------------------------------------------------------------- documents


def as_document(found: Bitten) -> Document:
    """The table of one device; `outcomes` has a letter for each mutant, in the order of the lines.

    `exceptions` are those that were not refused although later lines mostly depend on what they spoil: for each reason
    why here none does, the lines.
    """
    classes = table(found.bites)
    exceptions: dict[tuple[str, str, str, str], list[int]] = {}
    for each in found.bites:
        if each.outcome is not Outcome.REFUSED and depended_on(each.mutant):
            origin, reason = each.mutant.origin, why(each.mutant, found.contents)
            group = (origin.file, each.mutant.line_kind, each.mutant.spoilt.value, reason)
            exceptions.setdefault(group, []).append(origin.line)
    letters = "".join(_LETTERS[each.outcome] for each in found.bites)
    return {
        "folder": found.folder,
        "recorder": found.recorder,
        "device": found.device,
        "specification": found.specification,
        "every": found.every,
        "made_of": made_of(found.contents),
        "mutants": len(found.bites),
        "classes": [
            {"line": kind, "spoilt": spoilt.value, **counts(classes[spoilt, kind])}
            for spoilt, kind in sorted(classes, key=lambda one: (one[1], one[0].value))
        ],
        "exceptions": [
            {"file": file, "line": kind, "spoilt": spoilt, "why": reason, "at": lines}
            for (file, kind, spoilt, reason), lines in exceptions.items()
        ],
        "outcomes": [letters[at : at + _WIDTH] for at in range(0, len(letters), _WIDTH)],
    }


def counts(found: Mapping[Outcome, int]) -> dict[str, int]:
    """How many were refused, accepted and undecided."""
    return {outcome.value: found.get(outcome, 0) for outcome in _LETTERS}


def total(documents: Iterable[Document]) -> Counter[str]:
    """How many mutants of these devices were refused, accepted and undecided."""
    found = Counter({outcome.value: 0 for outcome in _LETTERS})
    for each in classes(documents):
        found.update({outcome.value: each[outcome.value] for outcome in _LETTERS})
    return found


def classes(documents: Iterable[Document]) -> list[Document]:
    """The classes of all these devices together, counted as in the table of one."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for each in (one for document in documents for one in document["classes"]):
        counted = found.setdefault((each["line"], each["spoilt"]), Counter())
        counted.update({outcome.value: each[outcome.value] for outcome in _LETTERS})
    return [{"line": line, "spoilt": spoilt, **found[line, spoilt]} for line, spoilt in sorted(found)]


def unexplained(document: Document) -> list[str]:
    """A sentence for each exception that nothing tells the reason of."""
    return [
        f"{document['folder']} {document['device']}: {each['file']}:{line}, {each['spoilt']}: accepted, and nothing "
        "tells why it may be"
        for each in document["exceptions"]
        if not each["why"]
        for line in each["at"]
    ]


def made_of(contents: Mapping[str, bytes]) -> str:
    """A digest of all that the outcomes depend on: the recording, the model, and what reads and judges it."""
    found = hashlib.sha256()
    for name, content in (*_sources(), *sorted(contents.items())):
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:16]


@functools.cache
def _sources() -> tuple[tuple[str, bytes], ...]:
    """The modules that are at work, with their text as it was when this process began to ask."""
    return tuple(sorted(_imported(xen_bites.__name__, {}).items()))


def _imported(module: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """The source of a module of ours and of all those that it imports; without the citations, which decide nothing."""
    package, _, name = module.partition(".")
    if module in found or package not in ("vtpm_model", "vtpm_traces") or module == "vtpm_model.sources":
        return found
    file = Path(str(resources.files(package))).joinpath(*name.split(".")).with_suffix(".py")
    if not file.is_file():  # something within a module
        return found
    found[module] = file.read_bytes()
    for node in ast.walk(ast.parse(found[module])):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for imported in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                _imported(imported, found)
    return found


# ------------------------------------------------------------------------------------------------- the kept table


def kept_folders() -> list[Path]:
    """The kept recordings of Linux on Xen."""
    return sorted(path for path in data("recorded", "linux-frontend").iterdir() if path.is_dir())


def kept_table() -> list[Document]:
    """The table as it is kept, a document for each device. Raises BadInput if it is of another schema."""
    devices: list[Document] = _read()["devices"]
    return devices


def left_out() -> list[str]:
    """The devices that the kept table says it leaves out. Raises BadInput if it is of another schema."""
    return [" ".join(_place(each)) for each in _read()["left_out"]]


def _read() -> Document:
    table: Document = read_json(data("recorded", TABLE))
    refuse_unknown(table.get("schema"), SCHEMA, TABLE)
    return table


def record(*, anew: bool, jobs: int, say: Callable[[str], None]) -> Iterator[Document]:
    """Make the kept table, and yield the document of each device.

    Each device is kept as soon as it is run. What is kept of the same sources is not run again unless it is to be made
    `anew`.
    """
    known = {} if anew else {_place(document): document for document in kept_table()}
    devices = [(folder, seen, made_of(contents)) for folder, contents in _kept() for seen in _devices(contents)]
    places = [(folder.name, seen.recorder, str(seen.device)) for folder, seen, _ in devices]
    for number, (place, (folder, seen, sources)) in enumerate(zip(places, devices, strict=True), 1):
        document = known.get(place)
        if document is None or document["made_of"] != sources:
            say(f"device {number} of {len(places)}")
            (found,) = bitten(folder, wanted=seen.__eq__, jobs=jobs, say=say)
            document = known[place] = as_document(found)
            _write(known, places)
        yield document
    _write(known, places)


def _kept() -> list[tuple[Path, Mapping[str, bytes]]]:
    return [(folder, read_contents(folder)[0]) for folder in kept_folders()]


def _devices(contents: Mapping[str, bytes]) -> list[DeviceRecording]:
    return read_sources("", contents).devices


def _place(document: Document) -> _Name:
    folder, recorder, device = (document[part] for part in _NAME)
    return folder, recorder, device


def _write(known: Mapping[_Name, Document], places: list[_Name]) -> None:
    """Keep what is known of these devices, and name the others."""
    documents = [known[each] for each in places if each in known]
    left_out = [dict(zip(_NAME, each, strict=True)) for each in places if each not in known]
    path = data("recorded", TABLE)
    part = path.with_suffix(".part")
    part.write_text(_text({"schema": SCHEMA, "left_out": left_out, "devices": documents}), encoding="utf-8")
    part.replace(path)


def _text(value: Any, indent: str = "") -> str:
    """JSON with a line for each entry of a device, and for each element of a list in it, so that changes are seen."""
    inner = indent + " "
    deep = len(indent) < _DEPTH
    if deep and isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items()]
        text = "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    elif deep and isinstance(value, list) and value:
        text = "[\n" + ",\n".join(inner + _text(item, inner) for item in value) + f"\n{indent}]"
    else:
        text = json.dumps(value)
    return text if indent else text + "\n"


def unlike_the_table(documents: Iterable[Document]) -> list[str]:
    """A sentence for each device of which the kept table says something else, or nothing."""
    kept = {_place(document): {**document, "made_of": ""} for document in kept_table()}
    return [
        f"{new['folder']} {new['device']}: the mutants do not become what the kept table says"
        for new in documents
        if kept.get(_place(new)) != {**new, "made_of": ""}
    ]


# -------------------------------------------------------------------------------------------------------- the sample


def check_teeth() -> Checked:
    """Run a sample of the kept table's mutants anew: each must become what the table says; each exception has a reason.

    For the table everything that a recording can mean is searched, and each mutant compared with it. One of the sample
    is judged by itself, as any recording would be, so the one way of judging is held against the other; if that takes
    long another one is drawn. What is drawn changes with the recordings, the model, and what judges.
    """
    kept = {_place(document): document for document in kept_table()}
    unasked = left_out()
    shortfalls = [sentence for document in kept.values() for sentence in unexplained(document)]
    whole: dict[str, _Sampled] = {}
    for folder, contents in _kept():
        for seen in _devices(contents):
            name = f"{folder.name} {seen.recorder} {seen.device}"
            document = kept.get((folder.name, seen.recorder, str(seen.device)))
            spoilt = tuple(mutants(contents, seen.device))
            letters = "" if document is None else "".join(document["outcomes"])
            if document is not None and len(spoilt) == len(letters):
                whole[name] = _Sampled(seen, contents, SPECIFICATIONS[document["specification"]], spoilt, letters)
            elif name not in unasked:
                shortfalls.append(f"{name}: {len(spoilt)} mutants, the table has {len(letters)}")
    sampled = 0
    for name in sorted(whole, key=lambda name: _drawn(made_of(whole[name].contents), name)):
        device = whole[name]
        seed = made_of(device.contents)
        judged = sorted(device.early(), key=lambda one: _drawn(seed, str(one[0])))
        for mutant, letter in judged[:_DRAWN] if sampled < _SAMPLED else ():
            outcome = _by_itself(mutant, device)
            if outcome is not Outcome.UNDECIDED:
                sampled += 1
                if _LETTERS[outcome] != letter:
                    place = f"{mutant.origin.file}:{mutant.origin.line}"
                    shortfalls.append(f"{name}: {place}, {mutant.spoilt.value}: {outcome.value}, not as kept")
                break
    if not sampled:
        shortfalls.append("the table has no mutant that could be sampled")
    figures = {
        "devices": len(kept),
        "left out": len(unasked),
        "mutants": sum(document["mutants"] for document in kept.values()),
    }
    return Checked({**figures, "sampled": sampled, **total(kept.values())}, tuple(shortfalls))


@dataclass(frozen=True)
class _Sampled:
    """A device of the table that a sample may be drawn of, with the letter of each of its mutants."""

    seen: DeviceRecording
    contents: Mapping[str, bytes]
    spec: Spec[Any]
    spoilt: tuple[Mutant, ...]
    letters: str

    def early(self) -> list[tuple[Mutant, str]]:
        """The mutants of the first lines about it, each with its letter."""
        lines = sorted({each.origin.line for each in self.spoilt if each.origin.file == self.seen.recorder})[:_EARLY]
        both = zip(self.spoilt, self.letters, strict=True)
        return [one for one in both if one[0].origin.file == self.seen.recorder and one[0].origin.line in lines]


def _drawn(seed: str, what: str) -> str:
    """A key that brings things into an order that looks like chance."""
    return hashlib.sha256(f"{seed} {what}".encode()).hexdigest()


def _by_itself(mutant: Mutant, device: _Sampled) -> Outcome:
    changed = changed_source(mutant, device.seen, device.contents)
    sources = tuple(changed if source.file == changed.file else source for source in device.seen.sources)
    watched, recording = device_recording(replace(device.seen, sources=sources), device.spec)
    return explain(watched, recording, bounds=_BOUNDS).outcome
