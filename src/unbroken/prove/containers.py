"""Which objects are the program's own, and how many entries the containers among them have."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any

from unbroken.prove.leaves import describe_leaf
from unbroken.prove.members import CONTAINERS, Members
from unbroken.prove.memos import MEMO
from unbroken.prove.roots import TRAINED, is_own_code, is_own_module, is_standard_module, name_module

CONTENTS = ("entries without values", "entries ()", "entries")
"""What a container is called in a census, by what is in it: nothing that is compared, single numbers, more."""
_SIZED = (list, tuple, deque, set, frozenset)
_CODES: dict[type, str] = {
    FunctionType: "__code__",
    GeneratorType: "gi_code",
    CoroutineType: "cr_code",
    AsyncGeneratorType: "ag_code",
}


def belongs_to_program(thing: Any, inherited: bool) -> bool:
    """Is what it holds made by the program's own code, and not the cache of a library?

    Args:
        thing: Any object.
        inherited: Whether what leads to it does: a list is its owner's.
    """
    kind = type(thing)
    if kind in _CODES:
        return is_own_code(getattr(thing, _CODES[kind]))
    if kind is MEMO:
        return False
    if issubclass(kind, type):
        return is_own_module(name_module(thing))
    module = name_module(kind)
    is_own = issubclass(kind, TRAINED) or is_own_module(module)
    return is_own or (inherited and is_standard_module(module))


def is_container(thing: object) -> bool:
    """Does it hold any number of entries?"""
    return issubclass(type(thing), CONTAINERS)


def count_entries(thing: Any, members: Members) -> tuple[int, str]:
    """How many entries it has, and a digest of their names, or of their number where they have none."""
    names = _name_entries(thing, members)
    if names is not None:
        return len(names), hashlib.sha256(repr(sorted(names)).encode()).hexdigest()[:16]
    length = next(base for base in _SIZED if issubclass(type(thing), base)).__len__(thing)
    return length, str(length)


def _name_entries(thing: Any, members: Members) -> list[str] | None:
    if issubclass(type(thing), dict):
        return [name for name, _ in members if name.startswith("[")]
    return None if issubclass(type(thing), _SIZED) else [name for name, _ in members]


def stands_for_nothing(thing: Any) -> bool:
    """Is it a number or a text that a program begins with: False, 0, "", or one that is not finite?"""
    return not thing or (type(thing) is float and not math.isfinite(thing))


class ContainerTable:
    """Containers of a program, and what is in them: no value, only single ones, or more."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._parents: dict[str, str] = {}
        self._levels: dict[str, int] = {}
        self._links: list[tuple[str, str]] = []

    def add_object(self, path: str, parent: str) -> None:
        """An object was met, and what leads to it."""
        self._parents.setdefault(path, parent)  # a method and its object have one path

    def add_container(self, path: str, facts: list[str]) -> None:
        """An object of this path is a container: path and type of its owner, and a digest of its entries."""
        self._found[path] = facts

    def add_link(self, parent: str, path: str) -> None:
        """From `parent` one comes to what was met before under another path."""
        self._links.append((parent, path))

    def note_leaf(self, parent: str, leaf: Any) -> None:
        """A tensor, array, buffer or generator is in this object, and so in those that lead to it."""
        self._raise_level(parent, 1 if describe_leaf(leaf).endswith("()") else 2)

    def _raise_level(self, path: str, level: int) -> bool:
        """Returns whether that is news."""
        is_new = False
        while path in self._parents and self._levels.get(path, 0) < level:
            self._levels[path], path, is_new = level, self._parents[path], True
        return is_new

    def write_entries(self) -> dict[str, list[str]]:
        """As entries of a census."""
        while sum(self._raise_level(parent, self._levels.get(path, 0)) for parent, path in self._links):
            pass  # one link may lead to another
        return {
            path: [owner, kind, CONTENTS[self._levels.get(path, 0)], digest]
            for path, (owner, kind, digest) in self._found.items()
        }
