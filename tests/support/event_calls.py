"""The events that the source writes, with their fields, as far as its syntax tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

EVENTS = "unbroken/run_folder/events.py"


def read_event_calls(src: Path) -> dict[str, set[str]]:
    """Event → names of the fields that every call of `Events.add` for it passes, besides those of each line.

    What is unpacked into a call is followed: a name to the dictionaries that its function assigns to it, a call to
    those that a function of that name returns, an attribute to the arguments of that name, with or without underscore.

    Raises:
        ValueError: Something that is unpacked leads to no dictionary.
    """
    modules = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(src.rglob("*.py"))]
    events: dict[str, set[str]] = {}
    for module in modules:
        for function in _functions(module):
            for event, call in _event_calls(function):
                fields = events.setdefault(event, set())
                for keyword in call.keywords:
                    fields |= {keyword.arg} if keyword.arg else _keys(keyword.value, function, modules)
    return events


def base_fields(src: Path) -> set[str]:
    """Fields of every event: the dictionary that `Events.add` begins with."""
    module = ast.parse((src / EVENTS).read_text(encoding="utf-8"))
    (add,) = (function for function in _functions(module) if function.name == "add")
    entry = next(node for node in ast.walk(add) if isinstance(node, ast.Dict))
    return {str(key.value) for key in entry.keys if isinstance(key, ast.Constant)}


def _functions(module: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef))


def _event_calls(function: ast.FunctionDef) -> Iterator[tuple[str, ast.Call]]:
    """Calls of `add` on something that is named events, with their first argument."""
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="add", value=owner), args=[ast.Constant(value=str(event))]):
                if _name(owner).endswith("events"):
                    yield event, node


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _keys(value: ast.expr, function: ast.FunctionDef, modules: list[ast.Module]) -> set[str]:
    """Keys of the dictionary that an expression within a function gives."""
    if isinstance(value, ast.Dict):
        keys: set[str] = set()
        for key, inner in zip(value.keys, value.values, strict=True):
            keys |= {str(key.value)} if isinstance(key, ast.Constant) else _keys(inner, function, modules)
        return keys
    sources = list(_sources(value, function, modules))
    if not sources:
        raise ValueError(f"{ast.unparse(value)} in {function.name}: no dictionary was found that it stands for")
    return set().union(*(_keys(source, owner, modules) for source, owner in sources))


def _sources(
    value: ast.expr, function: ast.FunctionDef, modules: list[ast.Module]
) -> Iterator[tuple[ast.expr, ast.FunctionDef]]:
    """The expressions that an expression may stand for, each with the function that it stands in."""
    if isinstance(value, ast.Name):
        yield from ((assigned, function) for assigned in _assigned(function, value.id))
        return
    for module in modules:
        for owner in _functions(module):
            if isinstance(value, ast.Call) and owner.name == _name(value.func):
                yield from ((n.value, owner) for n in ast.walk(owner) if isinstance(n, ast.Return) and n.value)
            if isinstance(value, ast.Attribute):
                calls = (node for node in ast.walk(owner) if isinstance(node, ast.Call))
                passed = (keyword for call in calls for keyword in call.keywords)
                yield from ((k.value, owner) for k in passed if k.arg == value.attr.lstrip("_"))


def _assigned(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(_name(target) == name for target in node.targets):
            yield node.value
