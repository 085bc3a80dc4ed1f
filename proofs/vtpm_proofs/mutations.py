"""Small mistakes, made one at a time in the source of a model function.

Each kind of mistake is one that a writer of a protocol makes: a guard forgotten, a field not updated, one condition of
several left out, one state taken for another, a bound off by one, a test turned round.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from types import CodeType, FunctionType
from typing import Any, TypeVar, get_type_hints

from vtpm_model import core
from vtpm_proofs.leaves import is_record

SMALL = 6
"""Fields of a record that is small enough for mistakes in each of them."""


@dataclass(frozen=True)
class Mutation:
    """One mistake in one function. `line` is where it stands in `file`, `pinned` the text of that line."""

    function: FunctionType
    mistake: str
    line: int
    pinned: str
    tree: ast.FunctionDef

    @property
    def place(self) -> str:
        """`module.function`."""
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__qualname__}"

    @property
    def name(self) -> str:
        """What is wrong where; the same as long as the function says the same."""
        return f"{self.place}: {self.mistake}"

    def build(self) -> FunctionType:
        """The function with the mistake in it."""
        return _compiled(self.function, self.tree)


@cache
def _source(function: FunctionType) -> tuple[ast.FunctionDef, tuple[str, ...], int]:
    """The definition of a function, the lines of its file, and how far the definition's line numbers are off."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise TypeError(f"{function.__qualname__} is not a plain function; write it with def")
    return tree, tuple(lines), first


def mutations(function: FunctionType) -> list[Mutation]:
    """Every mistake of the known kinds in a function, without those that give the same text twice."""
    tree, lines, first = _source(function)
    found: list[Mutation] = []
    texts = {ast.unparse(tree)}
    for mistake, node_line, mutant in _Mistakes(tree, function).all():
        text = ast.unparse(mutant)
        if text in texts:
            continue
        texts.add(text)
        pinned = lines[node_line - 1].strip() if node_line <= len(lines) else ""
        name, number = mistake, 2
        while any(m.mistake == name for m in found):
            name, number = f"{mistake} ({number})", number + 1
        found.append(Mutation(function, name, first + node_line - 1, pinned, mutant))
    return found


_CLOSER: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


