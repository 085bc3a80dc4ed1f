"""Rewrites calls of model functions as straight code: helpers inlined, records opened into locals, constants folded.

What holds on a path (a `require` that was passed, a branch that was taken) is remembered along it, so that later
conditions fold. Anything outside the subset that the models keep to raises `Untranslatable`.
"""

from __future__ import annotations

import ast
import inspect
import operator
import re
import textwrap
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cache
from types import FunctionType
from typing import Any

from vtpm_model import core
from vtpm_model.core import Action, Disabled, Fact, fields
from vtpm_proofs.leaves import is_enum, is_record


class Untranslatable(Exception):
    """A construct that the generator does not know; the message says which and where."""


# ------------------------------------------------------------------------------------- values while code is generated


@dataclass(frozen=True)
class Known:
    """A value known when the code is generated."""

    value: Any


Learned = tuple[tuple[str, Any], ...]
"""Texts of expressions whose value is settled, each with that value."""


@dataclass(frozen=True)
class Code:
    """A scalar computed when the code runs: an expression safe to paste anywhere.

    `yes` and `no`: what else is settled once it is known to be true, or false. `sum`: the text that it is a constant
    away from, and that constant.
    """

    text: str
    boolean: bool = False
    yes: Learned = field(default=(), compare=False)
    no: Learned = field(default=(), compare=False)
    sum: tuple[str, int] | None = field(default=None, compare=False)

    @staticmethod
    def truth(text: str, yes: Learned = (), no: Learned = ()) -> Code:
        """A condition."""
        return Code(text, boolean=True, yes=yes, no=no)

    @property
    def offset(self) -> tuple[str, int]:
        return self.sum or (self.text, 0)


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
YES, NO = Known(value=True), Known(value=False)
Env = dict[str, Value]


# ------------------------------------------------------------------------------------------------------------- blocks


@dataclass
class Line:
    """A statement; `target` is the local that it computes, if that is all that it does."""

    text: str
    target: str | None = None


@dataclass
class Guard:
    """A condition without which the action is given up."""

    condition: str


@dataclass
class Branch:
    """Two ways on, told apart by a condition."""

    condition: str
    then: Block
    otherwise: Block


@dataclass
class Result:
    """Where a function ends: its value, and what is known there."""

    value: Value
    scope: Scope


@dataclass
class Scope:
    """What is known at a place in the code, and what has been computed before it."""

    known: dict[str, Any] = field(default_factory=dict)
    calls: dict[Any, Value] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def inner(self) -> Scope:
        """A copy for one side of a branch."""
        return Scope(dict(self.known), dict(self.calls), dict(self.texts))


Node = Line | Guard | Branch | Result
_LOCAL = re.compile(r"\bt\d+\b")


@dataclass
class Block:
    """Code in the making: statements in order, some of them branches, ended by results that are yet to be placed."""

    nodes: list[Node] = field(default_factory=list)

    def results(self) -> list[tuple[Block, Result]]:
        """Every place where the block ends with a value, and the block that it lies in."""
        found: list[tuple[Block, Result]] = []
        for node in self.nodes:
            if isinstance(node, Result):
                found.append((self, node))
            elif isinstance(node, Branch):
                found += node.then.results() + node.otherwise.results()
        return found

    def instead(self, old: Node, new: list[Node]) -> None:
        """Put other nodes in the place of one."""
        at = next(i for i, node in enumerate(self.nodes) if node is old)
        self.nodes[at : at + 1] = new

    def lines(self, indent: int, give_up: str = "") -> Iterable[str]:
        """Its source text; `give_up` is the statement that leaves the action."""
        pad = " " * indent
        if not self.nodes:
            yield pad + "pass"
        for node in self.nodes:
            if isinstance(node, Line):
                yield pad + node.text
            elif isinstance(node, Guard):
                yield f"{pad}if {node.condition}: {give_up}" if node.condition else pad + give_up
            elif isinstance(node, Branch):
                yield f"{pad}if {node.condition}:"
                yield from node.then.lines(indent + 1, give_up)
                if node.otherwise.nodes:
                    yield f"{pad}else:"
                    yield from node.otherwise.lines(indent + 1, give_up)
            else:
                raise AssertionError("a result was not placed")

    def texts(self) -> Iterator[str]:
        """Every piece of code in it."""
        for node in self.nodes:
            if isinstance(node, Line):
                yield node.text if node.target is None else node.text.split(" = ", 1)[1]
            elif isinstance(node, Guard):
                yield node.condition
            elif isinstance(node, Branch):
                yield node.condition
                yield from node.then.texts()
                yield from node.otherwise.texts()

    def tidy(self) -> None:
        """Drop what computes locals that nothing reads."""
        while self._drop({name for text in self.texts() for name in _LOCAL.findall(text)}):
            pass

    def _drop(self, used: set[str]) -> bool:
        kept: list[Node] = []
        changed = False
        for node in self.nodes:
            if isinstance(node, Line) and node.target is not None and node.target not in used:
                changed = True
                continue
            if isinstance(node, Branch):
                changed |= node.then._drop(used) | node.otherwise._drop(used)
                if not node.then.nodes and not node.otherwise.nodes:
                    changed = True
                    continue
                if not node.then.nodes:
                    node = Branch(f"not {node.condition}", node.otherwise, Block())
            kept.append(node)
        self.nodes = kept
        return changed


