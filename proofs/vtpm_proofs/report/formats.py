"""Evidence in the formats of other tools: JSON, JUnit, SARIF and the annotations of GitHub."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree

from vtpm_proofs import solvers
from vtpm_proofs.evidence import Evidence, Proof
from vtpm_proofs.obligation import HOLDS, Result
from vtpm_proofs.report.places import fact_of, place_of
from vtpm_proofs.report.text import fields_of, plain, step_lines

SCHEMA: Final = "vtpmspec/prove/1"
"""The name and version of the JSON document."""


def document(evidence: Evidence) -> dict[str, Any]:
    """The evidence as data: every obligation by name, with each solver's verdict, how it came about and its cost."""
    return {
        "schema": SCHEMA,
        "holds": not evidence.failed,
        "solvers": {name: solvers.version(name) for name in evidence.request.solvers},
        "share": list(evidence.request.share) if evidence.request.share else None,
        "seconds": round(evidence.seconds, 3),
        "systems": [
            {
                "name": proof.spec.name,
                "known_before": proof.known,
                "seconds": round(proof.seconds, 3),
                "obligations": [_obligation(result) for result in proof.results],
            }
            for proof in evidence.proofs
        ],
    }


def _obligation(result: Result) -> dict[str, Any]:
    one = result.obligation
    found: dict[str, Any] = {
        "name": one.name,
        "action": one.action,
        "path": one.path,
        "fact": one.fact,
        "method": one.method,
        "verdict": result.verdict,
        "answers": [{"solver": a.solver, "verdict": a.verdict, "how": a.how, "cost": a.cost} for a in result.answers],
    }
    if one.part:
        found["part"] = one.part
    example = result.counterexample
    if example is not None:
        found["counterexample"] = {
            "before": _state(example.before),
            "picks": {name: plain(value) for name, value in example.picks.items()},
            "after": None if example.after is None else _state(example.after),
        }
    return found


def _state(state: Any) -> dict[str, str]:
    return {name: plain(value) for name, value in fields_of(state)}


def junit(evidence: Evidence) -> str:
    """One test case an obligation. No times of day, no host names: the same run gives the same file."""
    root = ElementTree.Element("testsuites", name="vtpmspec prove")
    for proof in evidence.proofs:
        suite = ElementTree.SubElement(
            root, "testsuite", name=proof.spec.name, tests=str(len(proof.results)), failures=str(len(proof.failed))
        )
        for result in proof.results:
            one = result.obligation
            case = ElementTree.SubElement(suite, "testcase", classname=f"{one.system}.{one.fact}", name=one.name)
            if result.verdict != HOLDS:
                failure = ElementTree.SubElement(
                    case, "failure", type=result.verdict, message=f"{one.fact} {result.verdict}"
                )
                failure.text = "\n".join(step_lines(result))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def sarif(evidence: Evidence) -> str:
    """What fails, in SARIF 2.1.0: a rule for each fact, a result for each obligation, located at the fact."""
    failed = list(_failed(evidence))
    rules = {result.obligation.fact: proof for proof, result in failed}
    run = {
        "tool": {
            "driver": {
                "name": "vtpmspec prove",
                "rules": [
                    {"id": fact, "shortDescription": {"text": sentence(proof, fact)}} for fact, proof in rules.items()
                ],
            }
        },
        "results": [_finding(proof, result) for proof, result in failed],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _failed(evidence: Evidence) -> Iterator[tuple[Proof, Result]]:
    yield from ((proof, result) for proof in evidence.proofs for result in proof.failed)


def _finding(proof: Proof, result: Result) -> dict[str, Any]:
    file, line = place_of(proof.spec, result.obligation)
    where = {"artifactLocation": {"uri": file}, "region": {"startLine": line}}
    return {
        "ruleId": result.obligation.fact,
        "level": "error",
        "message": {"text": "\n".join(step_lines(result))},
        "locations": [{"physicalLocation": where}],
        "partialFingerprints": {"obligation/v1": result.obligation.name},
    }


def sentence(proof: Proof, name: str) -> str:
    """What a fact says, in its author's words."""
    found = fact_of(proof.spec, name)
    told = inspect.getdoc(found) if found is not None else None
    return told.splitlines()[0] if told else name.replace("_", " ")


def github(evidence: Evidence) -> list[str]:
    """Workflow commands that put each failing fact beside its source line on GitHub, once a fact."""
    seen: set[tuple[str, str]] = set()
    lines = []
    for proof, result in _failed(evidence):
        key = (proof.spec.name, result.obligation.fact)
        if key in seen:
            continue
        seen.add(key)
        file, line = place_of(proof.spec, result.obligation)
        title = _escaped(f"{proof.spec.name}: {result.obligation.fact}").replace(":", "%3A").replace(",", "%2C")
        lines.append(f"::error file={file},line={line},title={title}::{_escaped(chr(10).join(step_lines(result)))}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
