"""What became of a subject under test, in the formats of other tools: JSON, JUnit and SARIF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree

from vtpm_traces.conform.deviations import Deviation
from vtpm_traces.conform.trial import Ended, Trial, Verdict, counts

SCHEMA: Final = "vtpmspec/conform/1"


def document(
    campaign: Trial[Any], ended: Sequence[Ended], stale: Sequence[Deviation], *, holds: bool, seconds: float
) -> dict[str, Any]:
    """All of it as data; a run that failed with the lines of its script and its log."""
    return {
        "schema": SCHEMA,
        "holds": holds,
        "subject": {"name": campaign.name, "end": campaign.end, "command": list(campaign.command)},
        "seed": campaign.seed,
        "seconds": round(seconds, 3),
        "counts": counts(ended),
        "stale_deviations": [_deviation(one) for one in stale],
        "runs": [_run(one) for one in ended],
    }


def _run(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = {"run": ended.run, "verdict": ended.verdict.value, "seconds": round(ended.seconds, 3)}
    if ended.sentence:
        found |= {"sentence": ended.sentence, "script": list(ended.lines), "log": list(ended.log)}
    if ended.known is not None:
        found["known_deviation"] = _deviation(ended.known)
    return found


def _deviation(one: Deviation) -> dict[str, Any]:
    return {"runs": list(one.runs), "shows": one.shows, "rows": list(one.rows), "why": one.why}


def junit(campaign: Trial[Any], ended: Sequence[Ended], stale: Sequence[Deviation]) -> str:
    """One test case a run, and one for each deviation that no longer shows."""
    root = ElementTree.Element("testsuites", name="vtpmspec conform")
    failed = [one for one in ended if one.verdict is Verdict.FAILURE]
    errors = [one for one in ended if one.verdict is Verdict.ERROR]
    suite = ElementTree.SubElement(
        root, "testsuite", name=f"{campaign.name} {campaign.end}", tests=str(len(ended) + len(stale)),
        failures=str(len(failed) + len(stale)), errors=str(len(errors)),
    )  # fmt: skip
    elements = {Verdict.FAILURE: "failure", Verdict.ERROR: "error", Verdict.SKIP: "skipped"}
    for one in ended:
        case = ElementTree.SubElement(suite, "testcase", classname=one.kind, name=one.run)
        if one.verdict in elements:
            told = ElementTree.SubElement(case, elements[one.verdict], message=printable(one.sentence))
            told.text = "\n".join(map(printable, one.lines))
        elif one.known is not None:
            ElementTree.SubElement(case, "system-out").text = f"known deviation: {one.known.why}"
    for gone in stale:
        case = ElementTree.SubElement(suite, "testcase", classname="deviations", name=" ".join(gone.runs))
        ElementTree.SubElement(case, "failure", message=f"no longer shows: {gone.why}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    """The text without what XML cannot carry."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def sarif(campaign: Trial[Any], ended: Sequence[Ended]) -> str:
    """The failures, in SARIF 2.1.0: a rule for each run, located at its script."""
    failed = [one for one in ended if one.verdict is Verdict.FAILURE]
    run = {
        "tool": {
            "driver": {
                "name": "vtpmspec conform",
                "rules": [{"id": one.run, "shortDescription": {"text": one.doc or one.run}} for one in failed],
            }
        },
        "results": [
            {
                "ruleId": one.run,
                "level": "error",
                "message": {"text": one.sentence},
                "locations": [{"physicalLocation": _where(campaign, one)}],
                "partialFingerprints": {"run/v1": f"{campaign.end}/{one.run}"},
            }
            for one in failed
        ],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _where(campaign: Trial[Any], ended: Ended) -> dict[str, Any]:
    return {"artifactLocation": {"uri": campaign.source(ended.run)}, "region": {"startLine": 1}}
