"""Nested parameters and statistics under the flat names that MLflow allows."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from latentwire.tracking.store import TrackingError

LONGEST_PARAM = 6000  # characters, MLflow's limit
LONGEST_NAME = 250  # characters, MLflow's limit


def flatten_params(params: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """{"train": {"lr": 0.1}} → {"train.lr": "0.1"}; lists stay whole, as JSON; too long values are cut."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{safe_name(str(key))}"
        if isinstance(value, Mapping):
            flat.update(flatten_params(value, f"{name}."))
        else:
            flat[shorten_text(name, LONGEST_NAME)] = shorten_text(_param_text(value), LONGEST_PARAM)
    return flat


def _param_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flatten_numbers(tree: object) -> dict[str, float]:
    """Every finite number of a JSON tree under a name like "cells.wire-r8.mean"; truth values become 0 and 1.

    An entry of a list is called by its own texts if these tell all entries apart, else by its index. None, texts and
    non-finite numbers have no place among metrics.

    Raises:
        TrackingError: Two numbers would get the same name.
    """
    flat: dict[str, float] = {}
    for path, value in _numbers(tree, ()):
        name = shorten_text(".".join(path), LONGEST_NAME)
        if name in flat:
            raise TrackingError(
                f"Two statistics are called '{name}' in the alphabet of MLflow's names, expected different "
                "ones, in results/aggregate/stats.json. Next: rename one of them and run `dvc repro aggregate`."
            )
        flat[name] = value
    return flat


def _numbers(tree: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(tree, bool | int | float):
        if math.isfinite(tree):
            yield path or ("value",), float(tree)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _numbers(value, (*path, safe_name(str(key))))
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        for label, value in zip(_labels(tree), tree, strict=True):
            yield from _numbers(value, (*path, label))


def _labels(entries: Sequence[object]) -> list[str]:
    """A name for each entry of a list."""
    labels = [safe_name("-".join(_texts(entry))) for entry in entries]
    if all(_texts(entry) for entry in entries) and len(set(labels)) == len(labels):
        return labels
    return [str(index) for index in range(len(entries))]


def _texts(entry: object) -> list[str]:
    return [value for value in entry.values() if isinstance(value, str)] if isinstance(entry, Mapping) else []


@cache
def metric_name(key: str) -> str:
    """The name of a journal's metric; "/" makes groups, as in MLflow."""
    return shorten_text("/".join(safe_name(part) for part in key.split("/")), LONGEST_NAME)


def safe_name(text: str) -> str:
    """`text` with every character that MLflow refuses in one part of a name replaced by "_"."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-. ") else "_" for c in text)
    return "_" if not safe.strip(".") else safe  # "", "." and ".." would be read as steps of a path


def shorten_text(text: str, longest: int) -> str:
    """`text`, or its beginning and its digest where it is longer than `longest` (at least 50) characters."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 33]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
