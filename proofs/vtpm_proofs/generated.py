"""Explicit-state search by code generated from the model's own source: helpers inlined, records opened into locals.

`translate` rewrites every action and every fact of a specification into one search loop over flat tuples. What it cannot
translate is called as it is, and named in `fallbacks`. Nothing here is trusted: `agrees` compares each generated step
with the interpreted one on every state that the search met.
"""

from __future__ import annotations

import ast
import inspect
import operator
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cache
from types import FunctionType
from typing import Any

from vtpm_model import core
from vtpm_model.core import Action, Disabled, Fact, Kind, Spec, Step, fields
from vtpm_proofs import bounds as limits
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.explore import Atlas
from vtpm_proofs.leaves import Flat, flatten, is_enum, is_record, leaves, unflattener


class Untranslatable(Exception):
    """A construct that the generator does not know; the message says which and where."""


# ------------------------------------------------------------------------------------- values while code is generated


@dataclass(frozen=True)
class Known:
    """A value known when the code is generated."""

    value: Any


@dataclass(frozen=True)
class Code:
    """A scalar computed when the code runs: an expression safe to paste anywhere."""

    text: str
    boolean: bool = False


@dataclass(frozen=True)
class Open:
    """A record whose fields are values of their own."""

    cls: type
    parts: Mapping[str, Value]


@dataclass(frozen=True)
class Row:
    """A tuple, or a mapping with known keys."""

    items: tuple[Value, ...]
    keys: tuple[Any, ...] | None = None


Value = Known | Code | Open | Row
Env = dict[str, Value]


# ------------------------------------------------------------------------------------------------------------- blocks


@dataclass
class Line:
    text: str


@dataclass
class Branch:
    condition: str
    then: Block
    otherwise: Block


@dataclass
class Result:
    value: Value


@dataclass
class Block:
    nodes: list[Line | Branch | Result] = field(default_factory=list)

    def results(self) -> list[tuple[Block, int, Value]]:
        """Every place where the block ends with a value."""
        found: list[tuple[Block, int, Value]] = []
        for at, node in enumerate(self.nodes):
            if isinstance(node, Result):
                found.append((self, at, node.value))
            elif isinstance(node, Branch):
                found += node.then.results() + node.otherwise.results()
        return found

    def lines(self, indent: int) -> Iterable[str]:
        """Its source text."""
        pad = " " * indent
        if not self.nodes:
            yield pad + "pass"
        for node in self.nodes:
            if isinstance(node, Line):
                yield pad + node.text
            elif isinstance(node, Branch):
                yield f"{pad}if {node.condition}:"
                yield from node.then.lines(indent + 1)
                if node.otherwise.nodes:
                    yield f"{pad}else:"
                    yield from node.otherwise.lines(indent + 1)
            else:
                raise AssertionError("a result was not placed")


@cache
def definition(function: FunctionType) -> ast.FunctionDef:
    """The syntax tree of a function. Raises Untranslatable if its source is not a plain definition."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError) as problem:
        raise Untranslatable(f"{function.__qualname__}: no source ({problem})") from None
    node = tree.body[0]
    if not isinstance(node, ast.FunctionDef):
        raise Untranslatable(f"{function.__qualname__} is not a plain function")
    return node


def plain(thing: Any) -> FunctionType | None:
    """The Python function behind an action, a fact or a function; None for anything else."""
    if isinstance(thing, Action):
        thing = thing.run
    elif isinstance(thing, Fact):
        thing = thing.holds
    return thing if isinstance(thing, FunctionType) else None


def globals_of(function: FunctionType) -> dict[str, Any]:
    """The names that a function sees outside itself: its module's, and those that it closes over."""
    seen = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        seen[name] = cell.cell_contents
    return seen


_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.LShift: ("<<", operator.lshift),
    ast.RShift: (">>", operator.rshift),
    ast.BitAnd: ("&", operator.and_),
    ast.BitOr: ("|", operator.or_),
    ast.BitXor: ("^", operator.xor),
}
_BUILTINS: dict[Any, str] = {min: "min", max: "max", bool: "bool", int: "int", abs: "abs"}