class _Mistakes:
    """Walks the body of a definition; every change is made in a copy, found again by the node's place in the walk."""

    def __init__(self, tree: ast.FunctionDef, function: FunctionType) -> None:
        self.tree = tree
        self.names: dict[str, Any] = dict(function.__globals__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.names[name] = cell.cell_contents
        self.annotations = _annotations(function)

    def all(self) -> Iterator[tuple[str, int, ast.FunctionDef]]:
        body = self.tree.body
        done: set[int] = set()  # nodes whose mistake another kind covers better
        for statement in body:
            for node in ast.walk(statement):
                if self.calls(node, core.among):  # a member is left out rather than swapped
                    assert isinstance(node, ast.Call)
                    done |= {id(member) for member in node.args[1:] if isinstance(member, ast.Name)}
                if self.calls(node, core.require):  # the guard is dropped rather than turned round
                    assert isinstance(node, ast.Call)
                    done |= {id(condition) for condition in node.args if self.calls(condition, core.negate)}
        for statement in body:
            for node in ast.walk(statement):
                if not (
                    id(node) in done and isinstance(node, ast.Name | ast.Call) and not self.calls(node, core.require)
                ):
                    yield from self.of(node)

    def of(self, node: ast.AST) -> Iterator[tuple[str, int, ast.FunctionDef]]:
        """The mistakes that can be made at one node."""
        match node:
            case ast.Expr(value=ast.Call(args=[condition])) if self.calls(node.value, core.require):
                yield self.made(node, f"no longer requires {ast.unparse(condition)}", ast.Pass())
            case ast.If(test=test):
                turned = ast.UnaryOp(ast.Not(), test)
                yield self.made(test, f"takes `if {ast.unparse(test)}` the other way round", turned)
            case ast.IfExp(test=test):
                turned = ast.UnaryOp(ast.Not(), test)
                yield self.made(test, f"takes `... if {ast.unparse(test)}` the other way round", turned)
            case ast.Call() if self.calls(node, core.replace):
                for at, keyword in enumerate(node.keywords):
                    kept = ast.Call(node.func, node.args, [k for i, k in enumerate(node.keywords) if i != at])
                    what = f"does not set {keyword.arg} to {ast.unparse(keyword.value)}"
                    yield self.made(node, what, kept, line=keyword.value.lineno)
                for name, value in self.other_fields(node):
                    more = ast.Call(node.func, node.args, [*node.keywords, ast.keyword(name, value)])
                    yield self.made(node, f"sets {name} to {ast.unparse(value)}, too", more)
            case ast.Call() if self.calls(node, core.among) and len(node.args) > 2:
                for at in range(1, len(node.args)):
                    kept = ast.Call(node.func, [a for i, a in enumerate(node.args) if i != at], [])
                    what = f"leaves {ast.unparse(node.args[at])} out of {ast.unparse(node)}"
                    yield self.made(node, what, kept)
                for other_name in self.strangers(node):
                    more = ast.Call(node.func, [*node.args, ast.Name(other_name, ast.Load())], [])
                    yield self.made(node, f"takes {other_name} into {ast.unparse(node)}", more)
            case ast.Call(args=[operand]) if self.calls(node, core.negate):
                yield self.made(node, f"takes {ast.unparse(operand)} for its opposite", operand)
            case ast.Call(args=[premise, conclusion]) if self.calls(node, core.implies):
                yield self.made(node, f"leaves the premise {ast.unparse(premise)} out", conclusion)
            case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
                for gone, kept_side in ((left, right), (right, left)):
                    if not (gone is left and isinstance(left, ast.BinOp) and type(left.op) is type(node.op)):
                        what = f"leaves {ast.unparse(gone)} out of {ast.unparse(node)}"
                        yield self.made(node, what, kept_side, line=gone.lineno)
            case ast.BoolOp(values=values):
                for gone in values:
                    rest = [value for value in values if value is not gone]
                    fewer = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                    yield self.made(node, f"leaves {ast.unparse(gone)} out of {ast.unparse(node)}", fewer)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=ast.Constant(value=int())):
                yield self.made(node, f"takes {ast.unparse(left)} for {ast.unparse(node)}", left)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                for gone, kept_side in ((left, right), (right, left)):
                    yield self.made(node, f"leaves {ast.unparse(gone)} out of {ast.unparse(node)}", kept_side)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _CLOSER:
                other = ast.Compare(left, [_CLOSER[type(op)]()], [right])
                yield self.made(node, f"takes {ast.unparse(node)} for {ast.unparse(other)}", other)
            case ast.Name(id=name, ctx=ast.Load()) if self.is_member(name):
                for other_name in self.neighbours(self.names[name]):
                    yield self.made(node, f"takes {name} for {other_name}", ast.Name(other_name, ast.Load()))

    def is_member(self, name: str) -> bool:
        return isinstance(self.names.get(name), IntEnum)

    def neighbours(self, member: IntEnum) -> list[str]:
        """The names, in the function's module, of the members before and after one, if they have names there."""
        members = _members(type(member))
        at = members.index(member)
        found = [self.name_of(members[at - 1]), self.name_of(members[(at + 1) % len(members)])]
        return list(dict.fromkeys(name for name in found if name is not None and self.names[name] is not member))

    def strangers(self, call: ast.Call) -> list[str]:
        """Members that `among` does not name, of the enumeration that it names members of.

        One that comes just before one that is named; of a small enumeration the last one, too.
        """
        members = [self.names[a.id] for a in call.args[1:] if isinstance(a, ast.Name) and self.is_member(a.id)]
        if not members:
            return []
        everyone = _members(type(members[0]))
        before = [everyone[at - 1] for member in members if (at := everyone.index(member)) > 0]
        found = [name for member in before if member not in members and (name := self.name_of(member)) is not None][:1]
        if len(everyone) <= SMALL:
            others = [
                name for member in everyone if member not in members and (name := self.name_of(member)) is not None
            ]
            found += others[-1:]
        return list(dict.fromkeys(found))

    def name_of(self, member: IntEnum) -> str | None:
        return next((name for name, value in self.names.items() if value is member), None)

    def other_fields(self, call: ast.Call) -> list[tuple[str, ast.expr]]:
        """Fields of a small record that a `replace` leaves alone, each with its least value.

        Large records would give more mutants than sense.
        """
        record = self.sort_of(call.args[0])
        if record is None or len(core.fields(record)) > SMALL:
            return []
        given = {keyword.arg for keyword in call.keywords}
        others = [(name, sort) for name, sort in core.fields(record).items() if name not in given]
        return [(name, ast.Constant(False if sort is bool else 0)) for name, sort in others if not is_record(sort)]

    def sort_of(self, node: ast.expr) -> Any:
        """The record class of an expression, as far as annotations tell; None where they do not."""
        match node:
            case ast.Name(id=name) if name in self.annotations:
                return self.annotations[name]
            case ast.Name(id=name):
                values = [
                    statement.value
                    for statement in ast.walk(self.tree)
                    if isinstance(statement, ast.Assign)
                    and any(isinstance(target, ast.Name) and target.id == name for target in statement.targets)
                    and not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(statement.value))
                ]
                return self.sort_of(values[0]) if values else None
            case ast.Attribute(value=base, attr=name):
                inner = self.sort_of(base)
                sort = core.fields(inner).get(name) if inner is not None else None
                return sort if is_record(sort) else None
            case ast.Call(func=ast.Name(id=name), args=args):
                called = self.names.get(name)
                if called is core.replace:
                    return self.sort_of(args[0])
                function = called.run if isinstance(called, core.Action) else called
                if isinstance(function, FunctionType):
                    return _annotations(function).get("return")
        return None

    def calls(self, node: ast.AST, function: Any) -> bool:
        """Whether the node calls that function of the core."""
        return (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and self.names.get(node.func.id) is function
        )

    def made(
        self, node: ast.AST, mistake: str, instead: ast.AST, *, line: int | None = None
    ) -> tuple[str, int, ast.FunctionDef]:
        """A copy of the definition with one node exchanged."""
        place = next(at for at, candidate in enumerate(ast.walk(self.tree)) if candidate is node)
        copied = copy.deepcopy(self.tree)
        target = list(ast.walk(copied))[place]
        new = ast.copy_location(copy.deepcopy(instead), node)
        _Exchange(target, new).visit(copied)
        where = line if line is not None else getattr(node, "lineno", 1)
        return mistake, where, ast.fix_missing_locations(copied)


