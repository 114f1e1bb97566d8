"""How many functions one reads from the `train` command of dvc.yaml to `optimizer.step()`: the shortest path of calls.

A static approximation: names are resolved through imports and definitions, objects through annotations, constructors
and assignments. A function that is handed to another one (`entry(main)`) is reached through that one, so both count.
What is not resolved (a method that only a subclass has, a property that does the work) gives no edge; the path is
printed, so that a reader can check it.
"""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.measures.imports import Statement, resolve_base
from tools.measures.sources import FUNCTIONS, Function, Module

Place = tuple[str, tuple[str, ...]]
"""A function as `module:name`, and the functions that it was handed."""
CALLED_WITH_CLASS = ("__init__", "__post_init__", "__enter__", "__exit__")


@dataclass(frozen=True)
class Value:
    """What an expression stands for: a module, a class or a function; or an object of a class."""

    symbol: str
    is_object: bool = False


Names = Mapping[str, Value | None]


class Program:
    """The definitions of some modules, and what their names mean."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules = {module.name: module for module in modules}
        self.definitions: dict[str, Function | ast.ClassDef] = {}
        for module in self.modules.values():
            self._define(module.tree.body, f"{module.name}:")
        self.module_names = cache(self._module_names)
        self.local_names = cache(self._local_names)
        self._entered: set[str] = set()

    def _define(self, body: Iterable[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                self.definitions[f"{prefix}{node.name}"] = node
            if isinstance(node, ast.ClassDef):
                self._define(node.body, f"{prefix}{node.name}.")

    def _module_names(self, name: str) -> dict[str, str]:
        """Local name → symbol, of everything that a module imports, at its top or in a function."""
        module = self.modules[name]
        statements = (node for node in ast.walk(module.tree) if isinstance(node, Statement))
        return {local: symbol for node in statements for local, symbol in imported_names(node, module)}

    def find_symbol(self, module: str, name: str) -> str | None:
        """What a name means at the top of a module, followed through the modules that only pass it on."""
        if f"{module}.{name}" in self.modules:
            return f"{module}.{name}"
        if f"{module}:{name}" in self.definitions or module not in self.modules:
            return f"{module}:{name}" if module in self.modules else None
        symbol = self.module_names(module).get(name)
        if symbol is None or symbol in self.modules or symbol in self.definitions:
            return symbol
        home, _, member = symbol.partition(":")
        return self.find_symbol(home, member) if (home, member) != (module, name) else None

    def find_member(self, owner: str, name: str) -> str | None:
        """A method of a class or of a class above it."""
        if f"{owner}.{name}" in self.definitions:
            return f"{owner}.{name}"
        return next(filter(None, (self.find_member(base, name) for base in self._bases(owner))), None)

    def _bases(self, owner: str) -> list[str]:
        bases = (self.evaluate(base, {}, module_of(owner)) for base in self._class(owner).bases)
        return [base.symbol for base in bases if base and self._is_class(base.symbol)]

    def _class(self, symbol: str) -> ast.ClassDef:
        node = self.definitions[symbol]
        assert isinstance(node, ast.ClassDef)
        return node

    def _is_class(self, symbol: str) -> bool:
        return isinstance(self.definitions.get(symbol), ast.ClassDef)

    def evaluate(self, node: ast.expr | None, names: Names, module: str) -> Value | None:
        """What an expression stands for; None where that is not known."""
        match node:
            case ast.Name(id=name):
                symbol = None if name in names else self.find_symbol(module, name)
                return names.get(name) or (Value(symbol) if symbol else None)
            case ast.Attribute(value=value, attr=name):
                return self._attribute(self.evaluate(value, names, module), name)
            case ast.Call(func=function):
                return self._result(self.evaluate(function, names, module))
        return None

    def _attribute(self, owner: Value | None, name: str) -> Value | None:
        if owner is None:
            return None
        if owner.symbol in self.modules:
            symbol = self.find_symbol(owner.symbol, name)
            return Value(symbol) if symbol else None
        return self._member(owner.symbol, name) if self._is_class(owner.symbol) else None

    def _member(self, owner: str, name: str) -> Value | None:
        method = self.find_member(owner, name)
        if method is None:
            return self._field(owner, name)
        decorators = " ".join(ast.unparse(node) for node in self.definitions[method].decorator_list)
        return self._result(Value(method)) if "property" in decorators else Value(method)

    def _field(self, owner: str, name: str) -> Value | None:
        for node in self._class(owner).body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
                return self.annotated(node.annotation, owner)
        names = self._assigned_in_init(owner)
        inherited = (self._field(base, name) for base in self._bases(owner))
        return names.get(f"self.{name}") or next(filter(None, inherited), None)

    def _assigned_in_init(self, owner: str) -> Names:
        """What `__init__` assigns; nothing while that is being found out, since `self.a = self.b` asks again."""
        symbol = f"{owner}.__init__"
        if symbol not in self.definitions or symbol in self._entered:
            return {}
        self._entered.add(symbol)
        try:
            return self.local_names(symbol)
        finally:
            self._entered.discard(symbol)

    def _result(self, called: Value | None) -> Value | None:
        """The object that a call gives."""
        if called is None:
            return None
        if self._is_class(called.symbol):
            return Value(called.symbol, True) if not called.is_object else self._result(self._called(called.symbol))
        node = self.definitions.get(called.symbol)
        return self.annotated(node.returns, called.symbol) if isinstance(node, FUNCTIONS) else None

    def _called(self, owner: str) -> Value | None:
        method = self.find_member(owner, "__call__")
        return Value(method) if method else None

    def annotated(self, node: ast.expr | None, symbol: str) -> Value | None:
        """An object of the first class of this program that an annotation names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        for part in ast.walk(node) if node else ():
            if isinstance(part, ast.Name) and part.id == "Self":
                return Value(symbol.rpartition(".")[0], True)
            value = self.evaluate(part, {}, module_of(symbol)) if isinstance(part, ast.expr) else None
            if value and self._is_class(value.symbol):
                return Value(value.symbol, True)
        return None

    def _local_names(self, symbol: str) -> dict[str, Value | None]:
        """What the parameters and variables of a function stand for; `self.x` too."""
        node = self.definitions.get(symbol)
        names: dict[str, Value | None] = {}
        if isinstance(node, FUNCTIONS):
            owner = symbol.rpartition(".")[0] if self._is_class(symbol.rpartition(".")[0]) else None
            names |= {argument.arg: self.annotated(argument.annotation, symbol) for argument in arguments_of(node)}
            names |= dict.fromkeys(("self", "cls") if owner else (), Value(owner, True) if owner else None)
        for target, value in assignments(self.body_of(symbol)):
            meaning = self.evaluate(value, names, module_of(symbol))
            if meaning:
                names[target] = meaning
        return names

    def body_of(self, symbol: str) -> list[ast.stmt]:
        """The statements of a function; of a module, what runs when it is started."""
        if symbol in self.definitions:
            return self.definitions[symbol].body
        apart = (*FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom)
        return [node for node in self.modules[module_of(symbol)].tree.body if not isinstance(node, apart)]

    def next_places(self, place: Place) -> Iterator[Place]:
        """What a function calls or hands on, and the functions that it was handed."""
        symbol, handed = place
        yield from ((function, ()) for function in handed)
        names, module = self.local_names(symbol), module_of(symbol)
        for node in walk_statements(self.body_of(symbol)):
            if isinstance(node, ast.Call):
                yield from self._calls(node, names, module)
            elif isinstance(node, ast.Name | ast.Attribute):
                value = self.evaluate(node, names, module)
                yield from ((function, ()) for function in self._functions([value]))

    def _calls(self, node: ast.Call, names: Names, module: str) -> Iterator[Place]:
        called = self.evaluate(node.func, names, module)
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        plain = (argument for argument in given if isinstance(argument, ast.Name | ast.Attribute))
        handed = tuple(self._functions(self.evaluate(argument, names, module) for argument in plain))
        targets = self._targets(called)
        yield from ((target, handed) for target in targets)
        if not targets:
            yield from ((function, ()) for function in handed)

    def _targets(self, called: Value | None) -> list[str]:
        if called is None or not self._is_class(called.symbol):
            return list(self._functions([called]))
        methods = ("__call__",) if called.is_object else CALLED_WITH_CLASS
        return [member for name in methods if (member := self.find_member(called.symbol, name))]

    def _functions(self, values: Iterable[Value | None]) -> Iterator[str]:
        for value in values:
            if value and isinstance(self.definitions.get(value.symbol), FUNCTIONS):
                yield value.symbol


