"""What an object of a program holds, by name: read from its own memory, so that no code of the program runs."""

from __future__ import annotations

import gc
import itertools
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from types import (
    BuiltinMethodType,
    FunctionType,
    GeneratorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import torch

from unbroken.prove.roots import OWN_PACKAGE, is_own_module, is_standard_module, name_module, read_locals

Members = list[tuple[str, Any]]
_ITERATORS: list[type] = [
    *(type(iter([])), type(iter(())), type(iter({})), type(iter({}.values())), type(iter({}.items()))),
    *(zip, map, filter, enumerate, reversed),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
]
_HOLDERS = (Namespace, SimpleNamespace)
"""Types of the standard library that hold what a program gives them; others are of no interest."""


def list_members(thing: Any) -> Members | None:
    """Path below the thing, such as `.weight` or `['x']`, and value; None for what holds nothing of interest."""
    kind: Any = type(thing)
    if issubclass(kind, dict):
        return [(_name_key(key, place), value) for place, (key, value) in enumerate(list(dict.items(thing)))] + (
            [] if kind is dict else _list_attributes(thing)
        )
    if issubclass(kind, list | tuple | deque):
        return [(f"[{place}]", value) for place, value in enumerate(tuple(thing))]
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(thing)
    if issubclass(kind, type):
        return _list_class(thing)
    return _list_attributes(thing) if _is_opened(kind) else None


def _name_key(key: object, place: int) -> str:
    return f"[{key!r}]" if isinstance(key, str | int) else f"[#{place}]"


def _list_function(function: FunctionType) -> Members:
    names, defaults = function.__code__.co_freevars, function.__defaults__ or ()
    cells = [(name, cell) for name, cell in zip(names, function.__closure__ or (), strict=True) if _is_filled(cell)]
    return [
        *((f".{name}", cell.cell_contents) for name, cell in cells),
        *((f".default{place}", value) for place, value in enumerate(defaults)),
        *((f".{name}", value) for name, value in {**(function.__kwdefaults__ or {}), **vars(function)}.items()),
    ]


def _is_filled(cell: Any) -> bool:
    return bool(gc.get_referents(cell))


def _list_generator(generator: GeneratorType[Any, Any, Any]) -> Members:
    inner = [(".yield_from", generator.gi_yieldfrom)] if generator.gi_yieldfrom is not None else []
    frame = generator.gi_frame
    if frame is None or frame.f_globals.get("__name__", "").partition(".")[0] == OWN_PACKAGE:
        return []
    return [*((f".{name}", value) for name, value in read_locals(frame).items()), *inner]


def _list_partial(thing: partial[Any]) -> Members:
    return [(".func", thing.func), (".args", thing.args), (".keywords", thing.keywords)]


def _list_class(thing: type) -> Members | None:
    if not is_own_module(name_module(thing)):
        return None
    return [(f".{name}", value) for name, value in vars(thing).items() if not name.startswith("__")]


def _list_referents(thing: Any) -> Members:
    return [(f".{place}", value) for place, value in enumerate(gc.get_referents(thing))]


_READERS: dict[type, Callable[[Any], Members]] = {
    FunctionType: _list_function,
    GeneratorType: _list_generator,
    MethodType: lambda method: [("", method.__self__), ("", method.__func__)],
    BuiltinMethodType: lambda method: [("", method.__self__)],
    partial: _list_partial,
    **dict.fromkeys(_ITERATORS, _list_referents),
}


@cache
def _is_opened(kind: type) -> bool:
    package = name_module(kind).partition(".")[0]
    if package == OWN_PACKAGE or issubclass(kind, ModuleType):
        return False
    return issubclass(kind, _HOLDERS) or not is_standard_module(package)


def _list_attributes(thing: Any) -> Members:
    kind: Any = type(thing)
    try:
        own: Mapping[str, Any] = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        own = {}
    if issubclass(kind, torch.nn.Module):
        own = dict(_flatten_module(own))
    defaults = {name: None for name in _list_none_defaults(kind) if name not in own}
    found = [(f".{name}", value) for name, value in [*own.items(), *defaults.items()]]
    return found + [(f".{name}", value) for name, value in _read_slots(kind, thing)]


@cache
def _list_none_defaults(kind: type) -> list[str]:
    # Of a class that says `best = None`, an object has no `best` of its own until there is one.
    return [name for base in kind.__mro__ for name, value in vars(base).items() if value is None and name[:2] != "__"]


def _flatten_module(own: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in own.items():
        if name in ("_parameters", "_buffers", "_modules"):
            yield from value.items()
        else:
            yield name, value


def _read_slots(kind: type, thing: Any) -> Iterator[tuple[str, Any]]:
    for base in kind.__mro__:
        for name, slot in vars(base).items() if "__slots__" in vars(base) else ():
            if isinstance(slot, MemberDescriptorType):
                try:
                    yield name, slot.__get__(thing)
                except AttributeError:  # not set
                    continue
