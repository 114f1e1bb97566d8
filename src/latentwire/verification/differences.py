"""The first difference between two versions of a file, in words."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import pandas as pd

TEXT = (".tex", ".csv", ".md", ".html", ".svg", ".jsonl", ".txt", ".bib")
KEYS = ["method", "model", "task", "seed", "example_id"]
CLOSE = 1e-8
"""By how much, relatively, a sum may differ between builds of the same libraries."""
ABSENT = object()


def first_difference(name: str, before: bytes, after: bytes, published: str = "published") -> str:
    """The first difference, for example `line 3 is 'b', published 'a'`; `name` tells the kind of file."""
    if name.endswith(".parquet"):
        return _difference_in_tables(_frame(before), _frame(after), published)
    if name.endswith(".json"):
        return _difference_in_json(before, after, published)
    if name.endswith(TEXT):
        return _difference_in_lines(before.decode(), after.decode(), published)
    return f"{len(after)} bytes here, {len(before)} bytes {published}, and they differ"


def json_differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, before, after) of every leaf that is not the same; ABSENT stands for nothing."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from json_differences(
                before.get(key, ABSENT), after.get(key, ABSENT), f"{path} › {key}" if path else key
            )
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from json_differences(old, new, f"{path}[{index}]")
    elif type(before) is not type(after) or before != after:
        yield path, before, after


def nearly_equal(before: Any, after: Any) -> bool:
    """Whether two leaves are equal up to the last digits of a sum."""
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    if not numbers or isinstance(before, bool) or isinstance(after, bool):
        return False
    return bool(abs(before - after) <= CLOSE * max(1.0, abs(before), abs(after)))


def format_leaf(value: Any) -> str:
    """A leaf as it appears in a sentence."""
    if value is ABSENT:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _difference_in_json(before: bytes, after: bytes, published: str) -> str:
    try:
        old, new = json.loads(before), json.loads(after)
    except ValueError as error:
        return f"it is not JSON ({error})"
    for path, was, now in json_differences(old, new):
        return f"{path} is {format_leaf(now)}, {published} {format_leaf(was)}"
    return "the same values are written in another way"


def _difference_in_lines(before: str, after: str, published: str) -> str:
    pairs = zip_longest(before.splitlines(), after.splitlines())
    for number, (was, now) in enumerate(pairs, 1):
        if was != now:
            return f"line {number} is {_part(now, was)}, {published} {_part(was, now)}"
    return "the line ends differ"


def _part(line: str | None, other: str | None) -> str:
    """The part of a line around its first difference from the other."""
    if line is None:
        return "missing"
    start = next((i for i, (a, b) in enumerate(zip(line, other or "", strict=False)) if a != b), len(other or ""))
    begin = max(0, start - 30)
    return repr(line[begin : start + 30].strip())


def _frame(data: bytes) -> pd.DataFrame | None:
    try:
        return pd.read_parquet(io.BytesIO(data))
    except (OSError, ValueError):
        return None


def _difference_in_tables(before: pd.DataFrame | None, after: pd.DataFrame | None, published: str) -> str:
    if before is None or after is None:
        return "it is not a Parquet file" if after is None else f"the {published} one is not a Parquet file"
    if list(before.columns) != list(after.columns) or len(before) != len(after):
        return (
            f"{len(after)} rows of {', '.join(map(str, after.columns))}; "
            f"{published} {len(before)} rows of {', '.join(map(str, before.columns))}"
        )
    keys = [key for key in KEYS if key in before.columns]
    for column in before.columns:
        unequal = [i for i, (a, b) in enumerate(zip(before[column], after[column], strict=True)) if not _same(a, b)]
        if unequal:
            row = unequal[0]
            who = ", ".join(f"{key} {before[key].iloc[row]}" for key in keys if key != column)
            was, now = before[column].iloc[row], after[column].iloc[row]
            return f"row {row} ({who}) has {column} {_cell(now)}, {published} {_cell(was)}; {len(unequal)} such rows"
    return "the same rows are written in another way"


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "tolist") or hasattr(b, "tolist"):
        return _cell(a) == _cell(b)
    return bool(pd.isna(a) and pd.isna(b)) or a == b


def _cell(value: Any) -> str:
    return format_leaf(value.tolist() if hasattr(value, "tolist") else value)
