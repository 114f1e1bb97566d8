"""What has no uncertainty in `stats.json`: it is equal in two runs of one procedure, or they are not two runs of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from latentwire.verification.differences import ABSENT, format_leaf, json_differences

FOLLOWS = {
    "cells": {"value", "low", "high", "df", "variance", "shares", "per_seed", "signature"},
    "averages": {"value", "low", "high", "df", "variance", "shares", "reason", "signature"},
    "comparisons": {
        "value", "low", "high", "p", "mde", "reason", "df", "variance", "shares", "effects", "ratio", "outcome",
        "p_low", "p_high", "posterior", "checkpoint", "single", "improvement", "bootstrap", "verdict", "signature",
        "by_task", "signs_differ", "metrics", "opposed",
    },
    "classes": {"said", "recall", "never_right"},
    "controls": {
        "value", "low", "high", "df", "variance", "shares", "accuracy", "expected", "p", "reason", "verdict", "mde",
        "signature",
    },
    "unseen": {
        "value", "low", "high", "df", "variance", "shares", "per_seed", "expected", "p", "reason", "verdict", "mde",
        "signature",
    },
    "calibration": {"value", "low", "high", "df", "bins"},
    "disagreements": {"counts", "samples"},
    "ranks": {"methods", "friedman", "pairs"},
    "blocks": {"best", "tied", "ranks", "dominated"},
    "sources": {"sha256", "checkpoint"},
    "runs": {"identity", "checkpoint", "journal", "numerics_changed", "slots", "signature"},
}  # fmt: skip
"""Section of `stats.json` → the keys in it that follow from answers and weights. All others must be equal."""

ENTRIES = FOLLOWS.keys() - {"blocks"}
"""Sections that hold entries by their ids."""

KINDS = re.compile(r"(ci|p|weights|journal):[^|]*")
"""The parts of a signature that follow from the answers: an interval near the end of its scale is of another kind."""

Fact = tuple[str, str]
"""The id of the entry that it belongs to, empty for all of them, and the sentence."""


def unequal_facts(published: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Fact]:
    """What is not equal though it has no uncertainty, in two versions of `stats.json`."""
    for path, was, now in json_differences(published, here):
        section, *keys = re.split(r" › |\[\d+\]", path)
        if not _follows(section, keys, was, now):
            yield (keys[0] if section in ENTRIES and keys else ""), _format_fact(path, was, now)


def _follows(section: str, keys: list[str], was: Any, now: Any) -> bool:
    """Whether a difference in this place comes from other answers."""
    inside = keys[1:]
    free = FOLLOWS.get(section, set()) & set(inside)
    if not free or _lost(inside, free, was, now):
        return False
    return inside[-1] != "signature" or _procedure(was) == _procedure(now)


def _format_fact(path: str, was: Any, now: Any) -> str:
    if now is ABSENT:
        return f"{path} was published, and is not here"
    if was is ABSENT:
        return f"{path} is here, and was not published"
    return f"{path} is {format_leaf(now)}, published {format_leaf(was)}, and must be equal"


def _lost(inside: list[str], free: set[str], was: Any, now: Any) -> bool:
    """Whether a key is missing on one side that every run of this procedure writes."""
    return (was is ABSENT or now is ABSENT) and (inside[-1] in free or "per_seed" in free)


def _procedure(signature: Any) -> str:
    return KINDS.sub(r"\1", str(signature))
