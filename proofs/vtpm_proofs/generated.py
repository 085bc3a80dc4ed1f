"""Explicit-state search by code generated from the model's own source.

`translate` rewrites every action and every fact of a specification into one search loop over flat tuples. What it
cannot translate is called as it is, and named in `fallbacks`. Nothing here is trusted: with `comparison` an interpreted
search holds each generated step against the model's own, in every state.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from vtpm_model.core import Action, Disabled, Fact, Kind, Spec, Step, fields
from vtpm_proofs import bounds as limits
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.inline import (
    NO,
    YES,
    Block,
    Code,
    Env,
    Guard,
    Inliner,
    Known,
    Line,
    Open,
    Row,
    Scope,
    Untranslatable,
    Value,
    locals_of,
    plain,
)  # fmt: skip
from vtpm_proofs.leaves import Flat, flatten, integer_range, is_enum, is_record, leaves, unflattener

ROOM = 12
"""Bits in a state's key for a number that has no bound; a search that needs more of one says so."""


@dataclass
class Translation:
    """Generated code for one specification and its bounds."""

    spec: Spec[Any]
    bounds: Bounds
    source: str
    search: Callable[[Flat, int], tuple[set[int], int, int, bool]]
    successors: Callable[[Flat], list[tuple[int, Flat]]]
    moves: tuple[tuple[Action[Any], Mapping[str, Any]], ...]
    fallbacks: dict[str, str]
    pack: Callable[[Flat], int]

    def count(self) -> tuple[dict[str, Any], float]:
        """States, edges, depth and exhaustion, as `Atlas.count` gives them, and the seconds that it took."""
        collecting = gc.isenabled()
        gc.disable()  # a search makes tuples of numbers by the million, and no cycles
        started = time.perf_counter()
        try:
            states, edges, depth, exhausted = self.search(flatten(self.spec.init()), self.bounds.states)
        finally:
            if collecting:
                gc.enable()
        seconds = time.perf_counter() - started
        return {"states": len(states), "edges": edges, "depth": depth, "exhausted": exhausted}, seconds


def translate(spec: Spec[Any], bounds: Bounds | None = None) -> Translation:
    """Generate the search of `spec` within the bounds."""
    bounds = bounds or limits.bounds_of(spec)
    return _Generator(spec, bounds).build()