class Inliner:
    """Turns calls of model functions into straight code. `abandon` is the statement for a failed `require`."""

    def __init__(self) -> None:
        self.names = 0
        self.constants: dict[str, Any] = {}
        self.abandon: str | None = None
        self.depth = 0

    def fresh(self) -> str:
        """A local name that nothing else uses."""
        self.names += 1
        return f"t{self.names}"

    # ------------------------------------------------------------------------------------------------ functions

    def call(self, function: FunctionType, args: list[Value], kwargs: Env, out: Block) -> Value:
        """The value of a call, its code put at the end of `out`."""
        node = definition(function)
        if self.depth > 40:
            raise Untranslatable(f"{function.__qualname__} calls itself")
        env = self.bind(function, node, args, kwargs)
        body = Block()
        self.depth += 1
        try:
            self.run(list(node.body), env, globals_of(function), body)
        finally:
            self.depth -= 1
        return self.place(body, out)

    @staticmethod
    def bind(function: FunctionType, node: ast.FunctionDef, args: list[Value], kwargs: Env) -> Env:
        """The parameters of a call."""
        if node.args.vararg or node.args.kwarg:
            raise Untranslatable(f"{function.__qualname__} takes any number of arguments")
        positional = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        env: Env = dict(zip(positional, args, strict=False))
        env.update(kwargs)
        for name, default in zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False):
            env.setdefault(name, Known(default))
        for name, default in (function.__kwdefaults__ or {}).items():
            env.setdefault(name, Known(default))
        wanted = {*positional, *(a.arg for a in node.args.kwonlyargs)}
        if set(env) != wanted or len(args) > len(positional):
            raise Untranslatable(f"{function.__qualname__} is called with other arguments than it takes")
        return env

    def place(self, body: Block, out: Block) -> Value:
        """Append a finished body to `out`; where it ends in several ways, merge what they come to."""
        results = body.results()
        if not results:  # every path is abandoned
            out.nodes += body.nodes
            return Known(None)
        if len(results) == 1:
            # the one way that is not abandoned may lie inside a branch whose other side is: then it is not guarded
            block, at, value = results[0]
            if block is body:
                del block.nodes[at]
                out.nodes += body.nodes
                return value
        merged, assign = self.merge([value for _, _, value in results])
        for (block, at, _), lines in zip(results, assign, strict=True):
            block.nodes[at : at + 1] = [Line(text) for text in lines]
        out.nodes += body.nodes
        return merged

    def merge(self, values: list[Value]) -> tuple[Value, list[list[str]]]:
        """One value for several ways to compute it, and what each way must assign."""
        first = values[0]
        if all(value == first for value in values):
            return first, [[] for _ in values]
        if isinstance(first, Open):
            parts: dict[str, Value] = {}
            lines: list[list[str]] = [[] for _ in values]
            for value in values:
                if not isinstance(value, Open) or value.cls is not first.cls:
                    raise Untranslatable("a function that returns sometimes a record, sometimes something else")
            for name in first.parts:
                parts[name], more = self.merge([v.parts[name] for v in values if isinstance(v, Open)])
                lines = [old + new for old, new in zip(lines, more, strict=True)]
            return Open(first.cls, parts), lines
        if isinstance(first, Row) or any(isinstance(value, Open | Row) for value in values):
            rows = [value for value in values if isinstance(value, Row) and value.keys is None]
            if len(rows) != len(values) or len({len(row.items) for row in rows}) != 1:
                raise Untranslatable("a function that returns tuples of different lengths")
            merged = [self.merge(list(column)) for column in zip(*[row.items for row in rows], strict=True)]
            joined = [[line for _, way in merged for line in way[i]] for i in range(len(values))]
            return Row(tuple(value for value, _ in merged)), joined
        name = self.fresh()
        boolean = all(self.is_bool(value) for value in values)
        return Code(name, boolean), [[f"{name} = {self.text(value)}"] for value in values]

    # ----------------------------------------------------------------------------------------------- statements

    def run(self, body: list[Any], env: Env, seen: dict[str, Any], out: Block) -> None:
        """Generate the statements; what is returned ends `out` (or its branches) with a result."""
        while body:
            statement, *body = body
            match statement:
                case tuple():  # a name bound by an unrolled loop
                    self.assign(statement[0], statement[1], env, out)
                case ast.Expr(value=ast.Constant()) | ast.Pass():
                    pass
                case ast.Expr(value=value):
                    if self.evaluate(value, env, seen, out) == Known(Disabled):
                        out.nodes.append(Line(self.give_up()))
                        return
                case ast.Assign(targets=[target], value=value):
                    self.assign(target, self.evaluate(value, env, seen, out), env, out)
                case ast.AnnAssign(target=target, value=value) if value is not None:
                    self.assign(target, self.evaluate(value, env, seen, out), env, out)
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    right = self.evaluate(value, env, seen, out)
                    self.assign(statement.target, self.binary(op, env[name], right), env, out)
                case ast.Return(value=value):
                    result = Known(None) if value is None else self.evaluate(value, env, seen, out)
                    out.nodes.append(Result(result))
                    return
                case ast.Raise(exc=ast.Name() | ast.Call()):
                    out.nodes.append(Line(self.give_up()))
                    return
                case ast.If(test=test, body=then, orelse=otherwise):
                    condition = self.evaluate(test, env, seen, out)
                    if isinstance(condition, Known):
                        body = [*(then if condition.value else otherwise), *body]
                        continue
                    branch = Branch(self.text(condition), Block(), Block())
                    out.nodes.append(branch)
                    self.run([*then, *body], dict(env), seen, branch.then)
                    self.run([*otherwise, *body], dict(env), seen, branch.otherwise)
                    return
                case ast.For(target=target, iter=source, body=inner, orelse=[]):
                    rounds = self.items(self.evaluate(source, env, seen, out))
                    body = [part for item in rounds for part in ((target, item), *inner)] + body
                case _:
                    raise Untranslatable(f"{type(statement).__name__} in {ast.unparse(statement)[:60]!r}")
        out.nodes.append(Result(Known(None)))

    def give_up(self) -> str:
        if self.abandon is None:
            raise Untranslatable("a fact that may be disabled")
        return self.abandon

    def assign(self, target: ast.expr, value: Value, env: Env, out: Block) -> None:
        if isinstance(target, ast.Name):
            env[target.id] = self.settled(value, out)
        elif isinstance(target, ast.Tuple):
            for part, item in zip(target.elts, self.items(value), strict=True):
                self.assign(part, item, env, out)
        else:
            raise Untranslatable(f"assignment to {ast.unparse(target)}")

    def settled(self, value: Value, out: Block) -> Value:
        """The value with compound expressions computed once, into a local."""
        match value:
            case Code(text=text) if not text.isidentifier():
                name = self.fresh()
                out.nodes.append(Line(f"{name} = {text}"))
                return Code(name, value.boolean)
            case Open(cls=cls, parts=parts):
                return Open(cls, {name: self.settled(part, out) for name, part in parts.items()})
            case Row(items=items, keys=keys):
                return Row(tuple(self.settled(item, out) for item in items), keys)
        return value

    # ---------------------------------------------------------------------------------------------- expressions

    def evaluate(self, node: ast.expr, env: Env, seen: dict[str, Any], out: Block) -> Value:
        """The value of an expression."""
        match node:
            case ast.Constant(value=value):
                return Known(value)
            case ast.Name(id=name):
                if name in env:
                    return env[name]
                if name in seen:
                    return Known(seen[name])
                builtins: dict[str, Any] = vars(__import__("builtins"))
                if name in builtins:
                    return Known(builtins[name])
                raise Untranslatable(f"the name {name}")
            case ast.Attribute(value=base, attr=attribute):
                return self.attribute(self.evaluate(base, env, seen, out), attribute, out)
            case ast.Subscript(value=base, slice=index):
                return self.subscript(self.evaluate(base, env, seen, out), self.evaluate(index, env, seen, out))
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                items = tuple(self.evaluate(part, env, seen, out) for part in parts)
                known = all(isinstance(item, Known) for item in items)
                return Known(tuple(i.value for i in items if isinstance(i, Known))) if known else Row(items)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.opposite(self.evaluate(operand, env, seen, out))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.evaluate(operand, env, seen, out)
                return Known(-value.value) if isinstance(value, Known) else Code(f"(-{self.text(value)})")
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.evaluate(left, env, seen, out), self.evaluate(right, env, seen, out))
            case ast.BoolOp(op=op, values=values):
                return self.chain(isinstance(op, ast.And), values, env, seen, out)
            case ast.Compare(left=left, ops=ops, comparators=rights):
                value = self.evaluate(left, env, seen, out)
                tests: list[Value] = []
                for op, right in zip(ops, rights, strict=True):
                    other = self.evaluate(right, env, seen, out)
                    tests.append(self.compare(op, value, other))
                    value = other
                return self.junction(True, tests)
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                condition = self.evaluate(test, env, seen, out)
                if isinstance(condition, Known):
                    return self.evaluate(then if condition.value else otherwise, env, seen, out)
                branch = Branch(self.text(condition), Block(), Block())
                for part, side in ((then, branch.then), (otherwise, branch.otherwise)):
                    side.nodes.append(Result(self.evaluate(part, dict(env), seen, side)))
                return self.place(Block([branch]), out)
            case ast.GeneratorExp(elt=element, generators=[source]) | ast.ListComp(elt=element, generators=[source]):
                found: list[Value] = []
                for item in self.items(self.evaluate(source.iter, env, seen, out)):
                    inner = dict(env)
                    self.assign(source.target, item, inner, out)
                    kept = self.chain(True, source.ifs, inner, seen, out) if source.ifs else Known(True)
                    if not isinstance(kept, Known):
                        raise Untranslatable("a comprehension that depends on the state")
                    if kept.value:
                        found.append(self.evaluate(element, inner, seen, out))
                return Row(tuple(found))
            case ast.Call():
                return self.applied(node, env, seen, out)
        raise Untranslatable(f"{type(node).__name__} in {ast.unparse(node)[:60]!r}")

    def applied(self, node: ast.Call, env: Env, seen: dict[str, Any], out: Block) -> Value:
        """The value of a call expression."""
        if isinstance(node.func, ast.Attribute):
            base = self.evaluate(node.func.value, env, seen, out)
            if isinstance(base, Row) and base.keys is not None and node.func.attr == "get":
                key, *default = [self.evaluate(a, env, seen, out) for a in node.args]
                if not isinstance(key, Known):
                    raise Untranslatable("a pick looked up by an unknown name")
                found = dict(zip(base.keys, base.items, strict=True)).get(key.value)
                return found if found is not None else (default[0] if default else Known(None))
            method = getattr(base.cls, node.func.attr, None) if isinstance(base, Open) else None
            if isinstance(method, FunctionType):
                return self.call(method, [base, *self.arguments(node, env, seen, out)], self.keywords(node, env, seen, out), out)
            target: Value = self.attribute(base, node.func.attr, out)
        else:
            target = self.evaluate(node.func, env, seen, out)
        if not isinstance(target, Known):
            raise Untranslatable(f"a call of {ast.unparse(node.func)}")
        function = target.value
        args, kwargs = self.arguments(node, env, seen, out), self.keywords(node, env, seen, out)
        special = self.special(function, args, kwargs, out)
        if special is not None:
            return special
        inlined = plain(function)
        if inlined is not None:
            return self.call(inlined, args, kwargs, out)
        if all(isinstance(value, Known) for value in (*args, *kwargs.values())):
            return Known(function(*[a.value for a in args if isinstance(a, Known)]))
        raise Untranslatable(f"a call of {ast.unparse(node.func)}")

    def arguments(self, node: ast.Call, env: Env, seen: dict[str, Any], out: Block) -> list[Value]:
        found: list[Value] = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                found += self.items(self.evaluate(argument.value, env, seen, out))
            else:
                found.append(self.evaluate(argument, env, seen, out))
        return found

    def keywords(self, node: ast.Call, env: Env, seen: dict[str, Any], out: Block) -> Env:
        found: Env = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value, env, seen, out)
            if keyword.arg is not None:
                found[keyword.arg] = value
            elif isinstance(value, Row) and value.keys is not None:
                found.update(zip(value.keys, value.items, strict=True))
            elif isinstance(value, Known) and isinstance(value.value, Mapping):
                found.update({key: Known(item) for key, item in value.value.items()})
            else:
                raise Untranslatable(f"unknown keywords in {ast.unparse(node)[:60]!r}")
        return found

    def special(self, function: Any, args: list[Value], kwargs: Env, out: Block) -> Value | None:
        """The functions of the core, record classes and the builtins that have code of their own."""
        if function is core.require:
            condition = args[0]
            if isinstance(condition, Known):
                return Known(None) if condition.value else Known(Disabled)
            out.nodes.append(Line(f"if {self.text(self.opposite(condition))}: {self.give_up()}"))
            return Known(None)
        if function is core.replace:
            record = self.opened(args[0])
            strangers = set(kwargs) - set(record.parts)
            if strangers:
                raise Untranslatable(f"replace of an unknown field {', '.join(sorted(strangers))}")
            shaped = {name: self.shaped(fields(record.cls)[name], value, out) for name, value in kwargs.items()}
            return Open(record.cls, {**record.parts, **shaped})
        if function is core.implies:
            return self.junction(False, [self.opposite(args[0]), args[1]])
        if function is core.negate:
            return self.opposite(args[0])
        if function is core.among:
            return self.member(args[0], args[1:])
        if isinstance(function, type) and is_record(function):
            names = list(fields(function))
            parts = dict(zip(names, args, strict=False)) | kwargs
            if set(parts) != set(names):
                raise Untranslatable(f"{function.__name__} made without all of its fields")
            return Open(function, {n: self.shaped(fields(function)[n], parts[n], out) for n in names})
        if isinstance(function, type) and is_enum(function) and isinstance(args[0], Code):
            return args[0]
        if function in (all, any) and len(args) == 1:
            return self.junction(function is all, self.items(args[0]))
        if isinstance(function, type(min)) or function in (bool, int):
            name = _BUILTINS.get(function)
            if name is not None and any(isinstance(arg, Code) for arg in args):
                return Code(f"{name}({', '.join(self.text(arg) for arg in args)})", function is bool)
        return None

    def shaped(self, sort: Any, value: Value, out: Block) -> Value:
        """A value as a field of that sort keeps it: records open, expressions settled."""
        return self.settled(self.opened(value) if is_record(sort) else value, out)

    def opened(self, value: Value) -> Open:
        """A record value with its fields apart."""
        if isinstance(value, Open):
            return value
        if isinstance(value, Known) and is_record(type(value.value)):
            cls = type(value.value)
            return Open(
                cls,
                {
                    name: self.opened(Known(getattr(value.value, name)))
                    if is_record(sort)
                    else Known(getattr(value.value, name))
                    for name, sort in fields(cls).items()
                },
            )
        raise Untranslatable("a record was expected")

    def items(self, value: Value) -> list[Value]:
        """What a loop over the value meets."""
        if isinstance(value, Row):
            return [Known(key) for key in value.keys] if value.keys is not None else list(value.items)
        if isinstance(value, Open):
            return list(value.parts.values())
        if isinstance(value, Known):
            return [Known(item) for item in value.value]
        raise Untranslatable("a loop over something unknown")

    def attribute(self, base: Value, name: str, out: Block) -> Value:
        if isinstance(base, Known):
            return Known(getattr(base.value, name))
        if isinstance(base, Open):
            if name in base.parts:
                return base.parts[name]
            found = getattr(base.cls, name, None)
            if isinstance(found, property) and isinstance(found.fget, FunctionType):
                return self.call(found.fget, [base], {}, out)
            if found is not None and not callable(found):
                return Known(found)
        raise Untranslatable(f"the attribute {name}")

    def subscript(self, base: Value, index: Value) -> Value:
        if isinstance(index, Known):
            if isinstance(base, Row) and base.keys is not None:
                return dict(zip(base.keys, base.items, strict=True))[index.value]
            if isinstance(base, Row):
                picked = base.items[index.value]
                return Row(picked) if isinstance(picked, tuple) else picked
            if isinstance(base, Known):
                return Known(base.value[index.value])
        raise Untranslatable("an index that depends on the state")

    # ------------------------------------------------------------------------------------------------ operators

    def text(self, value: Value) -> str:
        """The value as Python text."""
        match value:
            case Code(text=text):
                return text
            case Known(value=bool() | None | str() as known):
                return repr(known)
            case Known(value=int() as known):
                return str(int(known))
            case Known(value=known):
                name = f"k{len(self.constants)}"
                self.constants[name] = known
                return name
        raise Untranslatable("a record where a scalar is expected")

    @staticmethod
    def is_bool(value: Value) -> bool:
        return isinstance(value.value, bool) if isinstance(value, Known) else isinstance(value, Code) and value.boolean

    def opposite(self, value: Value) -> Value:
        if isinstance(value, Known):
            return Known(not value.value)
        text = self.text(value)
        return Code(text[5:-1], True) if text.startswith("(not ") and value.boolean else Code(f"(not {text})", True)

    def junction(self, conjunction: bool, values: Iterable[Value]) -> Value:
        """All of the (boolean) values, or any of them."""
        kept: list[str] = []
        for value in values:
            if isinstance(value, Known):
                if bool(value.value) is not conjunction:
                    return Known(not conjunction)
                continue
            if (text := self.text(value)) not in kept:
                kept.append(text)
        if not kept:
            return Known(conjunction)
        if len(kept) == 1:
            return Code(kept[0], True)
        return Code(f"({(' and ' if conjunction else ' or ').join(kept)})", True)

    def chain(self, conjunction: bool, nodes: list[ast.expr], env: Env, seen: dict[str, Any], out: Block) -> Value:
        """`and`, `or`: a later operand is computed only where the earlier ones leave it open."""
        values: list[Value] = []
        for at, node in enumerate(nodes):
            apart = Block()
            value = self.evaluate(node, env, seen, apart)
            if apart.nodes and values:
                rest = self.chain(conjunction, nodes[at:], env, seen, inner := Block())
                early = self.junction(conjunction, values)
                if isinstance(early, Known):
                    return early
                inner.nodes.append(Result(rest))
                other = Block([Result(Known(not conjunction))])
                sides = (inner, other) if conjunction else (other, inner)
                return self.place(Block([Branch(self.text(early), *sides)]), out)
            out.nodes += apart.nodes
            if isinstance(value, Known) and bool(value.value) is not conjunction:
                return self.junction(conjunction, [*values, value])
            if not self.is_bool(value) and not isinstance(value, Known):
                raise Untranslatable(f"{ast.unparse(node)[:40]!r} is not a boolean")
            values.append(value)
        return self.junction(conjunction, values)

    def member(self, value: Value, members: Iterable[Value]) -> Value:
        members = list(members)
        if all(isinstance(member, Known) and isinstance(member.value, int) for member in members):
            numbers = tuple(int(member.value) for member in members if isinstance(member, Known))
            if isinstance(value, Known):
                return Known(value.value in numbers)
            if isinstance(value, Code) and len(numbers) > 1:
                return Code(f"({value.text} in {numbers})", True)
        return self.junction(False, [self.same(value, member) for member in members])

    def same(self, left: Value, right: Value) -> Value:
        """Whether two values are equal."""
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(left.value == right.value)
        if isinstance(left, Open) or isinstance(right, Open):
            one, other = self.opened(left), self.opened(right)
            if list(one.parts) != list(other.parts):
                raise Untranslatable("records of different classes are compared")
            return self.junction(True, [self.same(one.parts[name], other.parts[name]) for name in one.parts])
        if left == right:
            return Known(True)
        for known, other in ((left, right), (right, left)):
            if isinstance(known, Known) and isinstance(known.value, bool) and self.is_bool(other):
                return other if known.value else self.opposite(other)
        if any(isinstance(v, Known) and isinstance(v.value, Enum) and not isinstance(v.value, IntEnum) for v in (left, right)):
            raise Untranslatable("an enumeration that is not of integers")
        return Code(f"({self.text(left)} == {self.text(right)})", True)

    def compare(self, op: ast.cmpop, left: Value, right: Value) -> Value:
        if isinstance(op, ast.In | ast.NotIn):
            if isinstance(left, Known) and isinstance(right, Known):
                found: Value = Known(left.value in right.value)
            else:
                found = self.member(left, self.items(right))
            return found if isinstance(op, ast.In) else self.opposite(found)
        if isinstance(op, ast.Eq):
            return self.same(left, right)
        if isinstance(op, ast.NotEq):
            return self.opposite(self.same(left, right))
        if type(op) not in _COMPARE:
            raise Untranslatable(f"the comparison {type(op).__name__}")
        symbol, function = _COMPARE[type(op)]
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(function(left.value, right.value))
        if isinstance(left, Row | Open) or isinstance(right, Row | Open):
            raise Untranslatable("tuples are compared in order")
        return Code(f"({self.text(left)} {symbol} {self.text(right)})", True)

    def binary(self, op: ast.operator, left: Value, right: Value) -> Value:
        if type(op) not in _BINARY:
            raise Untranslatable(f"the operator {type(op).__name__}")
        symbol, function = _BINARY[type(op)]
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(function(left.value, right.value))
        if symbol in "&|" and self.is_bool(left) and self.is_bool(right):
            return self.junction(symbol == "&", [left, right])
        return Code(f"({self.text(left)} {symbol} {self.text(right)})", symbol in "&|^" and self.is_bool(left) and self.is_bool(right))


