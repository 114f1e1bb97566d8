"""What a program holds beside its state, compared between an undisturbed and an interrupted run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_Line = Mapping[str, Any]


@dataclass(frozen=True)
class LostObject:
    """An object beside the state that ends otherwise when the run is interrupted."""

    path: str
    kind: str
    places: Sequence[str]
    """Where in it."""
    is_metric: bool = False
    """It is reset before it is read, or is a list of numbers that only grows: seen, not judged."""
    is_declared: bool = False

    @property
    def has_failed(self) -> bool:
        """Does it stand against a certificate?"""
        return not self.is_metric and not self.is_declared

    def describe(self) -> str:
        """The finding, for the table."""
        judged = "declared: " if self.is_declared else "not judged: " if self.is_metric else ""
        more = f" and {len(self.places) - 1} more" if len(self.places) > 1 else ""
        return f"{judged}{self.kind}, not in the state; ends otherwise after interruptions at {self.places[0]}{more}"

    def matches(self, word: str) -> bool:
        """Is it what is declared: by its type, its path, or a part of the path that stands on its own?"""
        names = [self.path, *self.places]
        return word == self.kind.partition(" ")[0] or any(_leads_through(name, word) for name in names)


def _leads_through(path: str, word: str) -> bool:
    return re.search(rf"(?:^|\.){re.escape(word)}(?:$|[.\[(])", path) is not None


def find_lost_objects(reference: Sequence[_Line], run: Sequence[_Line]) -> list[LostObject]:
    """Objects beside the state that do not end alike, by the censuses of both runs.

    What differs already between two starts that nothing has interrupted, such as a clock, is left out.
    """
    ends = [next((line for line in reversed(lines) if line["final"]), None) for lines in (reference, run)]
    if ends[0] is None or ends[1] is None or ends[0]["step"] != ends[1]["step"]:
        return []
    return list(_compare_ends(ends[0], ends[1], _find_unsteady(reference, run)))


def _find_unsteady(reference: Sequence[_Line], run: Sequence[_Line]) -> set[str]:
    before = {line["step"]: line["entries"] for line in reference}
    fresh = [line for line in run if line["begun"] == 0 and not line["final"] and line["step"] in before]
    return {
        path
        for line in fresh
        for path, entry in line["entries"].items()
        if before[line["step"]].get(path, entry)[-1] != entry[-1]
    }


def _compare_ends(first: _Line, second: _Line, unsteady: set[str]) -> Iterator[LostObject]:
    contents = {_content_of(entries) for entries in _group_by_owner(second["entries"]).values()}
    for owner, entries in sorted(_group_by_owner(first["entries"]).items()):
        places = [path for path in sorted(entries) if path not in unsteady and _is_lost(path, first, second)]
        if places and _content_of(entries) not in contents:
            kind = entries[places[0]][1]
            is_noted = owner in first["metrics"] or all(_is_log(place, first, second) for place in places)
            yield LostObject(owner, kind, places, is_noted)


def _group_by_owner(entries: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Sequence[str]]]:
    groups: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for path, entry in entries.items():
        groups[entry[0]][path] = entry
    return groups


def _content_of(entries: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    # The same object may be met under another name.
    return next(iter(entries.values()))[1], tuple(sorted(entry[-1] for entry in entries.values()))


def _is_lost(path: str, first: _Line, second: _Line) -> bool:
    owner, digest = first["entries"][path][0], first["entries"][path][-1]
    other = second["entries"].get(path)
    if other is not None:
        return bool(other[-1] != digest)
    # A variable of a branch that was not taken again is no loss; a best model that is None again is one.
    return owner in first["trained"] or any(prefix in second["empty"] for prefix in _prefixes_of(path))


def _is_log(place: str, first: _Line, second: _Line) -> bool:
    """Is it a number in a list that grows from the start of a process on, such as losses for the console?"""
    grows = any(first["lengths"].get(prefix) != second["lengths"].get(prefix) for prefix in _prefixes_of(place))
    return grows and first["entries"][place][2].endswith("()")


def _prefixes_of(path: str) -> Iterator[str]:
    yield path
    for match in re.finditer(r"[.\[]", path):
        yield path[: match.start()]