class _Generator:
    def __init__(self, spec: Spec[Any], bounds: Bounds) -> None:
        self.spec, self.bounds = spec, bounds
        self.fallbacks: dict[str, str] = {}
        self.space: dict[str, Any] = {}
        self.leaves = [path for path, _ in leaves(spec.state)]
        self.flat = "".join(f"v{i}, " for i in range(len(self.leaves))).rstrip()
        self.shifts = _shifts(spec, bounds)
        self.unbounded = {
            at
            for at, (path, sort) in enumerate(leaves(spec.state))
            if path not in bounds.fields and (span := integer_range(sort)) is not None and span.high is None
        }
        self.inliner = Inliner()
        self.moves: list[tuple[Action[Any], Mapping[str, Any]]] = []
        self.first_move: dict[str, int] = {}
        self.combos = {a.name: limits.choices(a, bounds) for a in spec.actions}
        self.step_facts = [f for f in spec.facts if f.kind is Kind.STEP]
        self.state_facts = [f for f in (*spec.facts, *spec.lemmas) if f.kind is not Kind.STEP]

    def state(self) -> Open:
        """The state whose leaves are the locals v0, v1, ..."""
        numbers = iter(range(len(self.leaves)))

        def build(cls: type) -> Open:
            parts: dict[str, Value] = {}
            for name, sort in fields(cls).items():
                parts[name] = build(sort) if is_record(sort) else Code(f"v{next(numbers)}", sort is bool)
            return Open(cls, parts)

        return build(self.spec.state)

    def flat_values(self, state: Value) -> list[Value]:
        """The leaves of a record value, in order."""
        found: list[Value] = []
        for value in self.inliner.opened(state).parts.values():
            found += self.flat_values(value) if isinstance(value, Open) else [value]
        return found

    def build(self) -> Translation:
        facts = Block()
        self.state_checks(facts)
        facts.tidy()
        for action in self.spec.actions:
            self.first_move[action.name] = len(self.moves)
            self.moves += [(action, picks) for picks in self.combos[action.name]]
        flat = self.flat
        source = "\n".join(
            [
                "def search(first, most):",
                " key = pack(first); seen = {key}; add = seen.add; level = [(key, *first)]; edges = depth = 0",
                " while level:",
                "  if len(seen) > most: return seen, edges, depth, False",
                "  found = []; append = found.append",
                f"  for key, {flat} in level:",
                *facts.lines(3),
                *[line for action in self.spec.actions for line in self.action(action, 3, checked=True)],
                "  level = found; depth += not not found",
                " return seen, edges, depth, True",
                "def successors(flat):",
                " out = []; append = out.append",
                f" {flat} = flat",
                *[line for action in self.spec.actions for line in self.action(action, 1, checked=False)],
                " return out",
            ]
        )
        self.space |= self.inliner.constants | {"broken": self.broken, "pack": self.pack, "too_large": self.too_large}
        exec(compile(source, f"<generated from {self.spec.name}>", "exec"), self.space)
        return Translation(
            self.spec, self.bounds, source, self.space["search"], self.space["successors"], tuple(self.moves),
            self.fallbacks, self.pack,
        )  # fmt: skip

    def state_checks(self, out: Block) -> None:
        conditions: list[Value] = []
        for fact in self.state_facts:
            body = Block()
            scope = self.inliner.scope
            self.inliner.scope = scope.inner()
            try:
                value = self.inliner.call(self.function(fact.holds), [self.state()], {}, body)
                self.inliner.text(value)
            except Untranslatable as problem:
                self.inliner.scope = scope
                self.fallbacks[fact.name] = str(problem)
                conditions.append(Code.truth(f"{self.bound(self.interpreted_fact(fact))}(({self.flat}))"))
                continue
            out.nodes += body.nodes
            conditions.append(value)
        self.require_all(conditions, f"broken(({self.flat}))", out)

    def require_all(self, conditions: list[Value], otherwise: str, out: Block) -> None:
        condition = self.inliner.junction(conditions, conjunction=True)
        if condition != YES:
            out.nodes.append(Line(f"if {self.inliner.text(self.inliner.opposite(condition))}: {otherwise}"))

    @staticmethod
    def function(thing: Any) -> FunctionType:
        function = plain(thing)
        if function is None:
            raise Untranslatable("not a plain function")
        return function

    def bound(self, thing: Any) -> str:
        """A name in the generated code for an object."""
        name = f"g{len(self.space)}"
        self.space[name] = thing
        return name

    def action(self, action: Action[Any], indent: int, *, checked: bool) -> list[str]:
        """The code of one action: for each combination of picks, its edge."""
        if not self.combos[action.name]:
            return []
        try:
            return self.translated(action, indent, checked=checked)
        except Untranslatable as problem:
            self.fallbacks[action.name] = str(problem)
            return self.interpreted(action, indent, checked=checked)

    def translated(self, action: Action[Any], indent: int, *, checked: bool) -> list[str]:
        combos, base = self.combos[action.name], self.first_move[action.name]
        picks: Env = {}
        rows = [[base + i] for i in range(len(combos))]
        header: list[str] = [self.inliner.fresh()]
        for name, sort in action.picks.items():
            values = [combo[name] for combo in combos]
            if len(set(values)) == 1:
                picks[name] = self.inliner.opened(Known(values[0])) if is_record(sort) else Known(values[0])
                continue
            picks[name] = self.pick(sort, header)
            for row, value in zip(rows, values, strict=True):
                row += flatten(value) if is_record(sort) else flatten((value,))
        body = Block()
        self.inliner.scope = Scope()
        self.inliner.may_give_up = True
        before = self.state()
        self.inliner.open_call(self.function(action.run), [before], picks, body)
        self.inliner.may_give_up = False
        move = header[0] if len(combos) > 1 else str(base)
        for block, result in body.results():
            edge = Block()
            self.inliner.scope = result.scope
            self.edge(action, move, picks, result.value, edge, checked=checked)
            block.instead(result, edge.nodes)
        body.tidy()
        pad = " " * indent
        if len(combos) == 1:
            return [f"{pad}while True:", *body.lines(indent + 1, "break"), f"{pad} break"]
        # what does not depend on the picks is asked once, before the loop over them
        cut = 0
        names = set(header)
        while cut < len(body.nodes) and _asks_only(body.nodes[cut]):
            if names & {name for text in Block([body.nodes[cut]]).texts() for name in locals_of(text)}:
                break
            cut += 1
        table = self.bound(tuple(tuple(row) for row in rows))
        unpack = ", ".join(header) + ("," if len(header) == 1 else "")
        return [
            f"{pad}while True:",
            *(Block(body.nodes[:cut]).lines(indent + 1, "break") if cut else []),
            f"{pad} for {unpack} in {table}:",
            *Block(body.nodes[cut:]).lines(indent + 2, "continue"),
            f"{pad} break",
        ]

    def edge(self, action: Action[Any], move: str, picks: Env, after: Value, out: Block, *, checked: bool) -> None:
        """What is done with one way through an action: count it, check the step facts, keep where it leads."""
        values = [self.inliner.now(value) for value in self.flat_values(after)]
        display = ", ".join(self.inliner.text(value) for value in values) + ","
        if not checked:
            out.nodes.append(Line(f"append(({move}, ({display})))"))
            return
        out.nodes.append(Line("edges += 1"))
        self.step_checks(action, move, picks, after, display, out)
        self.bound_checks(values, out)
        change = self.change(values)
        if change:
            self.room_checks(values, out)
            out.nodes += [Line(f"k = key + {change}"), Line(f"if k not in seen: add(k); append((k, {display}))")]

    def change(self, after: list[Value]) -> str:
        """By how much a step changes the key of a state; empty if nothing changes."""
        known = 0
        terms: list[str] = []
        for at, value in enumerate(after):
            before = self.inliner.now(Code(f"v{at}"))
            if isinstance(value, Code) and value.text == f"v{at}":
                continue
            if isinstance(value, Known) and isinstance(before, Known):
                known += (int(value.value) - int(before.value)) << self.shifts[at]
                continue
            terms.append(f"({self.number(value)} - {self.number(before)} << {self.shifts[at]})")
        return " + ".join([*terms, *([f"{known}"] if known else [])])

    def room_checks(self, after: list[Value], out: Block) -> None:
        """A leaf without a bound must fit its place in the key; one that copies another leaf does."""
        wide: list[Value] = []
        for at, value in enumerate(after):
            if at not in self.unbounded or (isinstance(value, Code) and value.text.startswith("v")):
                continue
            if isinstance(value, Known):
                wide.append(Known(int(value.value) >> ROOM != 0))
            else:
                wide.append(Code.truth(f"({self.inliner.text(value)} >> {ROOM})"))
        condition = self.inliner.junction(wide, conjunction=False)
        if condition != NO:
            out.nodes.append(Line(f"if {self.inliner.text(condition)}: too_large()"))

    def too_large(self) -> None:
        names = ", ".join(self.leaves[at] for at in sorted(self.unbounded))
        raise ValueError(f"{self.spec.name}: one of {names} went beyond {(1 << ROOM) - 1}; give it a bound")

    def number(self, value: Value) -> str:
        return str(int(value.value)) if isinstance(value, Known) else self.inliner.text(value)

    def pack(self, flat: Flat) -> int:
        """The key of a state: its leaves side by side in one integer."""
        return sum(int(value) << shift for value, shift in zip(flat, self.shifts, strict=True))

    def pick(self, sort: Any, header: list[str]) -> Value:
        """A pick as loop variables."""
        if is_record(sort):
            return Open(sort, {name: self.pick(inner, header) for name, inner in fields(sort).items()})
        header.append(self.inliner.fresh())
        return Code(header[-1], sort is bool)

    def step_checks(self, action: Action[Any], move: str, picks: Env, after: Value, display: str, out: Block) -> None:
        named = Row(tuple(picks.values()), tuple(picks))
        step = Open(Step, {"name": Known(action.name), "by": Known(action.by), "picks": named})
        conditions: list[Value] = []
        for fact in self.step_facts:
            body = Block()
            scope = self.inliner.scope
            self.inliner.scope = scope.inner()
            try:
                value = self.inliner.call(self.function(fact.holds), [self.state(), step, after], {}, body)
                self.inliner.text(value)
            except Untranslatable as problem:
                self.inliner.scope = scope
                self.fallbacks[fact.name] = str(problem)
                called = self.bound(self.interpreted_step_fact(fact))
                value = Code.truth(f"{called}(({self.flat}), {move}, ({display}))")
            else:
                out.nodes += body.nodes
            conditions.append(value)
        self.require_all(conditions, f"broken(({self.flat}), {move})", out)

    def bound_checks(self, after: list[Value], out: Block) -> None:
        beyond: list[Value] = []
        for at, (path, value) in enumerate(zip(self.leaves, after, strict=True)):
            most = self.bounds.fields.get(path)
            if most is None or (isinstance(value, Code) and value.text == f"v{at}"):
                continue
            if isinstance(value, Known):
                beyond.append(Known(value.value > most))
            else:
                beyond.append(Code.truth(f"({self.inliner.text(value)} > {most})"))
        condition = self.inliner.junction(beyond, conjunction=False)
        if condition != NO:
            out.nodes.append(Guard(self.inliner.text(condition)))

    def interpreted(self, action: Action[Any], indent: int, *, checked: bool) -> list[str]:
        """The code of an action that could not be translated: it is called as it is."""
        base, pad = self.first_move[action.name], " " * indent
        step = self.bound(self.interpreted_action(action, base, checked=checked))
        if checked:
            return [
                f"{pad}more, targets = {step}(({self.flat}))",
                f"{pad}edges += more",
                f"{pad}for after in targets:",
                f"{pad} k = pack(after)",
                f"{pad} if k not in seen: add(k); append((k, *after))",
            ]
        return [f"{pad}out.extend({step}(({self.flat}))[1])"]

    def interpreted_action(
        self, action: Action[Any], base: int, *, checked: bool
    ) -> Callable[[Flat], tuple[int, list[Any]]]:
        unflatten = unflattener(self.spec.state)
        caps = [(self.leaves.index(path), most) for path, most in self.bounds.fields.items()]
        combos, facts = self.combos[action.name], self.step_facts

        def step(flat: Flat) -> tuple[int, list[Any]]:
            before = unflatten(flat)
            found: list[Any] = []
            edges = 0
            for number, picks in enumerate(combos):
                try:
                    after = action.run(before, **picks)
                except Disabled:
                    continue
                edges += 1
                if not checked:
                    found.append((base + number, flatten(after)))
                    continue
                if not all(fact.holds(before, Step(action.name, action.by, picks), after) for fact in facts):
                    self.broken(flat, base + number)
                target = flatten(after)
                if all(target[at] <= most for at, most in caps):
                    found.append(target)
            return edges, found

        return step

    def interpreted_fact(self, fact: Fact) -> Callable[[Flat], bool]:
        unflatten = unflattener(self.spec.state)
        return lambda flat: bool(fact.holds(unflatten(flat)))

    def interpreted_step_fact(self, fact: Fact) -> Callable[[Flat, int, Flat], bool]:
        unflatten = unflattener(self.spec.state)

        def holds(before: Flat, move: int, after: Flat) -> bool:
            action, picks = self.moves[move]
            return bool(fact.holds(unflatten(before), Step(action.name, action.by, picks), unflatten(after)))

        return holds

    def broken(self, flat: Flat, move: int | None = None) -> None:
        """Say which claim the model breaks here; generated code that is alone in its opinion is a mistake."""
        state = unflattener(self.spec.state)(flat)
        if move is None:
            names = [fact.name for fact in self.state_facts if not fact.holds(state)]
        else:
            action, picks = self.moves[move]
            after = action.run(state, **picks)
            names = [f.name for f in self.step_facts if not f.holds(state, Step(action.name, action.by, picks), after)]
        if not names:
            raise AssertionError(f"generated code of {self.spec.name} disagrees with the model about a fact in {state}")
        raise Broken(names, state)


