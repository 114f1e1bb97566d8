"""Only a declared metric may differ, and only as far as declared."""

from __future__ import annotations

from typing import Any

import pytest

from latentwire.statistics.write import signed_entries
from latentwire.verification.tolerance import (
    find_tolerance,
    first_exceeding,
    first_other_verdict,
    numbers_from_statistics,
)

DECLARED = {"accuracy": 0.02, "validation/accuracy": 0.05, "train/loss": 0.1}
CELL = "r8/smollm2/wire/accuracy"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (CELL, 0.02),
        ("validation/accuracy/smollm2", 0.05),
        ("train/loss", 0.1),
        ("r8/smollm2/wire/f1", None),
        ("inaccuracy", None),
    ],
)
def test_the_longest_declared_name_serves_a_metric(metric: str, expected: float | None) -> None:
    assert find_tolerance(metric, DECLARED) == expected


def test_how_far_a_number_may_lie() -> None:
    assert first_exceeding({CELL: 0.90}, {CELL: 0.915}, DECLARED) is None
    assert (
        first_exceeding({CELL: 0.90}, {CELL: 0.95}, DECLARED)
        == f"{CELL} is 0.95, published 0.9: 0.05 off, tolerance 0.02"
    )
    assert first_exceeding({"f1": 0.5}, {"f1": 0.5}, DECLARED) is None
    assert (
        first_exceeding({"f1": 0.5}, {"f1": 0.51}, DECLARED)
        == "f1 is 0.51, published 0.5, and has no tolerance in params.yaml"
    )


def test_a_number_that_is_not_there_is_named() -> None:
    assert first_exceeding({CELL: 0.9}, {}, DECLARED) == f"{CELL} is missing"
    assert first_exceeding({}, {CELL: 0.9}, DECLARED) == f"{CELL} is not published"


def statistics(value: float, verdict: str) -> dict[str, Any]:
    return {
        "settings": {"alpha": 0.05},
        "cells": {CELL: {"value": value, "low": value - 0.1, "high": None, "signature": "s"}},
        "comparisons": {"c": {"value": value, "signature": "s", "adjusted": {"family": {"verdict": verdict}}}},
    }


def test_values_and_ends_of_intervals_are_compared_and_a_missing_end_is_the_value() -> None:
    assert numbers_from_statistics(statistics(0.9, "better"), [CELL, "of another kind"]) == {
        f"{CELL}:value": 0.9,
        f"{CELL}:low": pytest.approx(0.8),
        f"{CELL}:high": 0.9,
    }
    assert set(signed_entries(statistics(0.9, "better"))) == {CELL, "c"}


def test_another_verdict_is_a_difference_however_small() -> None:
    same, other = statistics(0.9, "better"), statistics(0.9, "not different")
    assert first_other_verdict(same, same) is None
    assert first_other_verdict(same, other) == "c is 'not different' (family), published 'better'"
