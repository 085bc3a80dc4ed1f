"""A run over many systems: shares, processes, the cache, and the formats in which it is told."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import cvc5
import pytest
import z3
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB, STARTS_WRONG, TELLS_NOBODY
from tests.proofs.toy_ring import TOY

from vtpm_proofs import evidence, solvers
from vtpm_proofs.evidence import Request, export, gather
from vtpm_proofs.limits import DRIFT
from vtpm_proofs.obligation import HOLDS, Result
from vtpm_proofs.report import formats
from vtpm_proofs.report.console import failures
from vtpm_proofs.report.traces import of_run, of_step


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def told(results: list[Result]) -> dict[str, str]:
    return {result.obligation.name: result.verdict for result in results}


def ways(results: list[Result]) -> set[str]:
    return {answer.how for result in results for answer in result.answers}


# ------------------------------------------------------------------------------------------------ shares, processes


def test_shares_are_a_partition() -> None:
    whole = told(gather(Request((TOY,), cache=False)).results)
    parts = [told(gather(Request((TOY,), cache=False, share=(at, 3))).results) for at in (1, 2, 3)]
    assert all(parts)
    assert sum(map(len, parts)) == len(whole)
    assert parts[0] | parts[1] | parts[2] == whole


def test_processes_change_neither_verdicts_nor_costs() -> None:
    alone = gather(Request((TOY, TELLS_NOBODY), cache=False))
    two = gather(Request((TOY, TELLS_NOBODY), cache=False, jobs=2))
    assert told(alone.results) == told(two.results)
    assert [r.counterexample for r in two.failed] == [r.counterexample for r in alone.failed]

    def costs(found: evidence.Evidence) -> dict[str, int]:
        return {r.obligation.name: a.cost for r in found.results for a in r.answers if a.how == "query"}

    # The unit is Z3's own work, not time; it varies a little with what else the process has read.
    here, there = costs(alone), costs(two)
    both = here.keys() & there.keys()
    assert len(both) > 20
    assert all(here[name] < DRIFT * there[name] and there[name] < DRIFT * here[name] for name in both)


# ------------------------------------------------------------------------------------------------------------ cache


def test_a_second_run_asks_nothing_and_hides_nothing() -> None:
    first, second = gather(Request((TOY,))), gather(Request((TOY,)))
    assert second.proofs[0].known
    assert told(second.results) == told(first.results)
    assert "query" in ways(first.results)
    assert ways(second.results) == {"run", "rewriting", "cache"}
    for before, after in zip(first.results, second.results, strict=True):
        assert [a.cost for a in before.answers] == [a.cost for a in after.answers]


def test_no_cache_reads_nothing_and_writes_nothing(cache_folder: Path) -> None:
    gather(Request((TOY,), cache=False))
    assert not cache_folder.exists()
    gather(Request((TOY,)))
    assert "cache" not in ways(gather(Request((TOY,), cache=False)).results)


def test_a_failure_is_never_remembered() -> None:
    for _ in range(2):
        found = gather(Request((TELLS_NOBODY,)))
        assert not found.proofs[0].known
        assert found.failed
        assert all(result.counterexample for result in found.failed)


def test_another_version_of_the_solver_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    gather(Request((TOY,)))
    monkeypatch.setattr(solvers, "version", lambda name: "0.0")
    monkeypatch.setattr("vtpm_proofs.induction.version", lambda name: "0.0")
    found = gather(Request((TOY,)))
    assert not found.proofs[0].known
    assert "query" in ways(found.results)


def test_the_second_solver_does_not_live_on_the_firsts_answers() -> None:
    gather(Request((TOY,)))
    found = gather(Request((TOY,), solvers=("z3", "cvc5")))
    how = {(a.solver, a.how) for r in found.results for a in r.answers}
    assert ("cvc5", "query") in how
    assert ("cvc5", "cache") not in how


def test_runs_with_one_solver_and_with_both_do_not_drive_each_other_out() -> None:
    one, both = Request((TOY,)), Request((TOY,), solvers=("z3", "cvc5"))
    for request in (one, both):
        assert not gather(request).proofs[0].known
    for request in (one, both):
        assert gather(request).proofs[0].known


def test_a_cache_that_is_damaged_is_no_cache(cache_folder: Path) -> None:
    expected = told(gather(Request((TOY,))).results)
    for file in (cache_folder / "xen-vtpm").iterdir():
        file.write_text('{"format": 1, "unsat": [1, 2], "key": 3', encoding="utf-8")
    assert told(gather(Request((TOY,))).results) == expected
    for file in (cache_folder / "xen-vtpm").iterdir():
        file.write_text('{"format": 1, "unsat": [1, 2], "results": 5}', encoding="utf-8")
    assert told(gather(Request((TOY,))).results) == expected


MODEL = '''"""A counter."""

from vtpm_model.core import Actor, Nat, Spec, action, always, record, replace, require


@record
class Counter:
    count: Nat
    most: Nat


@action(by=Actor.XEN)
def xen_counts(s: Counter) -> Counter:
    """One more."""
    require(s.count < s.most)
    return replace(s, count=s.count + 1)


@action(by=Actor.XEN)
def xen_makes_room(s: Counter) -> Counter:
    """More room."""
    return replace(s, most=s.most + 5)


@always()
def the_count_stays_below(s: Counter) -> bool:
    """So many at most."""
    return s.count <= s.most


COUNTER = Spec("counter", "", Counter, lambda: Counter(count=0, most=0), (xen_counts, xen_makes_room),
               (the_count_stays_below,))
'''


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Any]]:
    """A model in a file, and how to read it again after a change."""
    file = tmp_path / "counter_model.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def read(text: str) -> ModuleType:
        file.write_text(text, encoding="utf-8")
        sys.modules.pop("counter_model", None)
        importlib.invalidate_caches()
        return importlib.import_module("counter_model")

    yield file, read
    sys.modules.pop("counter_model", None)


def test_a_changed_model_is_proved_anew_where_it_changed(counter: tuple[Path, Any]) -> None:
    _, read = counter
    assert not gather(Request((read(MODEL).COUNTER,))).failed
    assert gather(Request((read(MODEL).COUNTER,))).proofs[0].known

    commented = gather(Request((read(MODEL + "\n# a comment\n").COUNTER,)))
    assert not commented.proofs[0].known
    assert "query" not in ways(commented.results)

    wrong = MODEL.replace("s.most + 5", "s.most % 5")
    found = gather(Request((read(wrong).COUNTER,)))
    assert {r.obligation.action for r in found.failed} == {"xen_makes_room"}

    assert not gather(Request((read(MODEL).COUNTER,))).failed


def test_a_narrow_run_does_not_pass_for_the_whole() -> None:
    gather(Request((TOY,), facts=frozenset(("no_wakeup_is_lost",))))
    assert not gather(Request((TOY,))).proofs[0].known


# ---------------------------------------------------------------------------------------------------------- formats


def read_by_cvc5(file: Path) -> str:
    solver = cvc5.Solver(cvc5.TermManager())
    parser = cvc5.InputParser(solver)
    parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, str(file))
    said = ""
    while not (command := parser.nextCommand()).isNull():
        said += command.invoke(solver, parser.getSymbolManager())
    return said.strip()


def test_exported_files_ask_what_was_proved(tmp_path: Path) -> None:
    number = export(Request((TOY,)), tmp_path / "smt")
    files = sorted((tmp_path / "smt").iterdir())
    found = gather(Request((TOY,), solvers=("z3", "cvc5"), cache=False))
    asked = {r.obligation.name for r in found.results if (a := r.answer("cvc5")) and a.how in ("query", "again")}
    assert len(files) == number
    assert {file.name.removesuffix(".smt2") for file in files} >= asked
    for file in files:
        solver = z3.Solver()
        solver.from_file(str(file))
        assert solver.check() == z3.unsat, file.name
        assert read_by_cvc5(file) == "unsat", file.name


def test_an_exported_mistake_is_satisfiable(tmp_path: Path) -> None:
    export(Request((TELLS_NOBODY,)), tmp_path)
    name = next(r.obligation.name for r in gather(Request((TELLS_NOBODY,), cache=False)).failed)
    solver = z3.Solver()
    solver.from_file(str(tmp_path / f"{name}.smt2"))
    assert solver.check() == z3.sat


def test_the_document_names_every_obligation_and_every_answer() -> None:
    found = gather(Request((TOY, TELLS_NOBODY), solvers=("z3", "cvc5"), cache=False))
    document = json.loads(json.dumps(formats.document(found)))
    assert document["schema"] == "vtpmspec/prove/1"
    assert document["holds"] is False
    obligations = [one for system in document["systems"] for one in system["obligations"]]
    assert [one["name"] for one in obligations] == [r.obligation.name for r in found.results]
    failed = [one for one in obligations if one["verdict"] != HOLDS]
    assert [one["name"] for one in failed] == [r.obligation.name for r in found.failed]
    assert all("before" in one["counterexample"] for one in failed)
    assert all(len(one["answers"]) == 2 for one in obligations if one["method"] != "init")


def test_junit_counts_what_failed() -> None:
    found = gather(Request((TOY, TELLS_NOBODY), cache=False))
    root = ElementTree.fromstring(formats.junit(found))
    good, bad = root.findall("testsuite")
    assert (good.get("tests"), good.get("failures")) == (str(len(found.proofs[0].results)), "0")
    failures = bad.findall("testcase/failure")
    assert len(failures) == int(bad.get("failures") or 0) == len(found.failed) > 0
    assert "before:" in (failures[0].text or "")
    again = formats.junit(gather(Request((TOY, TELLS_NOBODY), cache=False)))
    assert again == formats.junit(found)


def test_sarif_points_at_the_fact() -> None:
    found = gather(Request((TELLS_NOBODY,), cache=False))
    [run] = json.loads(formats.sarif(found))["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert len(run["results"]) == len(found.failed)
    for one in run["results"]:
        assert one["ruleId"] in rules
        place = one["locations"][0]["physicalLocation"]
        source = Path(place["artifactLocation"]["uri"]).read_text(encoding="utf-8").splitlines()
        below = "\n".join(source[place["region"]["startLine"] - 1 :][:3])
        assert f"def {one['ruleId']}" in below


def test_github_gets_one_escaped_line_a_fact() -> None:
    found = gather(Request((TELLS_NOBODY, STARTS_WRONG), cache=False))
    lines = formats.github(found)
    assert len(lines) == len({(r.obligation.system, r.obligation.fact) for r in found.failed})
    for line in lines:
        assert re.fullmatch(r"::error file=[^,:]+,line=\d+,title=[^:,\n]+::[^\n]+", line), line


def test_a_failed_step_can_be_read_at_a_glance() -> None:
    found = gather(Request((TELLS_NOBODY,), facts=frozenset(("no_wakeup_is_lost",)), cache=False))
    text = "\n".join(failures(found.failed))
    assert "FAILS  no_wakeup_is_lost  by backend_finishes" in text
    assert re.search(r"^ +page\.state +(SUBMIT|CANCEL) -> FINISH$", text, re.MULTILINE)
    assert re.search(r"^ +busy +True -> False$", text, re.MULTILINE)
    assert "waiting=True" in text.rpartition("before:")[2]


def test_failures_beyond_the_first_dozen_are_named() -> None:
    many = gather(Request((changed(TOY, name="many", lemmas=()),), cache=False)).failed
    text = failures(many)
    broken = {(r.obligation.fact, r.obligation.action) for r in many}
    shown = [line for line in text if line.startswith(("FAILS", "also"))]
    assert len(shown) == len(broken)


def test_traces_of_failures_are_read_back(tmp_path: Path) -> None:
    from vtpm_proofs.bounded import search
    from vtpm_traces import itf

    found = search(KEEPS_ITS_JOB, "an_answer_stays_in_its_connection", depth=8)
    assert found.run is not None
    trace = of_run(KEEPS_ITS_JOB, "an_answer_stays_in_its_connection", found.run)
    itf.write(tmp_path / "run.itf.json", trace, KEEPS_ITS_JOB)
    back = itf.to_trace(itf.read_file(tmp_path / "run.itf.json"), KEEPS_ITS_JOB)
    assert [moment.state for moment in back.moments] == found.run.states

    [result] = gather(Request((TELLS_NOBODY,), facts=frozenset(("no_wakeup_is_lost",)), cache=False)).failed
    document = of_step(TELLS_NOBODY, result)
    (tmp_path / "step.itf.json").write_text(json.dumps(document), encoding="utf-8")
    read = itf.read_file(tmp_path / "step.itf.json")
    assert not read.ours
    assert [state[itf.ACTION] for state in read.document["states"]] == ["init", "backend_finishes"]