def _asks_only(node: Any) -> bool:
    """Computes a local or asks for a condition, and does nothing else."""
    return isinstance(node, Guard) or (isinstance(node, Line) and node.target is not None)


def _shifts(spec: Spec[Any], bounds: Bounds) -> list[int]:
    """Where each leaf lies in a state's key."""
    shifts: list[int] = []
    at = 0
    for path, sort in leaves(spec.state):
        shifts.append(at)
        interval = integer_range(sort)
        if sort is bool:
            at += 1
        elif is_enum(sort):
            at += max(int(member) for member in sort).bit_length()
        elif path in bounds.fields:
            at += bounds.fields[path].bit_length()
        elif interval is not None and interval.high is not None:
            at += interval.high.bit_length()
        else:
            at += ROOM
    return shifts


class Broken(Exception):
    """The generated search met a state or a step that breaks a claim."""

    def __init__(self, names: list[str], state: Any) -> None:
        super().__init__(f"{', '.join(names)} in {state}")
        self.names, self.state = names, state


class Disagreement(Exception):
    """Generated code takes another step than the model."""


def comparison(translation: Translation) -> Callable[[Any, list[tuple[int, Any]]], None]:
    """To be told of every state of an interpreted search: raises Disagreement where the generated steps are others."""
    successors, name = translation.successors, translation.spec.name

    def compare(state: Any, steps: list[tuple[int, Any]]) -> None:
        interpreted = [(number, flatten(after)) for number, after in steps]
        generated = successors(flatten(state))
        if generated != interpreted:
            differing = min(dict(set(generated) ^ set(interpreted)))
            action, picks = translation.moves[differing]
            raise Disagreement(
                f"{name}: {action.name}({dict(picks)}) in {state}: generated {dict(generated).get(differing)}, "
                f"interpreted {dict(interpreted).get(differing)}"
            )

    return compare