def _members(enumeration: type[IntEnum]) -> list[IntEnum]:
    return list(enumeration)


def _annotations(function: FunctionType) -> dict[str, Any]:
    """The parameters (and `return`) that are records; of a type variable, its bound."""
    try:
        hints = get_type_hints(function)
    except NameError:  # of a function within a function, whose names are out of reach
        return {}
    bounds = {name: hint.__bound__ if isinstance(hint, TypeVar) else hint for name, hint in hints.items()}
    return {name: bound for name, bound in bounds.items() if is_record(bound)}


class _Exchange(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def _compiled(function: FunctionType, tree: ast.FunctionDef) -> FunctionType:
    """A definition compiled to take the place of a function: same globals, same closure, same lines."""
    _, _, first = _source(function)
    plain = copy.deepcopy(tree)
    plain.decorator_list, plain.returns = [], None
    for argument in (*plain.args.posonlyargs, *plain.args.args, *plain.args.kwonlyargs):
        argument.annotation = None
    free = function.__code__.co_freevars
    if free:
        names = [ast.arg(name) for name in free]
        outer = ast.parse("def outer(): pass").body[0]
        assert isinstance(outer, ast.FunctionDef)
        outer.args.args, outer.body = names, [plain]
        module = ast.Module([outer], [])
    else:
        module = ast.Module([plain], [])
    ast.increment_lineno(module, first - 1)
    code = compile(ast.fix_missing_locations(module), function.__code__.co_filename, "exec")
    inner = _inner(code, function.__name__).replace(
        co_firstlineno=function.__code__.co_firstlineno, co_qualname=function.__qualname__
    )
    cells = dict(zip(free, function.__closure__ or (), strict=True))
    closure = tuple(cells[name] for name in inner.co_freevars) or None
    made = FunctionType(inner, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__, made.__doc__ = function.__kwdefaults__, function.__doc__
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return made


def _inner(code: CodeType, name: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name == name:
                return constant
            try:
                return _inner(constant, name)
            except LookupError:
                continue
    raise LookupError(name)