def module_of(symbol: str) -> str:
    """`a.b` of `a.b:C.d`."""
    return symbol.partition(":")[0]


def imported_names(node: Statement, module: Module) -> Iterator[tuple[str, str]]:
    """The names that an import binds, with what they mean."""
    if isinstance(node, ast.Import):
        yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
    else:
        base = resolve_base(node, module)
        yield from ((alias.asname or alias.name, f"{base}:{alias.name}") for alias in node.names)


def arguments_of(node: Function) -> list[ast.arg]:
    """The named parameters of a function."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def walk_statements(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """Every node below some statements, but the functions that calls name and what they are handed by name.

    Those are told by the call itself.
    """
    nodes = [node for statement in body for node in ast.walk(statement)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    told = {id(part) for call in calls for part in (call.func, *call.args, *(word.value for word in call.keywords))}
    return (node for node in nodes if id(node) not in told or isinstance(node, ast.Call))


def assignments(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Each name of a function, also `self.x`, with what it is given; in the order of the lines."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    for node in nodes:
        match node:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                yield ast.unparse(target), value
            case ast.With(items=items):
                yield from (
                    (ast.unparse(item.optional_vars), item.context_expr) for item in items if item.optional_vars
                )


def steps_optimizer(body: Iterable[ast.stmt]) -> bool:
    """Whether `optimizer.step()` stands here."""
    calls = (node.func for statement in body for node in ast.walk(statement) if isinstance(node, ast.Call))
    return any(
        isinstance(call, ast.Attribute) and call.attr == "step" and ast.unparse(call.value).endswith("optimizer")
        for call in calls
    )


def find_command(root: Path, stage: str) -> str | None:
    """The module that a stage of dvc.yaml starts with `python -m`."""
    file = root / "dvc.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    match = re.search(rf"^  {stage}:\n(?:^   .*\n)*?^    cmd:.*? -m (\S+)", text, re.M)
    return match[1] if match else None


def shortest_path(modules: Sequence[Module], start: str) -> list[str]:
    """The functions that are read from a module that is started to `optimizer.step()`; empty if none leads there."""
    program = Program(modules)
    first: Place = (f"{start}:", ())
    before: dict[Place, Place | None] = {first: None}
    queue = deque([first] if start in program.modules else [])
    while queue:
        place = queue.popleft()
        if steps_optimizer(program.body_of(place[0])):
            return walk_back(place, before)
        for following in program.next_places(place):
            if following not in before:
                before[following] = place
                queue.append(following)
    return []


def walk_back(place: Place | None, before: Mapping[Place, Place | None]) -> list[str]:
    """The path to a place, from its start."""
    path: list[str] = []
    while place is not None:
        path.append(place[0])
        place = before[place]
    return path[::-1]


def measure_hops(root: Path, modules: Sequence[Module]) -> dict[str, object]:
    """From `dvc.yaml` to `optimizer.step()`: functions, modules, and the path itself."""
    start = find_command(root, "train")
    path = shortest_path(modules, start) if start else []
    return {"functions": len(path), "modules": len({module_of(symbol) for symbol in path}), "path": path}