def locals_of(text: str) -> list[str]:
    """The generated locals that a piece of code reads."""
    return _LOCAL.findall(text)


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


def _key(value: Value) -> Any:
    """Something that is equal for equal values, and can be looked up."""
    match value:
        case Code(text=text):
            return text
        case Open(cls=cls, parts=parts):
            return (cls, *[_key(part) for part in parts.values()])
        case Row(items=items, keys=keys):
            return (keys, *[_key(item) for item in items])
        case Known(value=known):
            return (type(known), known) if isinstance(known, Hashable) else (type(known), repr(known))


def _is_negation(text: str) -> bool:
    """Whether the text is `(not X)` as a whole."""
    return text.startswith("(not ")


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
    """Turns calls of model functions into straight code."""

    def __init__(self) -> None:
        self.names = 0
        self.constants: dict[str, Any] = {}
        self.scope = Scope()
        self.may_give_up = False
        self.depth = 0

    def fresh(self) -> str:
        """A local name that nothing else uses."""
        self.names += 1
        return f"t{self.names}"

    # ------------------------------------------------------------------------------------------------ functions

    def call(self, function: FunctionType, args: list[Value], kwargs: Env, out: Block) -> Value:
        """The value of a call, its code put at the end of `out`."""
        key = (function, tuple(_key(a) for a in args), tuple((n, _key(v)) for n, v in sorted(kwargs.items())))
        if key in self.scope.calls:
            return self.scope.calls[key]
        body = Block()
        scope = self.scope
        self.open_call(function, args, kwargs, body)
        value = self.place(body, out, scope)
        self.scope.calls[key] = value
        return value

    def open_call(self, function: FunctionType, args: list[Value], kwargs: Env, out: Block) -> None:
        """The code of a call; each way through it ends with a result of its own."""
        node = definition(function)
        if self.depth > 40:
            raise Untranslatable(f"{function.__qualname__} calls itself")
        env = self.bind(function, node, args, kwargs)
        self.depth += 1
        try:
            self.run(list(node.body), env, globals_of(function), out)
        finally:
            self.depth -= 1

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

    def place(self, body: Block, out: Block, scope: Scope) -> Value:
        """Append a finished body to `out`; where it ends in several ways, merge what they come to.

        `scope` is what was known before the body; after a single way, what is known at its end is known for good.
        """
        results = body.results()
        self.scope = results[0][1].scope if len(results) == 1 else scope
        merged: Value = Known(Disabled)
        if results:
            merged, assign = self.merge([result.value for _, result in results])
            for (block, result), lines in zip(results, assign, strict=True):
                block.instead(result, lines)
        out.nodes += body.nodes
        return merged

    def merge(self, values: list[Value]) -> tuple[Value, list[list[Node]]]:
        """One value for several ways to compute it, and what each way must assign."""
        if any(isinstance(value, Open) for value in values):
            values = [self.opened(value) if isinstance(value, Known) else value for value in values]
        first = values[0]
        if all(value == first for value in values):
            return first, [[] for _ in values]
        if isinstance(first, Open):
            parts: dict[str, Value] = {}
            lines: list[list[Node]] = [[] for _ in values]
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
        return Code(name, boolean), [[Line(f"{name} = {self.text(value)}", name)] for value in values]

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
                        self.give_up(out)
                        return
                case ast.Assign(targets=[target], value=value):
                    self.assign(target, self.evaluate(value, env, seen, out), env, out)
                case ast.AnnAssign(target=target, value=value) if value is not None:
                    self.assign(target, self.evaluate(value, env, seen, out), env, out)
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    right = self.evaluate(value, env, seen, out)
                    self.assign(statement.target, self.binary(op, env[name], right), env, out)
                case ast.Return(value=ast.Call() as call) if self.tail_call(call, env, seen, out):
                    return
                case ast.Return(value=value):
                    result = Known(None) if value is None else self.evaluate(value, env, seen, out)
                    out.nodes.append(Result(result, self.scope))
                    return
                case ast.Raise(exc=ast.Name() | ast.Call()):
                    self.give_up(out)
                    return
                case ast.If(test=test, body=then, orelse=otherwise):
                    condition = self.evaluate(test, env, seen, out)
                    if isinstance(condition, Known):
                        body = [*(then if condition.value else otherwise), *body]
                        continue
                    branch = Branch(self.text(condition), Block(), Block())
                    out.nodes.append(branch)
                    scope = self.scope
                    self.scope = scope.inner()
                    self.learn(condition, outcome=True)
                    self.run([*then, *body], dict(env), seen, branch.then)
                    self.scope = scope.inner()
                    self.learn(condition, outcome=False)
                    self.run([*otherwise, *body], dict(env), seen, branch.otherwise)
                    return
                case ast.For(target=target, iter=source, body=inner, orelse=[]):
                    rounds = self.items(self.evaluate(source, env, seen, out))
                    body = [part for item in rounds for part in ((target, item), *inner)] + body
                case _:
                    raise Untranslatable(f"{type(statement).__name__} in {ast.unparse(statement)[:60]!r}")
        out.nodes.append(Result(Known(None), self.scope))

    def tail_call(self, call: ast.Call, env: Env, seen: dict[str, Any], out: Block) -> bool:
        """Whether what is returned is a plain call: then its ways are the caller's own, and are not merged."""
        if not isinstance(call.func, ast.Name) or call.func.id in env:
            return False
        target = seen.get(call.func.id)
        function = plain(target)
        if function is None or function.__globals__ is vars(core):
            return False
        self.open_call(function, self.arguments(call, env, seen, out), self.keywords(call, env, seen, out), out)
        return True

    def give_up(self, out: Block) -> None:
        if not self.may_give_up:
            raise Untranslatable("a fact that may be disabled")
        out.nodes.append(Guard(""))

    # ------------------------------------------------------------------------------------------------ knowledge

    def learn(self, condition: Value, *, outcome: bool) -> None:
        """The condition turned out so."""
        if isinstance(condition, Code):
            known = self.scope.known
            known[condition.text] = outcome
            known.update(condition.yes if outcome else condition.no)

    def now(self, value: Value) -> Value:
        """The value, or what it is known to be here."""
        if isinstance(value, Code) and value.text in self.scope.known:
            return Known(self.scope.known[value.text])
        return value

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
                name = self.scope.texts.get(text)
                if name is None:
                    name = self.scope.texts[text] = self.fresh()
                    out.nodes.append(Line(f"{name} = {text}", name))
                yes, no = ((text, True), *value.yes), ((text, False), *value.no)
                return Code(name, value.boolean, *((yes, no) if value.boolean else ((), ())), value.sum)
            case Open(cls=cls, parts=parts):
                return Open(cls, {name: self.settled(part, out) for name, part in parts.items()})
            case Row(items=items, keys=keys):
                return Row(tuple(self.settled(item, out) for item in items), keys)
        return value

    # ---------------------------------------------------------------------------------------------- expressions

    def evaluate(self, node: ast.expr, env: Env, seen: dict[str, Any], out: Block) -> Value:
        """The value of an expression."""
        return self.now(self.expression(node, env, seen, out))

    def expression(self, node: ast.expr, env: Env, seen: dict[str, Any], out: Block) -> Value:
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
                positive = self.evaluate(operand, env, seen, out)
                return Known(-positive.value) if isinstance(positive, Known) else Code(f"(-{self.text(positive)})")
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.evaluate(left, env, seen, out), self.evaluate(right, env, seen, out))
            case ast.BoolOp(op=junctor, values=operands):
                return self.chain(operands, env, seen, out, conjunction=isinstance(junctor, ast.And))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                last = self.evaluate(left, env, seen, out)
                tests: list[Value] = []
                for comparison, right in zip(ops, rights, strict=True):
                    other = self.evaluate(right, env, seen, out)
                    tests.append(self.compare(comparison, last, other))
                    last = other
                return self.junction(tests, conjunction=True)
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                condition = self.evaluate(test, env, seen, out)
                if isinstance(condition, Known):
                    return self.evaluate(then if condition.value else otherwise, env, seen, out)
                branch = Branch(self.text(condition), Block(), Block())
                scope = self.scope
                for outcome, part, side in ((True, then, branch.then), (False, otherwise, branch.otherwise)):
                    self.scope = scope.inner()
                    self.learn(condition, outcome=outcome)
                    side.nodes.append(Result(self.evaluate(part, dict(env), seen, side), self.scope))
                return self.place(Block([branch]), out, scope)
            case ast.GeneratorExp(elt=element, generators=[source]) | ast.ListComp(elt=element, generators=[source]):
                found: list[Value] = []
                for item in self.items(self.evaluate(source.iter, env, seen, out)):
                    inner = dict(env)
                    self.assign(source.target, item, inner, out)
                    kept = self.chain(source.ifs, inner, seen, out, conjunction=True) if source.ifs else YES
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
                return self.call(
                    method, [base, *self.arguments(node, env, seen, out)], self.keywords(node, env, seen, out), out
                )
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
            if not self.may_give_up:
                raise Untranslatable("a fact that may be disabled")
            out.nodes.append(Guard(self.text(self.opposite(condition))))
            self.learn(condition, outcome=True)
            return Known(None)
        if function is core.replace:
            record = self.opened(args[0])
            strangers = set(kwargs) - set(record.parts)
            if strangers:
                raise Untranslatable(f"replace of an unknown field {', '.join(sorted(strangers))}")
            shaped = {name: self.shaped(fields(record.cls)[name], value, out) for name, value in kwargs.items()}
            return Open(record.cls, {**record.parts, **shaped})
        if function is core.implies:
            return self.junction([self.opposite(args[0]), args[1]], conjunction=False)
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
            return self.junction(self.items(args[0]), conjunction=function is all)
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
                named: dict[Any, Value] = dict(zip(base.keys, base.items, strict=True))
                return named[index.value]
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
        value = self.now(value)
        if isinstance(value, Known):
            return Known(not value.value)
        text = self.text(value)
        assert isinstance(value, Code)
        yes, no = ((text, False), *value.no), ((text, True), *value.yes)
        return self.now(Code.truth(text[5:-1] if _is_negation(text) else f"(not {text})", yes, no))

    def junction(self, values: Iterable[Value], *, conjunction: bool) -> Value:
        """All of the (boolean) values, or any of them."""
        kept: dict[str, Code] = {}
        for value in values:
            value = self.now(value)
            if isinstance(value, Known):
                if bool(value.value) is not conjunction:
                    return Known(not conjunction)
                continue
            opposite = self.opposite(value)
            if isinstance(opposite, Code) and opposite.text in kept:
                return Known(not conjunction)
            if isinstance(value, Code):
                kept[value.text] = value
        if not kept:
            return Known(conjunction)
        if len(kept) == 1:
            return next(iter(kept.values()))
        all_of = tuple(
            pair
            for text, part in kept.items()
            for pair in ((text, conjunction), *(part.yes if conjunction else part.no))
        )
        text = f"({(' and ' if conjunction else ' or ').join(kept)})"
        return self.now(Code.truth(text, all_of, ()) if conjunction else Code.truth(text, (), all_of))

    def chain(self, nodes: list[ast.expr], env: Env, seen: dict[str, Any], out: Block, *, conjunction: bool) -> Value:
        """`and`, `or`: a later operand is computed only where the earlier ones leave it open."""
        values: list[Value] = []
        for at, node in enumerate(nodes):
            apart = Block()
            scope = self.scope
            self.scope = scope.inner()
            value = self.evaluate(node, env, seen, apart)
            if apart.nodes and values:
                self.scope = scope.inner()
                early = self.junction(values, conjunction=conjunction)
                if isinstance(early, Known):
                    return early
                self.learn(early, outcome=conjunction)
                inner = Block()
                rest = self.chain(nodes[at:], env, seen, inner, conjunction=conjunction)
                inner.nodes.append(Result(rest, self.scope))
                other = Block([Result(Known(not conjunction), scope)])
                sides = (inner, other) if conjunction else (other, inner)
                return self.place(Block([Branch(self.text(early), *sides)]), out, scope)
            if values:
                self.scope = scope
            out.nodes += apart.nodes
            if isinstance(value, Known) and bool(value.value) is not conjunction:
                return self.junction([*values, value], conjunction=conjunction)
            if not self.is_bool(value) and not isinstance(value, Known):
                raise Untranslatable(f"{ast.unparse(node)[:40]!r} is not a boolean")
            values.append(value)
        return self.junction(values, conjunction=conjunction)

    def member(self, value: Value, members: Iterable[Value]) -> Value:
        members = list(members)
        if all(isinstance(member, Known) and isinstance(member.value, int) for member in members):
            numbers = tuple(int(member.value) for member in members if isinstance(member, Known))
            if isinstance(value, Known):
                return Known(value.value in numbers)
            if isinstance(value, Code) and len(numbers) > 1:
                return self.now(Code.truth(f"({value.text} in {numbers})"))
        return self.junction([self.same(value, member) for member in members], conjunction=False)

    def same(self, left: Value, right: Value) -> Value:
        """Whether two values are equal."""
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(left.value == right.value)
        if isinstance(left, Open) or isinstance(right, Open):
            first, second = self.opened(left), self.opened(right)
            if list(first.parts) != list(second.parts):
                raise Untranslatable("records of different classes are compared")
            pairs = [self.same(first.parts[name], second.parts[name]) for name in first.parts]
            return self.junction(pairs, conjunction=True)
        if left == right:
            return YES
        if isinstance(left, Code) and isinstance(right, Code) and left.offset[0] == right.offset[0]:
            return Known(left.offset[1] == right.offset[1])
        for known, other in ((left, right), (right, left)):
            if isinstance(known, Known) and isinstance(known.value, bool) and self.is_bool(other):
                return other if known.value else self.opposite(other)
        if any(
            isinstance(v, Known) and isinstance(v.value, Enum) and not isinstance(v.value, IntEnum)
            for v in (left, right)
        ):
            raise Untranslatable("an enumeration that is not of integers")
        settled = tuple(
            (one.text, other.value)
            for one, other in ((left, right), (right, left))
            if isinstance(one, Code) and isinstance(other, Known)
        )
        return self.now(Code.truth(f"({self.text(left)} == {self.text(right)})", settled))

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
        if isinstance(left, Code) and isinstance(right, Code) and left.offset[0] == right.offset[0]:
            return Known(function(left.offset[1], right.offset[1]))
        return self.now(Code.truth(f"({self.text(left)} {symbol} {self.text(right)})"))

    def binary(self, op: ast.operator, left: Value, right: Value) -> Value:
        if type(op) not in _BINARY:
            raise Untranslatable(f"the operator {type(op).__name__}")
        symbol, function = _BINARY[type(op)]
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(function(left.value, right.value))
        if symbol in "&|" and self.is_bool(left) and self.is_bool(right):
            return self.junction([left, right], conjunction=symbol == "&")
        boolean = symbol in "&|^" and self.is_bool(left) and self.is_bool(right)
        sum_of = None
        if symbol in "+-" and isinstance(left, Code) and isinstance(right, Known) and not left.boolean:
            base, more = left.offset
            sum_of = (base, more + (right.value if symbol == "+" else -right.value))
        return Code(f"({self.text(left)} {symbol} {self.text(right)})", boolean, sum=sum_of)
