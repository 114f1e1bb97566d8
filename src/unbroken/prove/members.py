"""What an object of a program holds, by name: read from its own memory, so that no code of the program runs."""

from __future__ import annotations

import contextvars
import gc
import threading
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    TracebackType,
)
from typing import Any
from weakref import ReferenceType

import numpy as np
import torch

from unbroken.prove.leaves import digest_leaf, is_leaf
from unbroken.prove.memos import MEMO, list_results, name_value
from unbroken.prove.roots import OWN_PACKAGE, is_own_module, name_module, read_locals

Members = list[tuple[str, Any]]
CONTAINERS = (dict, list, tuple, deque, set, frozenset, Namespace, SimpleNamespace)
"""What is missing in one of them is missed by nobody who reads it, as a variable or an attribute would be."""
_PLAIN = frozenset({int, float, bool, str, bytes, complex, range, slice, type(...)})
_MOST_PLACES = 64
"""In a longer list, what is a number is data, and does not keep the place of a tensor."""
_MACHINERY = (ModuleType, CodeType, FrameType, TracebackType)
_DULL = frozenset({"logging", "importlib", "typing", "re", "pathlib", "enum", "abc", "inspect"})
"""Modules of Python whose objects lead anywhere and hold nothing."""


def is_plain(thing: object) -> bool:
    """Is it a number, a text, or another value that leads nowhere?"""
    return type(thing) in _PLAIN


def list_members(thing: Any) -> Members | None:
    """Path below the thing, such as `.weight` or `['x']`, and value; None for what holds nothing of interest."""
    kind: Any = type(thing)
    if kind in _PLAIN:
        return None
    for base, reader in _READERS.items():
        if kind is base:
            return reader(thing)
    for base, reader in _FAMILIES.items():
        if issubclass(kind, base):
            is_whole = kind is base or base is threading.local
            return reader(thing) + ([] if is_whole else _list_attributes(thing))
    if issubclass(kind, type):
        return _list_class(thing)
    return _list_inside(thing) if _is_opened(kind) else None


def list_leaf_members(leaf: Any) -> Members:
    """What hangs on a tensor, an array or a generator: attributes, the mask of an array, its objects."""
    if isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
        return [(f".item{place}", value) for place, value in enumerate(leaf.ravel().tolist())]
    return [] if isinstance(leaf, np.memmap) else _list_attributes(leaf, with_defaults=False)


def _list_dict(thing: dict[Any, Any]) -> Members:
    items = [(_name_key(key, place), value) for place, (key, value) in enumerate(list(dict.items(thing)))]
    return sorted(items, key=lambda item: item[0]) if all(type(key) is str for key in dict.keys(thing)) else items


def _name_key(key: object, place: int) -> str:
    return f"[{name_value(key) or f'#{place}'}]"


def _list_sequence(thing: Any) -> Members:
    values = list(_iterate(thing))
    is_long = len(values) > _MOST_PLACES
    return [(f"[{place}]", value) for place, value in enumerate(values) if not (is_long and type(value) in _PLAIN)]


def _iterate(thing: Any) -> Iterator[Any]:
    kind = next(base for base in (list, tuple, deque) if issubclass(type(thing), base))
    return kind.__iter__(thing)


def _list_set(thing: Any) -> Members:
    # The order of a set is that of addresses.
    base = set if issubclass(type(thing), set) else frozenset
    things = [value for value in base.__iter__(thing) if type(value) not in _PLAIN]
    things.sort(key=lambda value: (type(value).__name__, digest_leaf(value) or "" if is_leaf(value) else ""))
    return [(f".item{place}", value) for place, value in enumerate(things)]


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


def _list_running(frame: FrameType | None, inner: Any) -> Members:
    if frame is None or frame.f_globals.get("__name__", "").partition(".")[0] == OWN_PACKAGE:
        return []
    found = [(f".{name}", value) for name, value in read_locals(frame).items()]
    return found if inner is None else [*found, (".yield_from", inner)]


def _list_partial(thing: partial[Any]) -> Members:
    return [(".func", thing.func), (".args", thing.args), (".keywords", thing.keywords), *_list_attributes(thing)]


def _list_class(thing: type) -> Members | None:
    if not is_own_module(name_module(thing)):
        return None
    return [(f".{name}", value) for name, value in vars(thing).items() if not name.startswith("__")]


def _list_reference(thing: ReferenceType[Any]) -> Members:
    target = ReferenceType.__call__(thing)
    return [] if target is None else [("", target)]


def _list_variable(thing: contextvars.ContextVar[Any]) -> Members:
    context = contextvars.copy_context()
    return [(".value", context[thing])] if thing in context else []


def _list_local(thing: threading.local) -> Members:
    return [(f".{name}", value) for name, value in _get_locals(thing, "__dict__").items()]


_get_locals: Callable[[Any, str], dict[str, Any]] = threading.local.__getattribute__
_READERS: dict[type, Callable[[Any], Members]] = {
    FunctionType: _list_function,
    GeneratorType: lambda generator: _list_running(generator.gi_frame, generator.gi_yieldfrom),
    CoroutineType: lambda coroutine: _list_running(coroutine.cr_frame, coroutine.cr_await),
    AsyncGeneratorType: lambda generator: _list_running(generator.ag_frame, generator.ag_await),
    MethodType: lambda method: [("", method.__self__), ("", method.__func__)],
    BuiltinMethodType: lambda method: [("", method.__self__)],
    MEMO: list_results,
    contextvars.ContextVar: _list_variable,
    contextvars.Context: lambda context: [(f"[{var.name}]", value) for var, value in context.items()],
}
_FAMILIES: dict[type, Callable[[Any], Members]] = {
    dict: _list_dict,
    **dict.fromkeys((list, tuple, deque), _list_sequence),
    **dict.fromkeys((set, frozenset), _list_set),
    partial: _list_partial,
    ReferenceType: _list_reference,
    threading.local: _list_local,
}


@cache
def _is_opened(kind: type) -> bool:
    package = name_module(kind).partition(".")[0]
    return package != OWN_PACKAGE and package not in _DULL and not issubclass(kind, _MACHINERY)


def _list_inside(thing: Any) -> Members:
    """Attributes, and what a type that is written in C holds beside them."""
    attributes = _list_attributes(thing)
    known = {id(value) for _, value in attributes} | _find_attribute_ids(thing)
    held = [each for each in gc.get_referents(thing) if id(each) not in known and not issubclass(type(each), type)]
    return attributes + [(f".{place}", each) for place, each in enumerate(held) if type(each) not in _PLAIN]


def _find_attribute_ids(thing: Any) -> set[int]:
    own = _read_dict(thing)
    return {id(own), *map(id, own.values())}


def _read_dict(thing: Any) -> Mapping[str, Any]:
    try:
        return object.__getattribute__(thing, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:
        return {}


def _list_attributes(thing: Any, with_defaults: bool = True) -> Members:
    kind: Any = type(thing)
    own = _read_dict(thing)
    if issubclass(kind, torch.nn.Module):
        own = dict(_flatten_module(own))
    if issubclass(kind, torch.fx.GraphModule):  # what torch.compile has made of a module, say, and noted about it
        own = {name: value for name, value in own.items() if is_leaf(value) or isinstance(value, torch.nn.Module)}
    if issubclass(kind, torch.optim.Optimizer):  # torch adds to what a new group gets whenever it loads a state
        own = {name: value for name, value in own.items() if name != "defaults"}
    defaults = {name: None for name in _list_none_defaults(kind) if name not in own} if with_defaults else {}
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
