"""Where two states differ, in words whose length is bounded, whatever the states hold."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.checkpoint.traits import TRAITS, flatten_traits
from unbroken.errors import TEXT_WIDTH, shorten_text

_NAMED = 3
_MAPPINGS = {"dict", "ordered", "counter", "defaultdict"}
_WORDS = {"lost": "{first} is gone", "gained": "{second} is new", "changed": "{first} became {second}"}

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxstring = _short.maxother = _short.maxlong = TEXT_WIDTH


@dataclass(frozen=True)
class ValueDifference:
    """One value of two trees. `gained`: only the second has the key; `lost`: only the first."""

    path: str
    kind: Literal["changed", "lost", "gained"]
    first: JSON = None
    second: JSON = None

    def __str__(self) -> str:
        words = _WORDS[self.kind].format(first=shorten_repr(self.first), second=shorten_repr(self.second))
        return f"value {self.path} ({words})"


def shorten_repr(value: object) -> str:
    """`repr` of a value of any size, in `TEXT_WIDTH` characters; what is long is cut before it is written."""
    return shorten_text(_short.repr(value))


def name_places(places: Sequence[str]) -> str:
    """The first places, and how many there are besides."""
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return ", ".join(shorten_text(place, 3 * TEXT_WIDTH) for place in places[:_NAMED]) + more


def compare_states(
    first: JSON, first_digests: Mapping[str, str], second: JSON, second_digests: Mapping[str, str]
) -> list[str]:
    """Places at which two states differ: tensors by name, then values by path. Empty when they are equal."""
    names = sorted(first_digests.keys() | second_digests.keys())
    tensors = [f"tensor {name}" for name in names if first_digests.get(name) != second_digests.get(name)]
    return [*tensors, *map(str, compare_values(first, second)), *compare_traits(first, second)]


def compare_traits(first: JSON, second: JSON) -> list[str]:
    """Places at which the traits of two trees differ."""
    before, after = flatten_traits(first), flatten_traits(second)
    return [
        f"value {place} ({shorten_repr(before.get(place))} became {shorten_repr(after.get(place))})"
        for place in sorted(before.keys() | after.keys())
        if before.get(place) != after.get(place)
    ]


def compare_values(first: JSON, second: JSON) -> list[ValueDifference]:
    """Values of two trees that differ, traits aside."""
    before, after = (list(_without_traits(tree).items()) for tree in (first, second))
    return list(_compare_items(before, after, ""))


def state_part(place: str) -> str:
    """The object that a place of `compare_states` belongs to."""
    return place.split(" ", 1)[1].removeprefix(f"{TRAITS}/").split("/", 1)[0].split(" ", 1)[0]


def _without_traits(tree: Any) -> dict[str, JSON]:
    return {part: tree[part] for part in sorted(tree) if part != TRAITS}


def _compare_nodes(first: JSON, second: JSON, path: str) -> Iterator[ValueDifference]:
    if encode_canonical([first]) == encode_canonical([second]):
        return
    if (items := _items_of(first)) is not None and (others := _items_of(second)) is not None:
        yield from _compare_fields(_all_but_items(first), _all_but_items(second), path)
        yield from _compare_items(items, others, path)
    elif isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        yield from _compare_fields(first, second, path)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, (before, after) in enumerate(zip(first, second, strict=True)):
            yield from _compare_nodes(before, after, f"{path}/{index}")
    else:
        yield ValueDifference(path.lstrip("/"), "changed", first, second)


def _items_of(node: Any) -> Any:
    """Of an encoded mapping; None: it is none."""
    return node["items"] if isinstance(node, dict) and node.get("$") in _MAPPINGS else None


def _all_but_items(node: Any) -> dict[str, JSON]:
    return {key: value for key, value in node.items() if key != "items"}


def _compare_fields(first: Mapping[str, JSON], second: Mapping[str, JSON], path: str) -> Iterator[ValueDifference]:
    for key in sorted(first.keys() | second.keys()):
        place = path if key in ("items", "$") else f"{path}/{key}"
        yield from _compare_nodes(first.get(key), second.get(key), place)


def _compare_items(first: Any, second: Any, path: str) -> Iterator[ValueDifference]:
    before, after = ({encode_canonical([key]): (key, value) for key, value in items} for items in (first, second))
    for code, (key, value) in before.items():
        place = f"{path}/{key if isinstance(key, str | int) else shorten_repr(key)}"
        if code in after:
            yield from _compare_nodes(value, after[code][1], place)
        else:
            yield ValueDifference(place.lstrip("/"), "lost", first=value)
    for code, (key, value) in after.items():
        if code not in before:
            place = f"{path}/{key if isinstance(key, str | int) else shorten_repr(key)}"
            yield ValueDifference(place.lstrip("/"), "gained", second=value)
    if [code for code in before if code in after] != [code for code in after if code in before]:
        yield ValueDifference(path.lstrip("/"), "changed", [key for key, _ in first], [key for key, _ in second])
