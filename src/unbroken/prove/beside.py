"""What a program holds beside its state, compared between an undisturbed and an interrupted run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unbroken.prove.containers import CONTENTS

_Line = Mapping[str, Any]
_Content = tuple[str, tuple[str, ...]]


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
    is_in_state: bool = False
    """It is an object of the state, whose `state_dict` leaves this out, as that of a module does with some buffers."""

    @property
    def has_failed(self) -> bool:
        """Does it stand against a certificate?"""
        return not self.is_metric and not self.is_declared

    def describe(self) -> str:
        """The finding, for the table."""
        judged = "declared: " if self.is_declared else "not judged: " if self.is_metric else ""
        more = f" and {len(self.places) - 1} more" if len(self.places) > 1 else ""
        where = "not in its `state_dict`" if self.is_in_state else "not in the state"
        return f"{judged}{self.kind}, {where}; ends otherwise after interruptions at {self.places[0]}{more}"

    def advise(self) -> str:
        """What to do about it."""
        if not self.is_in_state:
            return f"put it into `state`, or declare that it has no effect with --stateless {self.path}"
        return (
            f"`{self.path}` is in the state, but its `state_dict` does not give this: register the buffer without "
            "`persistent=False`, or keep the value in a dict of the state; or declare that it has no effect with "
            f"--stateless {','.join(self.places)}"
        )

    def matches(self, word: str) -> bool:
        """Is it what is declared: by its type, its path, or a part of the path that stands on its own?"""
        names = [self.path, *self.places]
        return word == self.kind.partition(" ")[0] or any(_leads_through(name, word) for name in names)

    def is_part_of_state(self, parts: Collection[str]) -> bool:
        """Is it a part of the state and no more, such as a generator? Then the states have been compared."""
        return self.path in parts and list(self.places) == [self.path]

    def declare(self, words: Sequence[str], parts: Collection[str]) -> LostObject:
        """Itself, judged by what the user says has no effect.

        Args:
            words: What is declared.
            parts: Names in the state; an object of the state is declared place by place, since the rest of it matters.
        """
        if self.path not in parts:
            return replace(self, is_declared=any(map(self.matches, words)))
        left = [place for place in self.places if not any(_leads_through(place, word) for word in words)]
        return replace(self, places=left or self.places, is_declared=not left, is_in_state=True)


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
    moved = _list_moved_contents(first, second)
    named: list[LostObject] = []
    for owner, entries in sorted(_group_by_owner({**second["entries"], **first["entries"]}).items()):
        places = [path for path in sorted(entries) if path not in unsteady and _is_lost(path, first, second)]
        if places and _content_of(entries) not in moved and not _is_part_of(owner, named, second):
            is_noted = owner in first["metrics"] or all(_is_log(place, first, second) for place in places)
            named.append(LostObject(owner, entries[places[0]][1], places, is_noted))
    yield from named


def _list_moved_contents(first: _Line, second: _Line) -> set[_Content]:
    """What the second run has under names under which the first has it not: the same object may be met elsewhere."""
    before, after = (_group_by_owner(line["entries"]) for line in (first, second))
    contents = {owner: _content_of(entries) for owner, entries in after.items()}
    moved = {content for owner, content in contents.items() if _content_of(before.get(owner, {})) != content}
    return {content for content in moved if content[1]}


def _is_part_of(owner: str, named: Sequence[LostObject], second: _Line) -> bool:
    """Is it an entry of what is named already: missing, or another one in a list that is shorter?"""
    around = {place for lost in named if not lost.is_metric for place in lost.places}
    return any(
        prefix in around and (owner not in second["entries"] or prefix in second["lengths"])
        for prefix in _prefixes_of(owner)
    )


def _group_by_owner(entries: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Sequence[str]]]:
    groups: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for path, entry in entries.items():
        groups[entry[0]][path] = entry
    return groups


def _content_of(entries: Mapping[str, Sequence[str]]) -> _Content:
    """Type of the owner and digests of its values; there are none where entries may be missing."""
    kinds = {entry[1] for entry in entries.values()}
    is_open = any(entry[2] in CONTENTS for entry in entries.values())
    return "".join(kinds), () if is_open else tuple(sorted(entry[-1] for entry in entries.values()))


def _is_lost(path: str, first: _Line, second: _Line) -> bool:
    one, other = first["entries"].get(path), second["entries"].get(path)
    if one is not None and other is not None:
        return bool(other[-1] != one[-1])
    # A variable of a branch that was not taken again is no loss; a best model that is None again is one, and so is
    # what was taken from a list in a step that nobody repeats.
    present, absent = (first, second) if one is not None else (second, first)
    is_forgotten = present is first and first["entries"][path][0] in first["trained"]
    return is_forgotten or any(prefix in absent["empty"] for prefix in _prefixes_of(path))


def _is_log(place: str, first: _Line, second: _Line) -> bool:
    """Is it a number in a list that grows from the start of a process on, such as losses for the console?

    So is a container of that which is not compared, such as numbers and texts of Python.
    """
    entries = [line["entries"][place] for line in (first, second) if place in line["entries"]]
    if all(entry[2] == CONTENTS[0] for entry in entries):
        return True
    grows = any(first["lengths"].get(prefix) != second["lengths"].get(prefix) for prefix in _prefixes_of(place))
    return grows and all(entry[2].endswith("()") or entry[2] == CONTENTS[0] for entry in entries)


def _prefixes_of(path: str) -> Iterator[str]:
    yield path
    for match in re.finditer(r"[.\[]", path):
        yield path[: match.start()]