# ---------------------------------------------------------------------------------------------------- the search loop


@dataclass
class Translation:
    """Generated code for one specification and its bounds."""

    spec: Spec[Any]
    bounds: Bounds
    source: str
    search: Callable[[Flat, int], tuple[set[Flat], int, int, bool]]
    successors: Callable[[Flat], list[tuple[int, Flat]]]
    moves: tuple[tuple[Action[Any], Mapping[str, Any]], ...]
    fallbacks: dict[str, str]

    def count(self) -> tuple[dict[str, Any], float]:
        """States, edges, depth and exhaustion, as `Atlas.count` gives them, and the seconds that it took."""
        started = time.perf_counter()
        states, edges, depth, exhausted = self.search(flatten(self.spec.init()), self.bounds.states)
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
        self.inliner = Inliner()
        self.moves: list[tuple[Action[Any], Mapping[str, Any]]] = []
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
        steps: list[str] = []
        plain_steps: list[str] = []
        for action in self.spec.actions:
            steps += self.action(action, checked=True)
            plain_steps += self.action(action, checked=False)
        unpack = "(" + ", ".join(f"v{i}" for i in range(len(self.leaves))) + ",) = s"
        source = "\n".join(
            [
                "def search(first, most):",
                " seen = {first}; level = [first]; edges = depth = 0",
                " while level:",
                "  if len(seen) > most: return seen, edges, depth, False",
                "  found = set(); add = found.add",
                "  for s in level:",
                f"   {unpack}",
                *facts.lines(3),
                *steps,
                "  found -= seen; seen |= found; level = found; depth += not not found",
                " return seen, edges, depth, True",
                "def successors(s):",
                " out = []; append = out.append; edges = 0",
                " while True:",
                "  while True:",
                f"   {unpack}",
                *plain_steps,
                "   return out",
            ]
        )
        self.space |= self.inliner.constants | {"ONCE": (0,), "Disabled": Disabled, "broken": self.broken}
        exec(compile(source, f"<generated from {self.spec.name}>", "exec"), self.space)
        return Translation(
            self.spec, self.bounds, source, self.space["search"], self.space["successors"], tuple(self.moves),
            self.fallbacks,
        )  # fmt: skip

    def state_checks(self, out: Block) -> None:
        conditions: list[Value] = []
        for fact in self.state_facts:
            body = Block()
            names = self.inliner.names
            try:
                value = self.inliner.call(self.function(fact.holds), [self.state()], {}, body)
                self.inliner.text(value)
            except Untranslatable as problem:
                self.inliner.names = names
                self.fallbacks[fact.name] = str(problem)
                conditions.append(Code(f"{self.bound(self.interpreted_fact(fact))}(s)", True))
                continue
            out.nodes += body.nodes
            conditions.append(value)
        self.require_all(conditions, "broken(s)", out)

    def require_all(self, conditions: list[Value], otherwise: str, out: Block) -> None:
        condition = self.inliner.junction(True, conditions)
        if condition != Known(True):
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

    def action(self, action: Action[Any], *, checked: bool) -> list[str]:
        """The code of one action: for each combination of picks, its edge."""
        combos = self.combos[action.name]
        base = len(self.moves) - (0 if checked else len(combos) * 0)
        if checked:
            self.moves += [(action, picks) for picks in combos]
        else:
            base = next(i for i, (a, _) in enumerate(self.moves) if a is action) if combos else 0
        if not combos:
            return []
        names = self.inliner.names
        try:
            return self.translated(action, combos, base, checked=checked)
        except Untranslatable as problem:
            self.inliner.names = names
            self.fallbacks[action.name] = str(problem)
            return self.interpreted(action, base, checked=checked)

    def translated(self, action: Action[Any], combos: tuple[Mapping[str, Any], ...], base: int, *, checked: bool) -> list[str]:
        picks: Env = {}
        rows = [[base + i] for i in range(len(combos))]
        header: list[str] = ["move"]
        for name, sort in action.picks.items():
            values = [combo[name] for combo in combos]
            if len(set(values)) == 1:
                picks[name] = self.inliner.opened(Known(values[0])) if is_record(sort) else Known(values[0])
                continue
            picks[name] = self.pick(sort, header)
            for row, value in zip(rows, values, strict=True):
                row += flatten(value) if is_record(sort) else flatten((value,))
        table = self.bound(tuple(tuple(row) for row in rows))
        body = Block()
        self.inliner.abandon = "continue"
        before = self.state()
        after = self.inliner.call(self.function(action.run), [before], picks, body)
        self.inliner.abandon = None
        body.nodes.append(Line("edges += 1"))
        if after != Known(None):
            values_after = self.flat_values(after)
            display = "(" + ", ".join(self.inliner.text(value) for value in values_after) + ",)"
            if checked:
                self.step_checks(action, before, picks, after, body)
                self.bound_checks(values_after, body)
                body.nodes.append(Line(f"add({display})"))
            else:
                body.nodes.append(Line(f"append((move, {display}))"))
        unpack = ", ".join(header) + ("," if len(header) == 1 else "")
        return [f"   for {unpack} in {table}:", *body.lines(4)]

    def pick(self, sort: Any, header: list[str]) -> Value:
        """A pick as loop variables."""
        if is_record(sort):
            return Open(sort, {name: self.pick(inner, header) for name, inner in fields(sort).items()})
        header.append(self.inliner.fresh())
        return Code(header[-1], sort is bool)

    def step_checks(self, action: Action[Any], before: Open, picks: Env, after: Value, out: Block) -> None:
        named = Row(tuple(picks.values()), tuple(picks))
        step = Open(Step, {"name": Known(action.name), "by": Known(action.by), "picks": named})
        conditions: list[Value] = []
        for fact in self.step_facts:
            body = Block()
            names = self.inliner.names
            try:
                value = self.inliner.call(self.function(fact.holds), [before, step, after], {}, body)
                self.inliner.text(value)
            except Untranslatable as problem:
                self.inliner.names = names
                self.fallbacks[fact.name] = str(problem)
                display = "(" + ", ".join(self.inliner.text(v) for v in self.flat_values(after)) + ",)"
                value = Code(f"{self.bound(self.interpreted_step_fact(fact))}(s, move, {display})", True)
            else:
                out.nodes += body.nodes
            conditions.append(value)
        self.require_all(conditions, "broken(s, move)", out)

    def bound_checks(self, after: list[Value], out: Block) -> None:
        beyond: list[Value] = []
        for at, (path, value) in enumerate(zip(self.leaves, after, strict=True)):
            most = self.bounds.fields.get(path)
            if most is None or value == Code(f"v{at}", self.inliner.is_bool(value)):
                continue
            known = isinstance(value, Known)
            beyond.append(Known(value.value > most) if isinstance(value, Known) else Code(f"({self.inliner.text(value)} > {most})", True))
            del known
        condition = self.inliner.junction(False, beyond)
        if condition != Known(False):
            out.nodes.append(Line(f"if {self.inliner.text(condition)}: continue"))

    def interpreted(self, action: Action[Any], base: int, *, checked: bool) -> list[str]:
        """The code of an action that could not be translated: it is called as it is."""
        step = self.bound(self.interpreted_action(action, base, checked=checked))
        if checked:
            return [
                f"   more, targets = {step}(s)",
                "   edges += more",
                "   for after in targets: add(after)",
            ]
        return [f"   out.extend({step}(s)[1])"]

    def interpreted_action(self, action: Action[Any], base: int, *, checked: bool) -> Callable[[Flat], tuple[int, list[Any]]]:
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
        """Say which claim the interpreted model breaks here; generated code that is alone in its opinion is a mistake."""
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


class Broken(Exception):
    """The generated search met a state or a step that breaks a claim."""

    def __init__(self, names: list[str], state: Any) -> None:
        super().__init__(f"{', '.join(names)} in {state}")
        self.names, self.state = names, state


def agrees(translation: Translation, atlas: Atlas) -> str | None:
    """Compare every generated step with the interpreted one on every state of an atlas; a sentence if one differs."""
    for state in atlas.states:
        flat = flatten(state)
        generated = dict(translation.successors(flat))
        for number, (action, picks) in enumerate(translation.moves):
            try:
                expected: Flat | None = flatten(action.run(state, **picks))
            except Disabled:
                expected = None
            if generated.get(number) != expected:
                return (
                    f"{translation.spec.name}: {action.name}({dict(picks)}) in {state}: "
                    f"generated {generated.get(number)}, interpreted {expected}"
                )
    return None
